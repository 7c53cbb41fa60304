"""The frozen splits of an audit: those that can be read and belong to the index, and findings about the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covidct.data.audit.findings import CLEAN, ERROR, NOT_DONE, Finding
from covidct.data.leaks import number
from covidct.data.splits import Split, known_pictures
from covidct.data.table import SliceTable
from covidct.errors import CovidctError, IntegrityError

_AGAIN = "make the split again with `covidct split`, or remove the file"


@dataclass(frozen=True)
class Frozen:
    """A split of the audited index.

    Args:
        name: Name of its file without the ending.
        split: What is in it.
        parts: Partition -> its rows of the slice table.
    """

    name: str
    split: Split
    parts: dict[str, pd.DataFrame]


def split_files(index: Path, given: Sequence[Path]) -> list[Path]:
    """The split files beside an index and those given, each once."""
    folder = index if index.is_dir() else index.parent
    found = [*sorted((folder / "splits").glob("*.json")), *given]
    return list({path.resolve(): path for path in found}.values())


def open_splits(files: Sequence[Path], table: SliceTable) -> tuple[list[Frozen], list[Finding]]:
    """Read split files.

    Returns:
        Those that belong to the table, whatever they contain; and what there is to say about all.
    """
    usable: list[Frozen] = []
    findings: list[Finding] = []
    seen: set[str] = set()
    for path in files:
        name = path.stem if path.stem not in seen else f"{path.parent.name}/{path.stem}"
        seen.add(name)
        try:
            split = Split.read(path)
        except CovidctError as error:
            edited = isinstance(error, IntegrityError)
            findings.append(Finding(
                "split_file", ERROR, f"{name}: {error.what}", error.remedy or _AGAIN,
                {"edited": int(edited), "unreadable": int(not edited)}, name,
            ))  # fmt: skip
            continue
        if split.index_digest == table.digest:
            usable.append(Frozen(name, split, _parts(split, table)))
            continue
        findings += _of_another_index(name, split, table)
    if files and not any(finding.check == "split_file" for finding in findings):
        findings.append(Finding("split_file", CLEAN, f"{number(len(files), 'split file')} as written.",
                                counts={"files": len(files)}))  # fmt: skip
    if usable and not any(finding.check == "split_index" for finding in findings):
        findings.append(Finding("split_index", CLEAN, f"{number(len(usable), 'split')} of this very index.",
                                counts={"splits": len(usable)}))  # fmt: skip
    if not files:
        findings.append(Finding("split_file", NOT_DONE, "There is no frozen split beside the index.",
                                "covidct split data.index=INDEX"))  # fmt: skip
    return usable, findings


def _of_another_index(name: str, split: Split, table: SliceTable) -> list[Finding]:
    """A split of an earlier state of this data set, or of another data set altogether."""
    frame = table.accepted
    keys = set(frame["slice_key" if split.unit == "image" else "patient_key"])
    members = {key for part in split.members().values() for key in part}
    findings = []
    if known := len(keys & members):
        findings.append(Finding(
            "split_index", ERROR,
            f"{name} was made for index {split.index_digest[:12]}, this is {table.digest[:12]}, and they share "
            f"{number(known, split.unit)}: slices or labels have changed since.",
            _AGAIN, {"shared": known, "in_split": len(members), "in_index": len(keys)}, name, split.digest,
        ))  # fmt: skip
    if not split.pictures:
        findings.append(Finding(
            "foreign_pictures", NOT_DONE, f"{name} was made before splits kept their pictures' digests.",
            "make that split again to have it recognised under any pseudonym key",
            {}, name, split.digest,
        ))  # fmt: skip
        return findings
    rows = frame[known_pictures(split, frame)]
    if rows.empty:
        findings.append(Finding("foreign_pictures", CLEAN, f"No picture of {name} is in this index.",
                                counts={"pictures": 0}, split=name, split_digest=split.digest))  # fmt: skip
    elif not known:
        patients = sorted(rows["patient_key"].unique())
        findings.append(Finding(
            "foreign_pictures", ERROR,
            f"{number(len(rows), 'picture')} of {number(len(patients), 'patient')} here are trained or validated on in "
            f"{name}, under other pseudonyms: these are no unseen patients for its runs.",
            "test that run on data it has never seen; leave these patients out",
            {"pictures": len(rows), "patients": len(patients)}, name, split.digest,
            [{"patient": key} for key in patients[:200]],
        ))  # fmt: skip
    return findings


def _parts(split: Split, table: SliceTable) -> dict[str, pd.DataFrame]:
    return {part: table.accepted.iloc[np.asarray(rows)] for part, rows in split.rows(table).items()}
