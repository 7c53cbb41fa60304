"""`covidct search`: look for better settings by validation alone, with several workers, resuming by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from covidct.commands.compose import compose_again, typed_words
from covidct.commands.progress import say
from covidct.commands.search_workers import run_workers, stop_with_parent
from covidct.commands.split import frozen_split
from covidct.data.table import read_table
from covidct.errors import Interrupted, ResourceError, UsageError
from covidct.training.search_space import SearchSpace, read_space
from covidct.training.settings import TrainSettings, read_settings

OWN_KEYS = ("search", "study", "trials", "workers", "storage", "searches", "confirm", "keep_pruned", "worker")
"""Keys of this verb; all others are those of `covidct train`."""


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    space = read_space(values["search"])
    for key, least in (("trials", 1), ("workers", 1), ("confirm", 0)):
        if not isinstance(values[key], int) or values[key] < least:
            raise UsageError(f"{key}={values[key]} must be a whole number of {least} or more")
    words = train_words(typed_words())
    named = [word for word in words if not word.startswith("name=")] + [f"name={values['study']}"]
    folder = Path(values["searches"]) / str(values["study"])
    with _stoppable():
        if values["worker"] is not None:
            stop_with_parent()
        _search(values, space, named, folder)


def train_words(words: Sequence[str]) -> list[str]:
    """Those of the words that are keys of `covidct train`."""
    own = [word for word in words if word.lstrip("+~").split("=", 1)[0].split(".", 1)[0] in OWN_KEYS]
    return [word for word in words if word not in own]


def composer(words: Sequence[str]) -> Callable[[Sequence[str]], TrainSettings]:
    """Settings of `covidct train` for these words and further ones."""
    return lambda further: read_settings(TrainSettings, compose_again("train", [*words, *further]))


def _search(values: dict[str, Any], space: SearchSpace, named: list[str], folder: Path) -> None:
    from covidct.provenance import digest_json
    from covidct.training.search import raise_if_hopeless, work
    from covidct.training.search_claims import progress_of
    from covidct.training.search_pages import write_results
    from covidct.training.search_storage import JOURNAL, open_storage, open_study, redacted
    from covidct.training.search_trial import Ground, check_space, run_trial

    wanted, worker = values["trials"], values["worker"]
    storage = values["storage"] or str(folder / JOURNAL)
    compose = composer(named)
    settings = check_space(space, compose) if worker is None else compose([])
    index = Path(settings.data.index)
    table = read_table(index)
    ground = Ground(compose, table, lambda split: frozen_split(split, table, index)[0], values["keep_pruned"])
    split = ground.split_of(settings.split)
    facts = {
        "index": table.digest,
        "split": split.digest,
        "settings": digest_json(_counting(settings)),
        "parameters": [[p.key, p.kind, list(p.options)] for p in space.parameters],
    }
    study = open_study(open_storage(storage), str(values["study"]), space, facts)
    logs = folder / "logs"

    def training_says(text: str) -> None:
        with (logs / f"worker-{worker or 0}-{os.getpid()}.log").open("a", encoding="utf-8") as stream:
            stream.write(text + "\n")

    logs.mkdir(parents=True, exist_ok=True)

    def one_worker(number: int) -> None:
        prefix = "" if worker is None else f"[{number}] "
        work(
            study,
            space,
            lambda trial, own: run_trial(trial, own, space, ground, training_says),
            wanted,
            worker=number,
            say=lambda text: say(prefix + text),
        )

    if worker is not None:
        one_worker(int(worker))
        return
    if space.sampler == "grid":
        wanted = _queue_grid(study, space, wanted)
    elif not study.get_trials(deepcopy=False):
        _queue_untuned(study, space, settings)
    before = progress_of(study)
    for note in space.notes:
        say(note)
    say(f"search {values['study']}: {before.done} of {wanted} trials done, kept in {redacted(storage)}")
    if before.done < wanted:
        if values["workers"] == 1 and not _several_gpus():
            one_worker(0)
        else:
            run_workers(values["workers"], typed_words(), wanted, logs)
        raise_if_hopeless(study, wanted, before.failed)
        after = progress_of(study)
        if after.done < wanted and after.failed - before.failed < 2 * wanted:
            raise ResourceError(
                f"the workers are gone with {after.done} of {wanted} trials done",
                where=str(logs),
                remedy="see the logs; most often memory ran out. The same command goes on",
            )
    command = ["covidct", "train", *named]
    write_results(folder, study, space, ground, command, repeats=values["confirm"], say=say)


def _counting(settings: TrainSettings) -> dict[str, Any]:
    """The settings that make results what they are; the index counts by its digest, the split by its own."""
    kept = settings.as_dict()
    for key in ("name", "arm", "runs", "allow_drift", "features", "logger", "split"):
        kept.pop(key)
    kept["data"] = {key: v for key, v in kept["data"].items() if key not in ("root", "index", "workers", "cache")}
    return kept


def _queue_grid(study: Any, space: SearchSpace, wanted: int) -> int:
    points = space.grid()[:wanted]
    for point in points:
        study.enqueue_trial(point, skip_if_exists=True)
    return len(points)


def _queue_untuned(study: Any, space: SearchSpace, settings: TrainSettings) -> None:
    """The settings as they are, first: what tuning gains is measured against them."""
    from covidct.training.search_parameter import as_kept

    point: dict[str, Any] = {}
    for parameter in space.parameters:
        value: Any = settings.as_dict()
        for part in parameter.key.split("."):
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (KeyError, IndexError, TypeError, ValueError):
                return
        if not parameter.holds(value):
            return
        point[parameter.key] = as_kept(value)
    study.enqueue_trial(point, user_attrs={"untuned": True}, skip_if_exists=True)


def _several_gpus() -> bool:
    import torch

    return torch.cuda.device_count() > 1


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM is answered like the keyboard; Lightning has its own answer while it trains."""

    def stop(_signum: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped from outside", remedy="the same command goes on with what is left") from None
    finally:
        signal.signal(signal.SIGTERM, before)
