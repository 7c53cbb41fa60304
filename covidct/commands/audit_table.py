"""`covidct audit table=...`: can a publication's figures be true of its counts?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidct.commands.columns import print_columns
from covidct.commands.progress import say
from covidct.errors import Alarm, UsageError
from covidct.evaluation.published_tables.audit import audit_publication
from covidct.evaluation.published_tables.hypotheses import INCONSISTENT
from covidct.evaluation.published_tables.page import figure_name, write_audit
from covidct.evaluation.published_tables.publication import find_publication
from covidct.evaluation.published_tables.reader import read_publication


def run(values: dict[str, Any]) -> None:
    """Audit a publication's tables, write the result, and end with an alarm if a table is inconsistent."""
    seed = values["table_seed"]
    if type(seed) is not int or seed < 0:
        raise UsageError(f"table_seed={seed} is no whole number, 0 or more")
    found = audit_publication(read_publication(find_publication(str(values["table"]))), seed=seed)
    for table in found["tables"]:
        _show(table)
    page = write_audit(found, Path(values["table_output"]))
    say(f"page: {page}")
    bad = [table["title"] for table in found["tables"] if table["verdict"] == INCONSISTENT]
    if bad:
        raise Alarm(
            f"{', '.join(bad)}: {INCONSISTENT}",
            where=str(page),
            remedy="read what would explain it, and ask the authors; this is about numbers, not about people",
        )


def _show(table: dict[str, Any]) -> None:
    """A table's verdict, sentences and readings, for a terminal."""
    say(f"== {table['title']}: {table['verdict']}")
    for sentence in table["sentences"][1:]:
        say(f"-> {sentence}")
    rows = [[f["name"], _short(f["verdict"]), "–" if f["half_width"] is None else f"±{f['half_width']:.3f}"]
            for f in (*table["readings"], *table["alternatives"])]  # fmt: skip
    say("")
    print_columns(["reading", "verdict", "possible within (points)"], rows)
    wrong = table["wrong"]
    if wrong and wrong["least"]:
        say(f"\nwrong at least, one of these {len(wrong['sets'])}:")
        for figures in wrong["sets"]:
            say(f"  {'; '.join(figure_name(figure) for figure in figures)}")
    say("")


def _short(verdict: str) -> str:
    return "consistent only if so" if verdict.startswith("consistent only if") else verdict
