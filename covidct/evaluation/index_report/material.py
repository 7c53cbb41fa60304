"""What the report of an index is made from: the slice table with its measures beside each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pandas as pd

from covidct.labels import ClassScheme

_MEASURED = ["lung_mm2", "histogram", "age_years", "sex", "kvp", "thickness_mm"]

NO_LABEL = "no label"
"""Stands for the class of accepted slices without one."""


@dataclass(frozen=True, eq=False)
class IndexMaterial:
    """An index, taken apart. A patient is the pair (site, patient_key).

    Args:
        accepted: Accepted rows of the slice table in its order, with the columns of the measures; `label` has
            `NO_LABEL` instead of null.
        refused: Refused rows by path and frame, likewise; `histogram` is null where nothing was decoded.
        counts: `counts` of index.json.
        source: Name of the layout.
        digest: Of the slice table.
        classes: Names of the classes in their order, as far as they occur; `NO_LABEL` last.
    """

    accepted: pd.DataFrame
    refused: pd.DataFrame
    counts: Mapping[str, Any]
    source: str
    digest: str
    classes: tuple[str, ...]

    @classmethod
    def join(
        cls,
        accepted: pd.DataFrame,
        refused: pd.DataFrame,
        measures: pd.DataFrame,
        *,
        counts: Mapping[str, Any],
        source: str,
        digest: str,
        scheme: ClassScheme | None,
    ) -> Self:
        """Put the measures beside the rows.

        Args:
            accepted: Accepted rows of the slice table.
            refused: Refused rows.
            measures: Of both, by `path` and `frame`; a column that is absent is unknown everywhere.
            counts: See the class.
            source: See the class.
            digest: See the class.
            scheme: The classes, where the index has some.
        """
        measures = measures.reindex(columns=["path", "frame", *_MEASURED])
        joined = [rows.merge(measures, on=["path", "frame"], how="left") for rows in (accepted, refused)]
        for rows in joined:
            rows["label"] = rows["label"].where(rows["label"].notna(), NO_LABEL)
        found = set(joined[0]["label"])
        names = [name for name in scheme.names if name in found] if scheme else []
        others = sorted(found - set(names) - {NO_LABEL})
        classes = (*names, *others, *([NO_LABEL] if NO_LABEL in found else []))
        joined[1] = joined[1].sort_values(["path", "frame"], kind="stable", ignore_index=True)
        return cls(joined[0], joined[1], counts, source, digest, classes)

    @property
    def rules(self) -> Mapping[str, Any]:
        """The rules of the study that were applied, as `covidct.data.quality.Rules.as_dict` gives them."""
        found: Mapping[str, Any] = self.counts.get("rules") or {}
        return found


def patients(rows: pd.DataFrame) -> int:
    """The number of patients in some rows."""
    known = rows[rows["patient_key"].notna()]
    return len(known.drop_duplicates(["site", "patient_key"]))
