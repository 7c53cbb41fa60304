"""`covid_ct_md`: COVID-CT-MD (Afshar et al. 2021, Scientific Data 8:121, doi 10.1038/s41597-021-00900-3).

Format: DICOM, JPEG Lossless (a decoder is needed: python-gdcm), 512 x 512, 2 mm, Siemens SOMATOM Scope; Hounsfield
units. Anonymised: some series have UIDs that are no valid DICOM UIDs, and slices without any SOP Instance UID.
Classes: "COVID-19 subjects" -> covid19, "Cap subjects" -> cap (community-acquired pneumonia, organism not typed),
"Normal subjects" -> normal. By folder.
Patients: the folder below the class (P001, cap002, normal001). PatientID often differs.
Sites: one, Babak Imaging Center, Tehran: "babak".
Split: none.
Slice labels: of 54 COVID-19 and 25 CAP patients; slices of normal patients are 0. `Slice-level-labels-updated-1.npy`
(else `Slice-level-labels.npy`), [79 patients, 200 slices], 1 infected; `Index.csv` names the patients.
Weaknesses: one scanner; labels of slices are known by position only; the set is part of COVIDx CT 3.
Licence: not in the files that were seen; look at the paper.
Citation: Afshar, Heidarian, Enshaei et al. 2021, Scientific Data 8:121, doi 10.1038/s41597-021-00900-3.
Not seen: all but three patients.

Two things the data set does not say, decided from the pictures of the two sample patients that have labels:

* Which way. Column 0 is the slice nearest to the head. For P001, with labels of update 1, that reading starts and ends
  with the opacities (left lower lobe 46..62, gap 63..71, right lower lobe 77..124, clear from 125 on); the opposite
  reading calls clear slices infected and misses the largest lesions, and so does file-name order.
* Which row. Rows follow the *order of the lines* of Index.csv, not its column "Label Index", which skips 43 and so ends
  at 79 where the array's last row is 78. For cap002 (line 55, "Label Index" 56) row 55 marks slices 89..118, where
  bilateral subpleural consolidation is seen; row 56 (15 slices) marks clear slices at the carina and leaves most of
  the consolidation out. For COVID-19 patients up to P043 both readings agree.

Labels are attached to whole series only (`Layout.slice_labels`). A slice missing at either end cannot be noticed.
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from covidct.ct.ingest import Record
from covidct.ct.series import Series
from covidct.data.sources.layout import Claim, Layout, Source, refuse_own
from covidct.errors import DataRefused, IntegrityError
from covidct.labels import ClassScheme

SITE = "babak"
CLASSES = ClassScheme(("normal", "covid19", "cap"), normal="normal", positive="covid19")
_PREFIXES = {"covid-19 subjects": "covid19", "cap subjects": "cap", "normal subjects": "normal"}
_ARRAYS = ("Slice-level-labels-updated-1.npy", "Slice-level-labels.npy")


class CovidCTMD(Layout):
    """See the module's data sheet."""

    kinds = ("dicom",)

    def __init__(self, rows: dict[str, npt.NDArray[np.int8]]) -> None:
        self._rows = rows
        self.labels_by_place = frozenset(rows)

    def wants(self, path: str) -> bool:
        """What lies in a patient folder below one of the class folders."""
        return _place(path) is not None

    def claim(self, record: Record) -> Claim:
        """By class folder and patient folder."""
        place = _place(record.path)
        assert place is not None  # wants() let it through
        label, patient = place
        return Claim(patient, SITE, label, "folder", slice_label=0 if label == "normal" else None)

    def slice_labels(self, patient_id: str, series: Series) -> list[int | None] | None:
        """The patient's row, turned to the order of the series; None where it cannot belong to it."""
        row = self._rows.get(patient_id)
        if row is None or len(series.members) > len(row) or row[len(series.members) :].any():
            return None
        labels: list[int | None] = [int(value) for value in row[: len(series.members)]]
        return labels if series.head_first else labels[::-1]


def open_covid_ct_md(root: Path, labels: Path | None, classes: ClassScheme | None) -> CovidCTMD:
    """Open a folder. Without `Index.csv` or arrays there are no slice labels.

    Raises:
        UsageError: A labels file was given, or classes without normal, covid19 and cap.
        IntegrityError: Index.csv and the array do not belong together.
    """
    refuse_own("covid_ct_md", CLASSES, labels, classes)
    array_path = next((root / name for name in _ARRAYS if (root / name).is_file()), None)
    if array_path is None or not (root / "Index.csv").is_file():
        return CovidCTMD({})
    try:
        array = np.load(array_path, allow_pickle=False)
        with (root / "Index.csv").open(encoding="utf-8-sig", newline="") as stream:
            names = [row["Folder/ID"].strip() for row in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError, AttributeError, csv.Error) as error:
        raise DataRefused(f"slice labels cannot be read ({type(error).__name__})", where=str(array_path)) from None
    if array.ndim != 2 or not np.isin(array, (0, 1)).all():
        raise IntegrityError("slice labels are not a table of 0 and 1", where=str(array_path))
    if len(names) != len(array) or len(set(names)) != len(names):
        raise IntegrityError(
            f"Index.csv lists {len(set(names))} patients, the slice labels have {len(array)} rows",
            where=str(array_path),
        )
    return CovidCTMD(dict(zip(names, array.astype(np.int8), strict=True)))


def _place(path: str) -> tuple[str, str] | None:
    parts = PurePosixPath(path).parts
    for number, part in enumerate(parts[:-2]):
        if part.lower() in _PREFIXES:
            return _PREFIXES[part.lower()], parts[number + 1]
    return None


SOURCE = Source(
    "covid_ct_md", "COVID-CT-MD: DICOM by class folder, three classes, slice-level labels", CLASSES, open_covid_ct_md
)
