"""Where a search is kept: a journal file, or a database by URL that workers on many machines share."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidct.errors import IntegrityError, ResourceError, UsageError
from covidct.training.search_space import SearchSpace

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.log"

DRIVERS = {"postgresql": "psycopg2-binary", "postgresql+psycopg": "'psycopg[binary]'", "mysql": "mysqlclient"}
"""Kind of a database -> the package that talks to it. None of them comes with covidct."""


def optuna_here() -> Any:
    """The package optuna, quiet.

    Raises:
        ResourceError: It is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise ResourceError(
            "a search needs the package optuna, which is not installed", remedy='pip install "covidct[search]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_storage(where: str) -> optuna.storages.BaseStorage:
    """The storage at a path (a journal file, made when missing) or at a URL (a database, tables made when missing).

    Raises:
        UsageError: The URL names no database that SQLAlchemy knows.
        ResourceError: The driver is missing, or the database or the folder cannot be reached.
        IntegrityError: The journal is no journal.
    """
    optuna = optuna_here()
    if "://" in where:
        return _database(where)
    # Optuna's lock is a file beside the journal; a relative path would make its own (symbolic) lock dangle
    path = Path(where).resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = optuna.storages.journal.JournalFileOpenLock(str(path))
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path), lock_obj=lock))
    except OSError as error:
        raise ResourceError(f"the journal cannot be written: {error.strerror}", where=where) from None
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"not a journal of a search: {error}", where=where, remedy="restore the file, or give another storage"
        ) from None


def _database(url: str) -> optuna.storages.BaseStorage:
    optuna = optuna_here()
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    shown = redacted(url)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        return optuna.storages.RDBStorage(url, skip_compatibility_check=False)
    except ImportError:  # Optuna's words for it name no package
        kind = url.partition("://")[0]
        package = DRIVERS.get(kind, "the package for it")
        raise ResourceError(
            f"the driver of the database {kind} is not installed", where=shown, remedy=f"pip install {package}"
        ) from None
    except (ArgumentError, NoSuchModuleError):
        raise UsageError(
            "no URL of a database", where=shown, remedy="storage=postgresql://user@host/name, or a path for a journal"
        ) from None
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", error)).strip().splitlines()
        raise ResourceError(f"the database cannot be used: {why[0] if why else error}", where=shown) from None


def redacted(storage: str) -> str:
    """A storage for people and files: a URL without user and password."""
    return re.sub(r"://[^/@]*@", "://", storage)


def open_study(
    storage: optuna.storages.BaseStorage, name: str, space: SearchSpace, facts: Mapping[str, Any]
) -> optuna.Study:
    """The study of a search, made when it is not there.

    Args:
        storage: See `open_storage`.
        name: Of the study.
        space: Parameters, objectives.
        facts: What must not change between two sessions: digests of data and base settings, by name.

    Raises:
        IntegrityError: The study of this name looks for something else, or on other data.
    """
    optuna = optuna_here()
    ways = ["minimize" if way == "min" else "maximize" for way in space.objectives.values()]
    facts = {**facts, "objectives": list(space.objectives)}
    remedy = "give another study=NAME, or go on with what it was begun with"
    # directions are not given for a study that is there: Optuna would ignore them without a word
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        study = optuna.create_study(study_name=name, storage=storage, directions=ways, load_if_exists=True)
    for key, value in facts.items():
        before = study.user_attrs.get(key)
        if before is None:
            study.set_user_attr(key, value)
        elif before != value:
            raise IntegrityError(f"the study {name} was begun with other {key}: {before}, now {value}", remedy=remedy)
    return study


def set_methods(study: optuna.Study, space: SearchSpace, worker: int) -> None:
    """Give the study its pruner, and a sampler for the next trial.

    The seed of the sampler is made of the space's, the worker and the number of trials there are. So a search that one
    worker does gives the same trials again, interrupted or not, and no worker repeats the draws of another.
    """
    optuna = optuna_here()
    import numpy as np

    spawned = np.random.SeedSequence([space.seed, worker, len(study.get_trials(deepcopy=False))])
    seed = int(spawned.generate_state(1)[0])
    ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and "outcome" not in t.user_attrs]
    failed = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("outcome") == "failed"]
    # TPE learns nothing from a failed trial and would go to the same place again; chance leads out of there
    stuck = len(failed) > 1 and failed[-2].number > max((t.number for t in ended), default=-1)
    if space.sampler == "tpe" and not stuck:
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=space.startup_trials, constant_liar=True)
    else:  # a grid is queued beforehand; what is drawn beyond it is random
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    if space.pruner == "median":
        study.pruner = optuna.pruners.MedianPruner(
            n_startup_trials=space.pruner_startup, n_warmup_steps=space.warmup_epochs
        )
    elif space.pruner == "halving":
        study.pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, space.warmup_epochs))
    else:
        study.pruner = optuna.pruners.NopPruner()
