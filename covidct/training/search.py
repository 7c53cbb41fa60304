"""One worker of a search: claims trials and works them off until enough are done, whoever did them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from covidct.errors import CovidctError, DataRefused, IntegrityError, Interrupted
from covidct.training.search_claims import (
    OUTCOME,
    REASON,
    Progress,
    claim,
    first_reason,
    heartbeat,
    progress_of,
    put_back,
)
from covidct.training.search_space import SearchSpace
from covidct.training.search_storage import optuna_here, set_methods

if TYPE_CHECKING:
    import optuna

Objective = Callable[["optuna.trial.Trial", list[str]], Sequence[float]]
"""Does a trial, given its words; returns a value for each objective. Raises `optuna.TrialPruned` or our errors."""

FAILURES = 5
"""So many failed trials in a row, and none that did not fail, end a search."""

POLL_SECONDS = 1.0


def work(
    study: optuna.Study,
    space: SearchSpace,
    objective: Objective,
    wanted: int,
    *,
    worker: int,
    say: Callable[[str], None],
) -> None:
    """Do trials until `wanted` are complete or pruned, all workers together.

    A trial that fails is recorded with its reason and the others go on. A worker without a trial of its own waits for
    the others, and takes over from them should they die.

    Args:
        study: Of `open_study`.
        space: What the study searches.
        objective: Does one trial.
        wanted: Trials of the study in total.
        worker: Number of this worker, for the sampler.
        say: Prints a line.

    Raises:
        DataRefused: Every trial failed.
        Interrupted: Stopped from outside; the trial at hand is queued again.
        IntegrityError: The trial's run cannot go on, for it was begun by other code.
    """
    optuna = optuna_here()
    failed_before = progress_of(study).failed
    while not is_over(progress_of(study), wanted, failed_before):
        set_methods(study, space, worker)
        trial = claim(study, wanted)
        if trial is None:
            time.sleep(POLL_SECONDS)
            continue
        values = space.suggest(trial)
        because = trial.user_attrs.get("because")
        say(f"trial {trial.number}: {' '.join(space.words(values))}" + (f" (goes on: {because})" if because else ""))
        try:
            with heartbeat(study, trial):
                found = _as_before(study, trial) or list(objective(trial, space.words(values)))
            study.tell(trial, found)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except (Interrupted, KeyboardInterrupt):
            put_back(study, trial, values, "its worker was stopped")
            raise
        except IntegrityError:
            put_back(study, trial, values, "its run could not go on")
            raise
        except CovidctError as error:
            _fail(study, trial, error.what)
        except Exception as error:
            _fail(study, trial, f"{type(error).__name__}: {error}")
            raise
        say(_line(study, space, trial.number, wanted))
    raise_if_hopeless(study, wanted, failed_before)


def is_over(so_far: Progress, wanted: int, failed_before: int = 0) -> bool:
    """Whether nothing is left to do: enough trials are done, or failing is all they do."""
    failed = so_far.failed - failed_before
    return so_far.done >= wanted or failed >= (2 * wanted if so_far.done else min(FAILURES, wanted))


def raise_if_hopeless(study: optuna.Study, wanted: int, failed_before: int = 0) -> None:
    """Raises `DataRefused` with the first reason when trials failed and none did not."""
    so_far = progress_of(study)
    if not so_far.done and so_far.failed - failed_before >= min(FAILURES, wanted):
        raise DataRefused(
            f"every trial failed ({so_far.failed}); the first: {first_reason(study)}",
            remedy="try one by hand with `covidct train`; then narrow the space, or mend what the reason names",
        )


def _fail(study: optuna.Study, trial: optuna.trial.Trial, reason: str) -> None:
    optuna = optuna_here()
    trial.set_user_attr(OUTCOME, "failed")
    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _as_before(study: optuna.Study, trial: optuna.trial.Trial) -> list[float] | None:
    """What an earlier trial with the same values found; waited for while another worker is at it."""
    optuna = optuna_here()
    states = optuna.trial.TrialState
    while True:
        earlier = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number and t.params == trial.params]
        for twin in earlier:
            if twin.state in (states.COMPLETE, states.PRUNED):
                for key, value in twin.user_attrs.items():
                    if key not in ("worker", "heartbeat"):
                        trial.set_user_attr(key, value)
                trial.set_user_attr("same_as", twin.number)
                for epoch, value in twin.intermediate_values.items():
                    trial.report(value, epoch)
                if twin.state == states.PRUNED:
                    raise optuna.TrialPruned
                return list(twin.values)
        if not any(twin.state == states.RUNNING for twin in earlier):
            return None
        time.sleep(POLL_SECONDS)


def _line(study: optuna.Study, space: SearchSpace, number: int, wanted: int) -> str:
    """What became of a trial, in one line."""
    trials = study.get_trials(deepcopy=False)
    trial, so_far = trials[number], progress_of(study)
    done = f"{so_far.done} of {wanted} done"
    if trial.state.name == "FAIL":
        return f"trial {number}: failed: {trial.user_attrs.get(REASON)} ({done})"
    if trial.state.name == "PRUNED":
        return f"trial {number}: ended early after epoch {(trial.last_step or 0) + 1} ({done})"
    shown = ", ".join(f"{name} {value:.4g}" for name, value in zip(space.objectives, trial.values, strict=True))
    if len(space.objectives) > 1:
        return f"trial {number}: {shown} ({done}, {len(study.best_trials)} on the front)"
    best = study.best_trial
    return f"trial {number}: {shown} ({done}, best {best.value:.4g} of trial {best.number})"
