"""`ictcf`: iCTCF / HUST-19 (Ning et al. 2020), its labelled slices or its patients.

Format: JPEG, 8 bit, an unknown window. Either the labelled slices, `{NiCT,pCT,nCT}/<type><number>.jpg`, or the
patients, `Patient <n>/CT/<slice>.jpg`; a folder with both is refused. No Hounsfield units, no spacing.
Classes: of a *slice*, as published: `NiCT` (no lung to judge; 5,705), `nCT` (no sign of COVID-19; 9,979), `pCT` (signs
of COVID-19; 4,001). A slice of nCT is not "normal" and not "no COVID-19": an infected patient has such slices too. For
patients: the user's, from `labels.csv`.
Patients: unknown for the labelled slices; 1,521 by folder otherwise.
Sites: one, "hust", for the labelled slices; from `labels.csv` for patients (Union and Liyuan Hospital, Wuhan).
Split: none, and none by patients can be made of the labelled slices: `split=image_level` divides pictures.
Slice labels: pCT 1, nCT 0, NiCT null; none for patients.
Weaknesses: neighbouring slices of one person lie among the labelled ones, and nobody can tell which; the diagnoses of
patients stand on the pages of the site and have to be copied into `labels.csv` (patient is the folder's name, as
`Patient 12`); "suspected" is not a diagnosis.
Licence: not seen; look at the site before use.
Citation: Ning, Lei, Yang et al. 2020, Nature Biomedical Engineering 4:1197-1207, doi 10.1038/s41551-020-00633-5.
Not seen: the pictures and the site (ngdc.cncb.ac.cn/ictcf). The folders are those that others' code and split lists
name; DICOM of the same patients, which the site has too, is for `dicom_tree`.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from covidct.ct.ingest import Record
from covidct.data.sources.labels_file import Labels, read_labels
from covidct.data.sources.layout import Claim, Layout, Source, class_folder, refuse_own
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

SITE = "hust"
CLASSES = ClassScheme(("NiCT", "nCT", "pCT"), normal=None, positive="pCT")
FOLDERS = {name: name for name in CLASSES.names}
_LESION = {"nCT": 0, "pCT": 1}
_PATIENT = re.compile(r"Patient \d+")


class LabelledSlices(Layout):
    """See the module's data sheet."""

    kinds = ("jpeg",)
    patients_known = False

    def wants(self, path: str) -> bool:
        """What lies in a folder of a slice type."""
        return class_folder(path, FOLDERS) is not None

    def claim(self, record: Record) -> Claim:
        """By folder, which the file's name repeats."""
        place = class_folder(record.path, FOLDERS)
        assert place is not None  # wants() let it through
        label, parts = place
        if len(parts) != 1 or not re.fullmatch(rf"{label}\d+\.jpe?g", parts[0], re.IGNORECASE):
            raise DataRefused("not TYPE/TYPE and a number.jpg")
        return Claim(None, SITE, label, "folder", slice_label=_LESION.get(label))


class Patients(Layout):
    """See the module's data sheet."""

    kinds = ("jpeg",)

    def __init__(self, labels: Labels | None) -> None:
        self._labels = labels

    def wants(self, path: str) -> bool:
        """What lies in a patient's folder."""
        return any(map(_PATIENT.fullmatch, PurePosixPath(path).parts[:-1]))

    def claim(self, record: Record) -> Claim:
        """By the patient's folder and the labels file."""
        parts = PurePosixPath(record.path).parts
        if len(parts) < 3 or parts[-2] != "CT" or not _PATIENT.fullmatch(parts[-3]):
            raise DataRefused("not in Patient N/CT")
        patient = parts[-3]
        if self._labels is None:
            return Claim(patient, SITE)
        sites = self._labels.sites_of.get(patient, ())
        if len(sites) != 1:
            raise DataRefused("patient has rows of several sites" if sites else self._labels.why_unlisted(patient))
        if (sites[0], patient) in self._labels.excluded:
            raise DataRefused("patient carries two labels (exclusion D7)")
        return Claim(patient, sites[0], self._labels.label_of[sites[0], patient], self._labels.name)


def open_ictcf(root: Path, labels: Path | None, classes: ClassScheme | None) -> Layout:
    """Open a folder of labelled slices, or of patients with a labels file (default: `labels.csv` in it).

    Raises:
        UsageError: Labelled slices with a labels file, or with other classes than theirs.
        DataRefused: It has both kinds of folders, or none, or the labels are missing or have bad lines.
    """
    slices = any((root / folder).is_dir() for folder in FOLDERS)
    patients = any(map(_PATIENT.fullmatch, (path.name for path in root.iterdir() if path.is_dir())))
    if slices == patients:
        raise DataRefused(
            f"there are {'both' if slices else 'neither'} folders of labelled slices (NiCT, nCT, pCT) and of patients "
            "(Patient 1, ...)",
            where=str(root),
            remedy="give a folder that holds one kind, unpacked",
        )
    if slices:
        refuse_own("ictcf", CLASSES, labels, classes)
        return LabelledSlices()
    if classes is None and labels is None:
        return Patients(None)
    return Patients(read_labels(labels if labels is not None else root / "labels.csv", classes))


SOURCE = Source("ictcf", "iCTCF (HUST-19): JPEG, slice types with unknown patients, or patients", CLASSES, open_ictcf)
