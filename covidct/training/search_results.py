"""What a search found, as plain tables: the trials, the best, the front, and which parameter mattered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from covidct.training.search_claims import OUTCOME, REASON
from covidct.training.search_space import SearchSpace
from covidct.training.search_storage import optuna_here

if TYPE_CHECKING:
    import optuna

STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting"}


def trials_table(study: optuna.Study, space: SearchSpace) -> pd.DataFrame:
    """One row for each trial.

    Returns:
        Columns number, state (complete, pruned, failed, lost, surplus, running, waiting), one for each objective (empty
        unless complete), last_epoch (from 0), run, seconds, same_as, resumes, reason, one for each parameter.
    """
    rows = []
    for trial in study.get_trials(deepcopy=False):
        notes = trial.user_attrs
        state = STATES.get(trial.state.name) or str(notes.get(OUTCOME, "lost"))
        values = trial.values if state == "complete" else [None] * len(space.objectives)
        rows.append(
            {"number": trial.number, "state": state}
            | dict(zip(space.objectives, values, strict=True))
            | {"last_epoch": trial.last_step}
            | {key: notes.get(key) for key in ("run", "seconds", "same_as", "resumes") if key not in space.objectives}
            | {"reason": notes.get(REASON)}
            | {p.key: trial.params.get(p.key) for p in space.parameters}
        )
    table = pd.DataFrame(rows)
    whole = {name: "Int64" for name in ("last_epoch", "same_as", "resumes") if name in table}
    return table.astype(whole)


def curves_table(study: optuna.Study) -> pd.DataFrame:
    """The first objective epoch by epoch: number, state, epoch, value; one objective is what Optuna keeps them for."""
    rows = [
        (trial.number, STATES.get(trial.state.name, "failed"), epoch, value)
        for trial in study.get_trials(deepcopy=False)
        for epoch, value in sorted(trial.intermediate_values.items())
    ]
    return pd.DataFrame(rows, columns=["number", "state", "epoch", "value"])


def winner(study: optuna.Study, space: SearchSpace) -> optuna.trial.FrozenTrial | None:
    """The best trial; of a front, the one that is best in the first objective. None when none is complete."""
    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if not complete:
        return None
    members = complete if len(space.objectives) == 1 else study.best_trials
    sign = 1 if space.objectives[space.figure] == "min" else -1
    return min(members, key=lambda trial: (sign * trial.values[0], trial.number))


def front(study: optuna.Study, space: SearchSpace) -> list[int]:
    """Numbers of the trials that no other beats in every objective; empty with one objective."""
    if len(space.objectives) == 1 or winner(study, space) is None:
        return []
    return sorted(trial.number for trial in study.best_trials)


def importances(study: optuna.Study, space: SearchSpace) -> dict[str, float]:
    """Share of the first objective's spread that each parameter explains (fANOVA, Hutter et al. 2014), largest first.

    Empty with fewer than four complete trials, or where they do not differ. With few trials these shares are rough.
    """
    optuna = optuna_here()
    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    varied = [p.key for p in space.parameters if len({t.params.get(p.key) for t in complete}) > 1]
    if len(complete) < 4 or not varied or len({t.values[0] for t in complete}) < 2:
        return {}
    found = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
        params=varied,
        target=lambda trial: trial.values[0],
    )
    return {str(key): float(value) for key, value in found.items()}


def describe(study: optuna.Study, space: SearchSpace) -> dict[str, Any]:
    """The facts of a search as plain values, without its trials."""
    best = winner(study, space)
    table = trials_table(study, space)
    counts: Mapping[Any, int] = table["state"].value_counts().to_dict() if len(table) else {}
    return {
        "schema": 1,
        "study": study.study_name,
        "space": space.name,
        "objectives": dict(space.objectives),
        "sampler": space.sampler,
        "pruner": space.pruner,
        "trials": {str(state): int(count) for state, count in sorted(counts.items())},
        "best": None
        if best is None
        else {
            "number": best.number,
            "values": dict(zip(space.objectives, best.values, strict=True)),
            "words": space.words(best.params),
            "run": best.user_attrs.get("run"),
        },
        "front": front(study, space),
        "importances": importances(study, space),
    }
