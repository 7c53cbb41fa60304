"""The classes of a task: their names, their order and which of them means health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from covidct.errors import UsageError

DISPLAY_NAMES = {
    "normal": "Normal",
    "covid19": "COVID-19",
    "viral": "Non-COVID-19 viral pneumonia",
    "bacterial": "Bacterial pneumonia",
    "tuberculosis": "Pulmonary tuberculosis",
    "noncovid": "Non-COVID-19",
    "cap": "Community-acquired pneumonia",
    "pneumonia": "Pneumonia other than COVID-19",
    "ct0": "CT-0, no finding",
    "ct1": "CT-1, up to 25 % of the lung",
    "ct2": "CT-2, 25 to 50 %",
    "ct3": "CT-3, 50 to 75 %",
    "ct4": "CT-4, more than 75 %",
    "NiCT": "No lung to judge (NiCT)",
    "nCT": "Slice without signs of COVID-19 (nCT)",
    "pCT": "Slice with signs of COVID-19 (pCT)",
}
"""Names for people. A class that is not listed is shown as it is written."""

FU2020 = ("normal", "covid19", "viral", "bacterial", "tuberculosis")
"""The five classes of Fu et al. 2020, in the order of the paper's tables."""


@dataclass(frozen=True)
class ClassScheme:
    """The classes of one task.

    The order fixes the columns of logits, probabilities and confusion matrices; it is stored with every model and
    every predictions table, and a mismatch is refused.

    Args:
        names: Class names in column order; at least two, all different.
        normal: The class that means "no disease", or None when the task has none. The paper's patient rule
            ("diseased if any slice is") needs it.
        positive: The class of the binary summary figures (the paper's "COVID-19 against the rest"), or None.
    """

    names: tuple[str, ...]
    normal: str | None = None
    positive: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if len(self.names) < 2 or len(set(self.names)) != len(self.names):
            raise UsageError(f"a task needs two or more different classes, not {list(self.names)}")
        for role in (self.normal, self.positive):
            if role is not None:
                self.index(role)

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Column of a class. Raises `UsageError` for a name that is not in the scheme; nothing is mapped silently."""
        try:
            return self.names.index(name)
        except ValueError:
            raise UsageError(f"unknown class {name!r}", remedy=f"use one of {list(self.names)}") from None

    def display(self, name: str) -> str:
        """The class name for people."""
        return DISPLAY_NAMES.get(name, name)

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON and checkpoints."""
        return {"names": list(self.names), "normal": self.normal, "positive": self.positive}

    @classmethod
    def from_dict(cls, values: dict[str, object]) -> ClassScheme:
        """The inverse of `as_dict`.

        Raises:
            UsageError: It is not what `as_dict` writes.
        """
        names = values.get("names")
        if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(n, str) for n in names):
            raise UsageError(f"classes are a list of names, not {names!r:.80}")
        normal, positive = values.get("normal"), values.get("positive")
        return cls(tuple(names), str(normal) if normal else None, str(positive) if positive else None)
