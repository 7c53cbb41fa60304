"""What stands in the way of a claim whatever the figures say, and what its reader must know."""

from __future__ import annotations

from collections.abc import Sequence

from covidct.evaluation.catalogue import FAILED
from covidct.evaluation.comparison_cases import POOLED
from covidct.evaluation.comparison_plan import ComparisonPlan
from covidct.evaluation.comparison_table import COUNTED, MISSING, UNFINISHED, Pairing, Table
from covidct.evaluation.site_contrasts import SiteContrast


def obstacles(
    table: Table,
    plan: ComparisonPlan,
    first: str,
    second: str,
    favoured: str | None,
    pairing: Pairing,
    tests: Sequence[SiteContrast],
) -> list[str]:
    """Reasons, as clauses, for which the first rung of the ladder is withheld.

    Args:
        table: All outcomes.
        plan: The question.
        first: An arm.
        second: The other.
        favoured: That of the two which the figures favour, or None.
        pairing: Their pairs.
        tests: On external patients.
    """
    found = ["the pairs are not fair"] if pairing.unfair else []
    if plan.repeats is not None and len(table.repeats) < plan.repeats:
        found.append(f"only {len(table.repeats)} of the {plan.repeats} planned repeats were begun")
    cells = [table.cells[arm, repeat] for arm in (first, second) for repeat in table.repeats]
    if pending := sum(cell.state in (UNFINISHED, MISSING) for cell in cells):
        found.append(f"{pending} of {len(cells)} runs are missing or unfinished")
    lost = [cell for cell in cells if cell.state not in (COUNTED, UNFINISHED, MISSING) and cell.arm == favoured]
    if lost:
        found.append(f"{len(lost)} of {len(table.repeats)} runs of {favoured} failed or have no value")
    splits = {str(table.cells[first, repeat].facts.get("digests.split")) for repeat in pairing.repeats}
    if splits != {"None"} and 0 < len(splits) < len(pairing.repeats):
        found.append(f"{len(pairing.repeats)} repeats use only {len(splits)} split(s), so patients do not vary enough")
    if plan.metric.startswith("test."):
        found += _shared_test(plan.metric, first, second, tests)
    return found


def _shared_test(metric: str, first: str, second: str, tests: Sequence[SiteContrast]) -> list[str]:
    """Repeats that share their test patients say nothing about other patients: the test by patient must agree."""
    words = metric.split(".")
    level = next((place for place, word in enumerate(words) if word in ("patient", "slice")), len(words))
    wanted = ".".join(words[1:level]) or POOLED
    here = [t for t in tests if (t.first, t.second, t.test.metric) == (first, second, words[-1])]
    here = [t for t in here if t.site == (POOLED if wanted == "pooled" else wanted)] or (here if len(here) == 1 else [])
    if not here or here[0].test.difference.low is None or here[0].test.difference.high is None:
        return ["all repeats share their test patients, and there is no interval over patients for this metric"]
    ends = here[0].test.difference.low, here[0].test.difference.high
    if ends[0] <= 0 <= ends[1]:
        return ["all repeats share their test patients, and the interval over patients includes no difference"]
    return []


def warnings(table: Table, first: str, second: str, pairing: Pairing) -> list[str]:
    """What the reader of one contrast must know, as sentences without their full stop."""
    found = [f"not a fair pair: {text}" for text in pairing.unfair]
    found += [f"note: {text}" for text in pairing.noted]
    for arm in (first, second):
        failed = [cell for cell in table.of(arm) if cell.state == FAILED]
        if failed:
            reasons = "; ".join(dict.fromkeys(str(cell.reason) for cell in failed))
            found.append(f"{len(failed)} of {len(table.repeats)} runs of {arm} failed ({reasons})")
    return found


def study_warnings(table: Table, plan: ComparisonPlan) -> list[str]:
    """What the reader of the whole study must know."""
    warnings = []
    if plan.repeats is not None and len(table.repeats) != plan.repeats:
        warnings.append(f"the plan has {plan.repeats} repeats; {len(table.repeats)} were found")
    if not any(cell.facts for cell in table.cells.values()):
        warnings.append("nothing says whether the pairs are fair: splits, weights and steps could not be checked")
    if plan.rope == 0:
        warnings.append("rope=0: nothing can be called practically equivalent")
    known = {cell.test_over_train for cell in table.cells.values() if cell.test_over_train is not None}
    if len(known) > 1 and max(known) > 1.1 * min(known):
        warnings.append(f"runs differ in patients scored per patient trained on ({min(known):.3f} to {max(known):.3f})")
    if plan.metric.startswith("val.") or plan.metric.startswith("best."):
        warnings.append(
            "validation patients chose the checkpoint of every run, so the values themselves are optimistic; the "
            "differences are less so"
        )
    return warnings
