"""Rules of a study: which patients and which slices of those that can be read belong in it, each a counted step.

The paper's are three: adults of 18 to 75 years (L201-202), nobody with more than one of the diseases (L208-211), and
no "images without perfect lung fields" (L222), which it does not define: here a least area of lung in the slice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covidct.ct.ingest import Record
from covidct.ct.window import HU
from covidct.data.indexing.entries import Entry
from covidct.errors import UsageError

TWO_LABELS = "patient carries two labels (exclusion D7)"
"""Also of patients whom a labels file gives two; then it is the source that refuses them."""


@dataclass(frozen=True)
class Rules:
    """What is asked of patients and slices. The table's `counts["rules"]` keeps it.

    Args:
        single_disease: Refuse patients who carry several labels.
        ages: Youngest and oldest age in whole years, both belong; None: any age.
        unknown_age: With `ages`: `"refuse"` or `"keep"` patients whose age no header tells.
        lungs_cm2: Least area of the lungs in a slice, cm2 (`covidct.ct.measures.Measures.lung_mm2` / 100); None: any.

    Raises:
        UsageError: The ages are no range, or the area is not above 0.
    """

    single_disease: bool = True
    ages: tuple[int, int] | None = None
    unknown_age: str = "refuse"
    lungs_cm2: float | None = None

    def __post_init__(self) -> None:
        if self.ages is not None and (len(self.ages) != 2 or not 0 <= self.ages[0] <= self.ages[1]):
            raise UsageError(
                f"{list(self.ages)} are no ages from youngest to oldest", where="data.ages",
                remedy="write data.ages=[18,75]",
            )  # fmt: skip
        if self.unknown_age not in ("refuse", "keep"):
            raise UsageError(f"{self.unknown_age!r} is not a choice", where="data.unknown_age", remedy="refuse or keep")
        if self.lungs_cm2 is not None and not (math.isfinite(self.lungs_cm2) and self.lungs_cm2 > 0):
            raise UsageError(
                f"{self.lungs_cm2} is no area above 0", where="data.lungs_cm2", remedy="in cm2; null: no rule"
            )

    @property
    def outside_ages(self) -> str:
        """The reason of patients who are too young or too old."""
        assert self.ages is not None
        return f"patient's age outside {self.ages[0]} to {self.ages[1]} years"

    @property
    def age_not_known(self) -> str:
        """The reason of patients of unknown age."""
        assert self.ages is not None
        return f"patient's age unknown ({self.ages[0]} to {self.ages[1]} years asked for)"

    @property
    def small_lungs(self) -> str:
        """The reason of slices with too little lung."""
        return f"lung area below {self.lungs_cm2:g} cm2"

    def steps(self) -> list[dict[str, str]]:
        """The rules that are on, in the order they are applied: key of the config, whom it is about, reason."""
        found = []
        if self.single_disease:
            found.append({"rule": "single_disease", "of": "patients", "reason": TWO_LABELS})
        if self.ages is not None:
            if self.unknown_age == "refuse":
                found.append({"rule": "ages", "of": "patients", "reason": self.age_not_known})
            found.append({"rule": "ages", "of": "patients", "reason": self.outside_ages})
        if self.lungs_cm2 is not None:
            found.append({"rule": "lungs_cm2", "of": "slices", "reason": self.small_lungs})
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain values for index.json: every rule, and the steps of those that are on."""
        return {
            "single_disease": self.single_disease,
            "ages": None if self.ages is None else list(self.ages),
            "unknown_age": self.unknown_age,
            "lungs_cm2": self.lungs_cm2,
            "steps": self.steps(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rules:
        """The rules that `as_dict` wrote; what is not there is at its default."""
        ages = values.get("ages")
        return cls(
            single_disease=bool(values.get("single_disease", cls.single_disease)),
            ages=None if ages is None else (int(ages[0]), int(ages[1])),
            unknown_age=str(values.get("unknown_age", cls.unknown_age)),
            lungs_cm2=values.get("lungs_cm2"),
        )

    def refuse_kinds(self, kinds: Sequence[str]) -> None:
        """Say at once that a rule cannot be asked of a source.

        Args:
            kinds: The file kinds it consists of.

        Raises:
            UsageError: The rule of lung areas is on, and none of the kinds has Hounsfield units.
        """
        if self.lungs_cm2 is not None and not {"dicom", "nifti"} & set(kinds):
            raise _no_scale()

    def refuse_patients(self, entries: list[Entry]) -> None:
        """Apply the rules that are about patients. A patient's ages are those of all readable slices: all must be in
        the range."""
        labels: dict[str | None, set[str]] = defaultdict(set)
        ages: dict[str | None, set[int]] = defaultdict(set)
        for entry in entries:
            if entry.claim is not None and entry.claim.label is not None and entry.claim.patient_id is not None:
                labels[entry.patient_key].add(entry.claim.label)
            if entry.age_years is not None:
                ages[entry.patient_key].add(entry.age_years)
        for entry in entries:
            if not entry.reason:
                entry.reason = self._of_patient(labels[entry.patient_key], ages[entry.patient_key])

    def _of_patient(self, labels: set[str], ages: set[int]) -> str:
        if self.single_disease and len(labels) > 1:
            return TWO_LABELS
        if self.ages is None:
            return ""
        if not ages:
            return self.age_not_known if self.unknown_age == "refuse" else ""
        return "" if self.ages[0] <= min(ages) and max(ages) <= self.ages[1] else self.outside_ages

    def of_slice(self, record: Record) -> str:
        """The reason why a slice does not belong in the study; "" where it does.

        Raises:
            UsageError: The rule of lung areas is on, and the slice is an 8-bit picture: the lungs are found by
                Hounsfield units.
        """
        if self.lungs_cm2 is None:
            return ""
        if record.units != HU:
            raise _no_scale()
        area = record.measures.lung_mm2 if record.measures is not None else None
        return self.small_lungs if area is None or area < 100 * self.lungs_cm2 else ""


def _no_scale() -> UsageError:
    return UsageError(
        "the lungs cannot be found in 8-bit pictures: they have no Hounsfield units",
        where="data.lungs_cm2",
        remedy="leave the rule out for this source (data.lungs_cm2=null), or choose its pictures by eye",
    )
