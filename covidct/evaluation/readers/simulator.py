"""Readers drawn by a program: for the demonstration, for tests, and for trying out an analysis before a study.

Nothing about them was measured on people. Every row says `simulated`, every reader is called so, and the report repeats
it. A simulated reader sees, for each class, an evidence that is higher for the true one: by the reader's skill, less on
difficult cases; readers differ in skill and in their taste for each class. With AI the model's evidence is added. The
call is the class of the highest evidence, confidence its lead over the next, in five steps. Time is log-normal, longer
for difficult cases. Each reader reads half of the cases with AI in the first session and the others in the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidct.errors import UsageError
from covidct.evaluation.readers.cases import Cases

MOST_READERS = 50
STEPS = np.array([0.5, 1.0, 1.75, 2.75])
"""Leads of the evidence at which confidence rises from 1 to 5."""


@dataclass(frozen=True)
class ReaderPopulation:
    """Where simulated readers come from; evidence in standard deviations of its noise.

    Args:
        skill: Mean height of the true class's evidence.
        skill_sd: Between readers.
        bias_sd: A reader's taste for a class, between readers and classes.
        difficulty_sd: Between cases, the same for all readers: what makes them err on the same cases.
        trust: Weight of the model's log-probabilities, centred, in a reading with AI; 0: AI changes nothing.
        seconds: Median of a read without AI.
        seconds_sd: On the log scale, between reads.
        reader_seconds_sd: On the log scale, between readers.
        ai_seconds: Factor of the time with AI.
        washout_days: Between the two sessions.
        failures: Share of reads without a result.
    """

    skill: float = 2.2
    skill_sd: float = 0.3
    bias_sd: float = 0.25
    difficulty_sd: float = 0.7
    trust: float = 0.4
    seconds: float = 75.0
    seconds_sd: float = 0.35
    reader_seconds_sd: float = 0.25
    ai_seconds: float = 0.85
    washout_days: int = 30
    failures: float = 0.01


def simulate(
    cases: Cases, readers: int, *, seed: int = 0, population: ReaderPopulation | None = None, with_ai: bool = True
) -> pd.DataFrame:
    """Reads of simulated readers as a table that `read_reads` reads.

    Args:
        cases: What is read.
        readers: How many, 1 to 50.
        seed: Same cases and seed, same table; the global random state is not touched.
        population: Where the readers come from.
        with_ai: Whether each case is read twice, without and with AI.

    Returns:
        Columns reader, case, site, session, order, class, confidence, seconds, with_ai, washout_days, unit, simulated;
        in the order of reading.

    Raises:
        UsageError: The number of readers is out of range.
    """
    if isinstance(readers, bool) or not isinstance(readers, int) or not 1 <= readers <= MOST_READERS:
        raise UsageError(f"simulate={readers!r} is a number of readers from 1 to {MOST_READERS}")
    who = population or ReaderPopulation()
    generator = np.random.default_rng(seed)
    n, classes = len(cases), len(cases.scheme)
    difficulty = generator.normal(0, who.difficulty_sd, n)
    shared = generator.normal(0, who.difficulty_sd / 2, (n, classes))  # looks like another disease to everybody
    frames = []
    for number in range(readers):
        skill = generator.normal(who.skill, who.skill_sd)
        taste = generator.normal(0, who.bias_sd, classes)
        pace = generator.normal(0, who.reader_seconds_sd)
        half = generator.permutation(n) < n // 2
        for condition in (False, True) if with_ai else (False,):
            evidence = generator.normal(0, 1, (n, classes)) + shared + taste
            evidence[np.arange(n), cases.truth] += skill - difficulty
            if condition:
                evidence += who.trust * _centred(cases)
            seconds = np.exp(
                np.log(who.seconds)
                + pace
                + 0.2 * difficulty
                + generator.normal(0, who.seconds_sd, n)
                + (np.log(who.ai_seconds) if condition else 0.0)
            )
            session = np.where(half == condition, 1, 2) if with_ai else np.ones(n, dtype=int)
            failed = generator.random(n) < who.failures
            ordered = np.sort(evidence, axis=1)
            sure = 1 + np.searchsorted(STEPS, ordered[:, -1] - ordered[:, -2])
            called = np.array(cases.scheme.names, dtype=object)[evidence.argmax(axis=1)]
            frames.append(
                pd.DataFrame(
                    {
                        "reader": f"simulated-{number + 1:02d}",
                        "case": cases.keys,
                        "site": cases.sites,
                        "session": session,
                        "order": generator.permutation(n),
                        "class": np.where(failed, "", called),
                        "confidence": np.where(failed, "", sure.astype(str).astype(object)),
                        "seconds": np.round(seconds, 1),
                        "with_ai": "yes" if condition else "no",
                        "washout_days": np.where(session == 2, str(who.washout_days), ""),
                        "unit": cases.unit,
                        "simulated": "yes",
                    }
                )
            )
    table = pd.concat(frames, ignore_index=True).sort_values(["reader", "session", "order"], kind="stable")
    table["order"] = table.groupby(["reader", "session"]).cumcount() + 1
    return table.reset_index(drop=True)


def _centred(cases: Cases) -> np.ndarray:
    """The model's log-scores, centred in each case; 0 where it has none."""
    logs = np.log(np.clip(cases.model.scores, 1e-4, None))
    return np.nan_to_num(logs - logs.mean(axis=1, keepdims=True))
