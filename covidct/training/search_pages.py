"""What a search leaves behind: trials.csv, curves.csv, best.yaml, search.json, pictures and search.html."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from covidct.evaluation.figures_search import (
    draw_curves,
    draw_front,
    draw_history,
    draw_importances,
    draw_parallel,
)
from covidct.evaluation.figures_style import write_figure
from covidct.evaluation.search_page import write_search_page
from covidct.files import replacing, write_json
from covidct.training.search_confirm import confirm
from covidct.training.search_results import curves_table, describe, trials_table, winner
from covidct.training.search_space import SearchSpace
from covidct.training.search_trial import Ground

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure


def write_results(
    folder: Path,
    study: optuna.Study,
    space: SearchSpace,
    ground: Ground,
    command: Sequence[str],
    *,
    repeats: int,
    say: Callable[[str], None],
) -> None:
    """Write everything, confirm the winner, write again with what that showed, and say the end of it.

    Args:
        folder: Of the search.
        study: Its trials.
        space: What it searched.
        ground: What its trials shared.
        command: The words that train the untuned settings.
        repeats: Fresh repeats of winner and untuned settings; 0 for none.
        say: Prints a line.

    Raises:
        Interrupted: Stopped from outside while confirming; what was found so far is written.
    """
    best = winner(study, space)
    typed = "" if best is None else shlex.join([*command, *space.words(best.params)])
    _write(folder, study, space, typed, None)
    if best is None:
        say("no trial is complete")
        return
    if repeats:
        found = confirm(space, ground, space.words(best.params), best.values[0], repeats, say).as_dict()
        _write(folder, study, space, typed, found)
        for sentence in found["sentences"]:
            say(sentence)
    say(f"best: trial {best.number}\n  $ {typed}")
    say(f"written: {folder}/search.html")


def _write(
    folder: Path, study: optuna.Study, space: SearchSpace, command: str, confirmation: dict[str, Any] | None
) -> None:
    facts, trials, curves = describe(study, space), trials_table(study, space), curves_table(study)
    for name, table in (("trials", trials), ("curves", curves)):
        with replacing(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False, lineterminator="\n")
    write_json(folder / "search.json", {**facts, "confirmation": confirmation, "command": command})
    if facts["best"] is not None:
        text = f"# {command}\n" + yaml.safe_dump({"overrides": facts["best"]["words"]}, sort_keys=False)
        with replacing(folder / "best.yaml") as temporary:
            temporary.write_text(text, encoding="utf-8")
    pictures = []
    for name, words, figure in _figures(space, facts, trials, curves):
        write_figure(figure, folder / "figures", name)
        pictures.append((words, folder / "figures" / f"{name}.png"))
    write_search_page(
        folder / "search.html",
        facts,
        trials,
        [p.key for p in space.parameters],
        pictures,
        command=command,
        confirmation=confirmation,
    )


def _figures(
    space: SearchSpace, facts: dict[str, Any], trials: pd.DataFrame, curves: pd.DataFrame
) -> list[tuple[str, str, Figure]]:
    """Name, words and drawing of every figure that the trials allow."""
    done = trials[trials["state"] == "complete"]
    way = space.objectives[space.figure]
    found: list[tuple[str, str, Figure]] = []
    if len(done):
        words = f"Each trial's {space.figure}, and the best so far."
        found.append(("history", words, draw_history(trials, space.figure, way)))
    if len(space.objectives) > 1 and len(done) > 1:
        words = "Objectives against each other; no trial beats one of the front in all of them."
        found.append(("front", words, draw_front(trials, list(space.objectives), facts["front"])))
    if facts["importances"]:
        words = "How much of the differences each parameter explains, among the trials there are."
        found.append(("importances", words, draw_importances(facts["importances"], len(done))))
    if len(curves):
        words = f"{space.figure} epoch by epoch; a cross marks where a trial was ended."
        found.append(("curves", words, draw_curves(curves, space.figure)))
    if len(done) > 1:
        words = "Each complete trial is a line through its values; the last axis is the objective."
        axes = {p.key: p.is_log for p in space.parameters}
        found.append(("parallel", words, draw_parallel(trials, axes, space.figure, way)))
    return found
