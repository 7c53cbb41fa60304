"""`mosmed`: MosMedData COVID19_1110 (Morozov et al. 2020).

Format: NIfTI, one volume a study; Hounsfield units. `studies/CT-0/study_0001.nii.gz` to `CT-4/study_1110.nii.gz`. Only
some of the slices of each scan were published (every tenth, as others report).
Classes: by folder, CT-0 -> normal and CT-1 to CT-4 -> covid19 (*not* confirmed by a test); or, where the task names
them, the five severities `ct0` (no finding) to `ct4` (more than three quarters of the lung).
Patients: a study stands for a patient (1,110): people are not named, and one scanned twice would count as two.
Sites: one, "moscow", although the scans come from many hospitals: none is told.
Split: none.
Slice labels: 0 for CT-0. The masks of 50 studies of CT-1 (`masks/`) are not read.
Weaknesses: CT-4 has two studies; findings were not confirmed; each volume has few, thick slices; the set is part of
COVIDx CT (2B, 3B), so never test on one what was trained on the other.
Licence: CC BY-NC-ND 3.0.
Citation: Morozov, Andreychenko, Pavlov et al. 2020, medRxiv, doi 10.1101/2020.05.20.20100362 (arXiv:2005.06465).
Not seen: the volumes and `dataset_registry.xlsx`. Folders, names and columns (study_id, category, study_file) are those
that others' code opens; numbers of studies per folder there: 254, 684, 125, 45, 2.

`dataset_registry.xlsx`, if it is there, has to agree: a study that it does not list in this category is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from covidct.ct.ingest import Record
from covidct.data.sources.layout import Claim, Layout, Source, refuse_own
from covidct.data.sources.sheets import read_sheet
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

SITE = "moscow"
CLASSES = ClassScheme(("normal", "covid19"), normal="normal", positive="covid19")
SEVERITY = ClassScheme(("ct0", "ct1", "ct2", "ct3", "ct4"), normal="ct0")
_TWO = {f"CT-{number}": "covid19" if number else "normal" for number in range(5)}
_FIVE = {f"CT-{number}": f"ct{number}" for number in range(5)}
_STUDY = re.compile(r"(study_\d{4})\.nii(\.gz)?")
_REGISTRY = "dataset_registry.xlsx"


class MosMed(Layout):
    """See the module's data sheet."""

    kinds = ("nifti",)

    def __init__(self, folders: Mapping[str, str], registry: frozenset[tuple[str, str]] | None) -> None:
        self._folders = folders
        self._registry = registry

    def wants(self, path: str) -> bool:
        """What lies below `studies/`."""
        return "studies" in PurePosixPath(path).parts[:-1]

    def claim(self, record: Record) -> Claim:
        """By folder and file name."""
        *_, above, folder, name = ("", "", *PurePosixPath(record.path).parts)
        study = _STUDY.fullmatch(name)
        if above != "studies" or folder not in self._folders or study is None:
            raise DataRefused("not studies/CT-0 ... CT-4/study_NNNN.nii.gz")
        if self._registry is not None and (study[1], folder) not in self._registry:
            raise DataRefused(f"study is not in {_REGISTRY}, or in another category")
        return Claim(study[1], SITE, self._folders[folder], "folder", slice_label=0 if folder == "CT-0" else None)


def open_mosmed(root: Path, labels: Path | None, classes: ClassScheme | None) -> MosMed:
    """Open a folder.

    Raises:
        UsageError: A labels file was given, or classes that are neither severities nor normal and covid19.
        DataRefused: The registry cannot be read.
    """
    severity = classes is not None and set(SEVERITY.names) <= set(classes.names)
    refuse_own("mosmed", SEVERITY if severity else CLASSES, labels, classes)
    registry = _read_registry(root / _REGISTRY) if (root / _REGISTRY).exists() else None
    return MosMed(_FIVE if severity else _TWO, registry)


def _read_registry(path: Path) -> frozenset[tuple[str, str]]:
    """Study and category of every row."""
    return frozenset(
        (PurePosixPath(file).name.removesuffix(".gz").removesuffix(".nii"), category)
        for file, category in read_sheet(path, ("study_file", "category"))
    )


SOURCE = Source("mosmed", "MosMedData: NIfTI by severity, normal or findings of COVID-19", CLASSES, open_mosmed)
