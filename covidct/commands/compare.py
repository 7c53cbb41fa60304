"""`covidct compare`: arms over paired repeats, and what may be said about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from covidct.commands.progress import say
from covidct.errors import UsageError
from covidct.evaluation.catalogue import CataloguedRun, read_catalogue
from covidct.evaluation.comparison import Comparison, compare
from covidct.evaluation.comparison_cases import Site, measured, test_sites
from covidct.evaluation.comparison_outcomes import outcomes_of_runs, outcomes_of_table
from covidct.evaluation.comparison_page import view, write_comparison
from covidct.evaluation.comparison_plan import ComparisonPlan, read_plan
from covidct.evaluation.comparison_table import Outcome, Table, table_of

PLANNED = ("metric", "better", "rope", "by", "reference", "contrasts", "repeats", "alpha", "question")


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    if bool(values["runs"]) == bool(values["table"]):
        raise UsageError(
            "give the runs or a table, one of them",
            remedy="runs=[runs/study-*] for run folders, table=results.csv for a table",
        )
    plan, digest = ComparisonPlan.from_values({key: values[key] for key in PLANNED}, "compare"), None
    if values["plan"]:
        plan, digest = read_plan(Path(values["plan"]), plan)
    _check(values)
    _ = plan.higher_is_better  # refuses a metric without a direction before anything is read
    outcomes, notes = _outcomes(values, plan)
    table = table_of(outcomes)
    level = "slice" if ".slice." in plan.metric else "patient"
    comparison = compare(
        table,
        plan,
        plan_digest=digest,
        test_over_train=values["test_over_train"],
        sites=None if values["table"] else lambda arms: _sites(table, arms, level),
        replicates=values["replicates"],
        notes=notes,
    )
    _show(comparison)
    say(f"\npage: {write_comparison(comparison, Path(values['output']))}")


def _check(values: dict[str, Any]) -> None:
    ratio, replicates, pair = values["test_over_train"], values["replicates"], values["pair"]
    if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 100):
        raise UsageError(f"test_over_train={ratio} is patients scored per patient trained on, such as 0.333")
    if type(replicates) is not int or replicates < 100:
        raise UsageError(f"replicates={replicates} must be a whole number, 100 or more")
    if not (isinstance(pair, list) and pair and all(isinstance(key, str) for key in pair)):
        raise UsageError(f"pair={pair} must be a list of keys", remedy="pair=[repeat] or pair=[repeat,seed]")


def _outcomes(values: dict[str, Any], plan: ComparisonPlan) -> tuple[list[Outcome], list[str]]:
    if values["table"]:
        return outcomes_of_table(Path(values["table"]), plan.metric), []
    catalogue = read_catalogue(values["runs"])
    if not catalogue.runs:
        raise UsageError("no run was found", where=", ".join(map(str, values["runs"])))
    notes = [f"{path.name} could not be read and is not in the comparison: {why}" for path, why in catalogue.unreadable]
    if any(run.record.get("synthetic") for run in catalogue.runs):
        notes.append("synthetic patients: the figures show that the method runs, and say nothing about disease")
    outcomes = outcomes_of_runs(catalogue.runs, plan.metric, by=plan.by, pair=values["pair"], measure=measured)
    if all(outcome.value is None for outcome in outcomes):
        _refuse_metric(catalogue.runs, plan.metric, outcomes)
    return outcomes, notes


def _refuse_metric(runs: Sequence[CataloguedRun], metric: str, outcomes: Sequence[Outcome]) -> None:
    """No run has a value: a misspelt metric, a study that was not evaluated, or one in which everything failed."""
    counts = {state: sum(o.state == state for o in outcomes) for state in sorted({o.state for o in outcomes})}
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    reasons = sorted({str(outcome.reason) for outcome in outcomes})
    raise UsageError(
        f"none of the {len(runs)} runs has a value of {metric} ({said}: {'; '.join(reasons[:3])})",
        remedy="the words of a run: covidct runs show RUN; a test figure needs covidct evaluate first",
    )


def _sites(table: Table, arms: Sequence[str], level: str) -> list[Site]:
    folders = {arm: [cell.path for cell in table.of(arm) if cell.value is not None] for arm in arms}
    return test_sites({arm: [path for path in found if path] for arm, found in folders.items()}, level)


def _show(comparison: Comparison) -> None:
    """The paired table, the contrasts, the sites and the verdicts, for a terminal."""
    shown = view(comparison)
    arms = [arm["name"] for arm in shown["arms"]]
    say(f"{comparison.plan.metric_text}, {'higher' if comparison.plan.higher_is_better else 'lower'} is better")
    registered = f"plan {comparison.plan_digest}" if comparison.plan_digest else "not pre-registered"
    say(f"{registered}; margin ± {shown['rope']}; variance factor 1/J + {shown['ratio']}\n")
    rows = [[row["repeat"], *(cell["text"] for cell in row["cells"])] for row in shown["rows"]]
    rows.append(["mean", *(arm["mean"] for arm in shown["arms"])])
    rows.append(["time in all", *(arm["total"] for arm in shown["arms"])])
    rows.append(["time a run", *(arm["each"] for arm in shown["arms"])])
    _print_table(["repeat", *arms], rows, left=1)
    for cell in shown["lost"]:
        say(f"  {cell.arm}, repeat {cell.repeat}: {cell.state}, {cell.reason}")
    say("")
    heads = ["contrast", "pairs", "difference", "interval", "P", "Holm", "- / within / +", "won", "interval"]
    keys = ("name", "pairs", "mean", "interval", "p", "p_holm", "regions", "wins", "wins_interval")
    _print_table(heads, [[str(row[key]) for key in keys] for row in shown["contrasts"]], left=1)
    for contrast in comparison.contrasts:
        for repeat, reason in contrast.pairing.excluded:
            say(f"  {contrast.first} - {contrast.second}, repeat {repeat} does not count: {reason}")
    if shown["sites"]:
        say("\nexternal patients")
        heads = ["site", "contrast", "metric", "patients", "difference", "interval", "P", "Holm"]
        columns = ("site", "name", "metric", "patients", "difference", "interval", "p", "p_holm")
        _print_table(heads, [[str(row[key]) for key in columns] for row in shown["sites"]], left=3)
    for site, problem in shown["site_problems"]:
        say(f"  {site}: no test, {problem}")
    say("")
    for warning in shown["warnings"]:
        say(f"!! {warning}")
    for contrast in comparison.contrasts:
        say(f"-> {contrast.verdict.sentence}")


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> None:
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(box=None, pad_edge=False)
    for place, head in enumerate(heads):
        grid.add_column(head, justify="left" if place < left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*row)
    # as wide as the words need: a number cut off by a narrow terminal is worse than a line that wraps
    Console(width=Console(width=1000).measure(grid).maximum, soft_wrap=True).print(grid)
