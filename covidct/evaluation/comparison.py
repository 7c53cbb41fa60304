"""A comparison: from outcomes of runs to contrasts, test sites and verdicts, in one plain dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covidct.errors import UsageError
from covidct.evaluation.catalogue import FAILED
from covidct.evaluation.comparison_cases import Site
from covidct.evaluation.comparison_fairness import obstacles, study_warnings, warnings
from covidct.evaluation.comparison_plan import ComparisonPlan
from covidct.evaluation.comparison_table import MISSING, Pairing, Table, pair_up
from covidct.evaluation.comparisons import (
    Difference,
    Posterior,
    Superiority,
    holm,
    mean_difference,
    outlook,
    posterior,
    rho_of,
    superiority,
)
from covidct.evaluation.site_contrasts import SiteContrast, contrast_sites
from covidct.evaluation.verdict import Evidence, Verdict, judge

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Contrast:
    """One planned pair of arms, compared.

    Args:
        first: Name of an arm.
        second: The other; differences are first minus second.
        pairing: Which repeats count.
        differences: float [pairs], in units of the metric.
        oriented: The same, positive where `first` is better.
        difference, p_holm, posterior, wins: Of `oriented`; None where too few pairs.
        verdict: What may be said.
    """

    first: str
    second: str
    pairing: Pairing
    differences: np.ndarray
    oriented: np.ndarray
    difference: Difference | None
    p_holm: float | None
    posterior: Posterior | None
    wins: Superiority | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Everything a page or a table shows.

    Args:
        plan: The question.
        plan_digest: SHA-256 of the plan file; None when nothing was registered.
        table: What each arm reached in each repeat.
        contrasts: In the order of the plan.
        sites: Tests on external patients.
        site_problems: (site, why no test).
        test_over_train: Patients scored per patient trained on.
        warnings: About the study as a whole.
    """

    plan: ComparisonPlan
    plan_digest: str | None
    table: Table
    contrasts: list[Contrast]
    sites: list[SiteContrast]
    site_problems: list[tuple[str, str]]
    test_over_train: float
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for comparison.json."""
        return {
            "schema": SCHEMA_VERSION,
            "metric_text": self.plan.metric_text,
            "pre_registered": self.plan_digest is not None,
            "plan_sha256": self.plan_digest,
            "plan": self.plan.as_dict(),
            "higher_is_better": self.plan.higher_is_better,
            "test_over_train": self.test_over_train,
            "rho": rho_of(self.test_over_train),
            "arms": {arm: wall_time(self.table, arm) for arm in self.table.arms},
            "outcomes": [cell.as_dict() for arm in self.table.arms for cell in self.table.of(arm)],
            "contrasts": [_contrast_dict(contrast) for contrast in self.contrasts],
            "sites": [site.as_dict() for site in self.sites],
            "site_problems": [{"site": site, "problem": problem} for site, problem in self.site_problems],
            "warnings": self.warnings,
        }


def compare(
    table: Table,
    plan: ComparisonPlan,
    *,
    plan_digest: str | None = None,
    test_over_train: float | None = None,
    sites: Callable[[list[str]], list[Site]] | None = None,
    replicates: int = 2000,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Comparison:
    """Answer a plan.

    Args:
        table: What each arm reached in each repeat.
        plan: The question.
        plan_digest: SHA-256 of the plan file, or None.
        test_over_train: Patients scored per patient trained on; None takes it from the runs.
        sites: Gives the external test sites for the arms that are compared.
        replicates: Of the bootstraps.
        seed: Of the bootstraps.
        notes: Further warnings about the study.

    Raises:
        UsageError: There are no two arms, a planned arm is missing, or `test_over_train` is not known.
    """
    sign = 1 if plan.higher_is_better else -1
    pairs = plan.pairs(table.arms)
    ratio = _ratio(table, test_over_train)
    compared = sorted({arm for pair in pairs for arm in pair})
    tests, problems = contrast_sites(sites(compared) if sites else [], pairs, replicates, seed)
    found = []
    for first, second in pairs:
        pairing = pair_up(table, first, second, by=plan.by)
        values = [[_value(table, arm, repeat) for repeat in pairing.repeats] for arm in (first, second)]
        differences = np.array(values[0]) - np.array(values[1])
        found.append((first, second, pairing, differences, _differ(differences * sign, ratio, plan.alpha)))
    adjusted = holm([difference.p if difference else None for *_, difference in found])
    contrasts = []
    for (first, second, pairing, differences, difference), p in zip(found, adjusted, strict=True):
        oriented = differences * sign
        favoured = None if difference is None or not difference.mean else (second, first)[difference.mean > 0]
        belief = posterior(oriented, ratio, plan.rope) if len(oriented) > 1 else None
        wins = superiority(oriented, replicates=replicates, seed=seed) if len(oriented) else None
        evidence = Evidence(
            first,
            second,
            plan.metric_text,
            plan.higher_is_better,
            difference,
            p,
            belief,
            wins,
            plan.rope,
            plan.alpha,
            place=_place(plan.metric),
            outlook=None
            if difference is None
            else outlook(difference, ratio, plan.rope, alpha=plan.alpha, contrasts=len(pairs)),
            patients=_patients(table, first, pairing),
            obstacles=obstacles(table, plan, first, second, favoured, pairing, tests),
            warnings=warnings(table, first, second, pairing),
        )
        contrasts.append(
            Contrast(first, second, pairing, differences, oriented, difference, p, belief, wins, judge(evidence))
        )
    return Comparison(
        plan, plan_digest, table, contrasts, tests, problems, ratio, [*notes, *study_warnings(table, plan)]
    )


def wall_time(table: Table, arm: str) -> dict[str, Any]:
    """Runs of an arm by state, the mean of its values, and its wall time of training, failed runs included."""
    cells = table.of(arm)
    values = [cell.value for cell in cells if cell.value is not None]
    seconds = [cell.seconds for cell in cells if cell.seconds is not None]
    return {
        "runs": sum(cell.state != MISSING for cell in cells),
        "counted": len(values),
        "failed": sum(cell.state == FAILED for cell in cells),
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "seconds": sum(seconds) if seconds else None,
        "seconds_per_run": float(np.mean(seconds)) if seconds else None,
    }


def _differ(oriented: np.ndarray, ratio: float, alpha: float) -> Difference | None:
    return mean_difference(oriented, ratio, alpha=alpha) if len(oriented) else None


def _value(table: Table, arm: str, repeat: str) -> float:
    value = table.cells[arm, repeat].value
    assert value is not None  # a pair has values
    return value


def _ratio(table: Table, given: float | None) -> float:
    """The largest ratio of any run, which is the careful one."""
    known = [cell.test_over_train for cell in table.cells.values() if cell.test_over_train is not None]
    ratio = given if given is not None else max(known, default=None)
    if ratio is None:
        raise UsageError(
            "how many patients were scored for each one trained on is not known, and every interval depends on it",
            remedy="say test_over_train=0.333 for three quarters of the patients in training",
        )
    return float(ratio)


def _place(metric: str) -> str:
    return "these sites" if metric.startswith("test.") else "this data set"


def _patients(table: Table, arm: str, pairing: Pairing) -> int | None:
    known = [table.cells[arm, repeat].patients for repeat in pairing.repeats]
    return max((number for number in known if number is not None), default=None)


def _contrast_dict(contrast: Contrast) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return None if value is None else value.as_dict()

    return {
        "first": contrast.first,
        "second": contrast.second,
        "repeats": contrast.pairing.repeats,
        "excluded": [{"repeat": repeat, "reason": reason} for repeat, reason in contrast.pairing.excluded],
        "unfair": contrast.pairing.unfair,
        "noted": contrast.pairing.noted,
        "unchecked": contrast.pairing.unchecked,
        "differences": contrast.differences.tolist(),
        "oriented": plain(contrast.difference),
        "p_holm": contrast.p_holm,
        "posterior": plain(contrast.posterior),
        "p_first_better": plain(contrast.wins),
        "verdict": contrast.verdict.as_dict(),
    }
