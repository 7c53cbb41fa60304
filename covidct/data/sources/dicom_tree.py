"""`dicom_tree`: any folders of DICOM CT series with a table of labels.

Format: DICOM, CT images in any folders under any names, and NIfTI volumes; Hounsfield units.
Classes: the user's. From `labels.csv` in the data folder (or the file given), with the columns patient, label, site;
one label per patient, people with two diseases are excluded (D7). Without labels and classes every label is null.
Patients: the DICOM PatientID, as text. NIfTI names nobody: there it is the file's name without .nii or .nii.gz, or the
folder's where `labels.csv` lists that.
Sites: from `labels.csv`. A patient number that occurs at several sites is several people: the files of each must lie
under a folder named as the site.
Split: none.
Slice labels: from `slices.csv` beside the labels, if there (sop_instance_uid, slice_label).
Weaknesses: yours to find: `covidct audit data=...`.
Licence: yours.
Citation: yours.

`covidct phantom` writes this layout; its `masks/` and `phantom.json` are not read.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from covidct.ct.ingest import Record
from covidct.data.sources.labels_file import Labels, read_labels, read_slice_labels
from covidct.data.sources.layout import Claim, Layout, Source, patient_of_volume
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

UNKNOWN_SITE = "unknown"
_OWN_TABLES = ("labels.csv", "slices.csv", "phantom.json", "deidentification.json", "index.parquet", "index.json")


class DicomTree(Layout):
    """See the module's data sheet."""

    kinds = ("dicom", "nifti")

    def __init__(self, labels: Labels | None, slice_labels: dict[str, int], labels_path: str | None) -> None:
        self._labels = labels
        self._slice_labels = slice_labels
        self._labels_path = labels_path
        self._seen: set[tuple[str, str]] = set()
        self._unlisted: set[str] = set()
        self._slices_seen: set[str] = set()

    def wants(self, path: str) -> bool:
        """All but the tables and masks that belong to the layout."""
        parts = PurePosixPath(path)
        mask = parts.parts[0] == "masks" and parts.suffix == ".npz"
        return not (path in _OWN_TABLES or path == self._labels_path or mask)

    def claim(self, record: Record) -> Claim:
        """By DICOM PatientID, or by the name of a volume."""
        listed = () if self._labels is None else self._labels.sites_of
        patient = record.patient_id or patient_of_volume(record.path, listed)
        if not patient:
            raise DataRefused("no PatientID")
        slice_label = self._slice_labels.get(record.header.sop_uid) if record.header else None
        if slice_label is not None and record.header is not None:
            self._slices_seen.add(record.header.sop_uid)
        if self._labels is None:
            return Claim(patient, UNKNOWN_SITE, slice_label=slice_label)
        site = self._site(self._labels, patient, record.path)
        self._seen.add((site, patient))
        if (site, patient) in self._labels.excluded:
            raise DataRefused("patient carries two labels (exclusion D7)")
        label = self._labels.label_of[site, patient]
        return Claim(patient, site, label, self._labels.name, slice_label=slice_label)

    def remarks(self) -> dict[str, Any]:
        """Labels and files that do not meet, and what is doubtful in the labels."""
        if self._labels is None:
            return {}
        return {
            "labelled_patients_without_files": self._labels.without_files(self._seen),
            "patients_without_label": len(self._unlisted),
            "patients_with_two_labels": len(self._labels.excluded & self._seen),
            "slice_labels_without_files": len(self._slice_labels.keys() - self._slices_seen),
            "label_warnings": list(self._labels.warnings),
        }

    def _site(self, labels: Labels, patient: str, path: str) -> str:
        sites = labels.sites_of.get(patient, ())
        if not sites:
            self._unlisted.add(patient)
            raise DataRefused(labels.why_unlisted(patient))
        if len(sites) == 1:
            return sites[0]
        here = [site for site in sites if site in PurePosixPath(path).parts[:-1]]
        if len(here) != 1:
            raise DataRefused("patient number occurs at several sites and no folder name tells which")
        return here[0]


def open_tree(root: Path, labels: Path | None, classes: ClassScheme | None) -> DicomTree:
    """Open a folder.

    Args:
        root: The data folder.
        labels: A labels file; by default `labels.csv` in the root where classes are given, else none.
        classes: The task's classes, or None to read without labels.

    Raises:
        DataRefused: The labels are missing or have bad lines.
    """
    if labels is None and classes is None:
        return DicomTree(None, {}, None)
    path = labels if labels is not None else root / "labels.csv"
    table = read_labels(path, classes)
    beside = path.with_name("slices.csv")
    slice_labels = read_slice_labels(beside) if beside.is_file() else {}
    try:
        inside = path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        inside = None
    return DicomTree(table, slice_labels, inside)


SOURCE = Source("dicom_tree", "any folders of DICOM CT series, with labels.csv", None, open_tree)
