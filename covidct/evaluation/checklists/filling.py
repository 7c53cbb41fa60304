"""CLAIM, TRIPOD+AI and STARD-AI, filled in where the run folder shows it, the rest marked for the author.

The guidelines ask what a paper reports; a run folder can only show what was done. So an item is filled in with the
evidence itself, never with a tick, and an item without evidence stays open.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

import pandas as pd
import yaml

from covidct.errors import IntegrityError
from covidct.evaluation.checklists.evidence import EVIDENCE
from covidct.evaluation.record import RunRecord

NAMES = ("claim", "tripod_ai", "stard_ai")
AUTHOR = "for the author"


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Args:
        number: As in the guideline.
        section: Its part of the paper.
        title: What it asks, in our words.
        evidence: Name of a function of `EVIDENCE`, or None where only a paper can answer.
    """

    number: int
    section: str
    title: str
    evidence: str | None = None


@dataclass(frozen=True)
class Checklist:
    """A checklist.

    Args:
        key: Name of its file.
        name: Of the guideline.
        title: The same with its year and subject.
        source: Where it was published.
        items: In order.
    """

    key: str
    name: str
    title: str
    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Filled:
    """A checklist with what a run shows.

    Args:
        checklist: The checklist.
        evidence: For each item the evidence, or None.
    """

    checklist: Checklist
    evidence: tuple[str | None, ...]

    @property
    def count(self) -> int:
        """Items with evidence."""
        return sum(text is not None for text in self.evidence)


def read_checklist(key: str) -> Checklist:
    """A checklist that comes with covidct.

    Raises:
        IntegrityError: The file numbers its items wrongly or names evidence that there is no function for.
    """
    text = resources.files(__package__).joinpath(f"{key}.yaml").read_text(encoding="utf-8")
    value = yaml.safe_load(text)
    items = tuple(Item(**item) for item in value["items"])
    unknown = {item.evidence for item in items if item.evidence} - EVIDENCE.keys()
    if unknown or [item.number for item in items] != list(range(1, len(items) + 1)):
        raise IntegrityError(f"unknown evidence {sorted(unknown)} or wrong numbers", where=f"{key}.yaml")
    return Checklist(key, value["name"], value["title"], value["source"], items)


def fill(checklist: Checklist, record: RunRecord) -> Filled:
    """Ask the run folder about every item."""
    return Filled(
        checklist,
        tuple(EVIDENCE[item.evidence](record) if item.evidence else None for item in checklist.items),
    )


def table(filled: Filled) -> pd.DataFrame:
    """One row per item: number, section, item, status ("evidence" or "for the author"), evidence, page (to fill in)."""
    return pd.DataFrame(
        [
            (item.number, item.section, item.title, "evidence" if text else AUTHOR, text or "", "")
            for item, text in zip(filled.checklist.items, filled.evidence, strict=True)
        ],
        columns=["number", "section", "item", "status", "evidence", "page"],
    )


def view(record: RunRecord) -> dict[str, Any]:
    """What the report shows of all checklists."""
    filled = [fill(read_checklist(key), record) for key in NAMES]
    return {
        "lists": [
            {
                "name": one.checklist.name,
                "title": one.checklist.title,
                "source": one.checklist.source,
                "count": one.count,
                "open": len(one.evidence) - one.count,
                "total": len(one.evidence),
                "file": f"checklist_{one.checklist.key}.csv",
                "rows": [
                    {"number": item.number, "title": item.title, "evidence": text}
                    for item, text in zip(one.checklist.items, one.evidence, strict=True)
                    if text
                ],
                "author": [
                    f"{item.number} {item.title}"
                    for item, text in zip(one.checklist.items, one.evidence, strict=True)
                    if not text
                ],
            }
            for one in filled
        ]
    }
