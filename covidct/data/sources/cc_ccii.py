"""`cc_ccii`: China Consortium of Chest CT Image Investigation (Zhang et al. 2020), the public part.

Format: PNG and JPEG, 8 bit, `{NCP,CP,Normal}/<patient>/<scan>/<slice>`. The window is unknown. No Hounsfield units, no
spacing; the order is that of the file names.
Classes: `NCP` -> covid19 (novel coronavirus pneumonia), `CP` -> pneumonia (common pneumonia: viral, bacterial or
mycoplasma, not told which), `Normal` -> normal. By folder.
Patients: the folder below the class. Numbers are counted over all classes: in the list of COVIDx CT none of 1,854 is
in two classes.
Sites: one, "cncb", although the pictures come from several hospitals: none is told.
Split: none.
Slice labels: 1 for those in `lesions_slices.csv` (column imgpath), if it is there; 0 for normal patients; otherwise
null, because not every slice of every scan was looked at.
Weaknesses: damaged, repeated and disordered slices, which He et al. (doi 10.1101/2020.06.08.20125963) removed; patients
have several scans; the window may differ from class to class.
Licence: CC BY 3.0 CN.
Citation: Zhang, Liu, Shen et al. 2020, Cell 181:1423-1433, doi 10.1016/j.cell.2020.04.045; its abstract says 4,154
patients, a corrected one 3,777.
Not seen: the pictures and both tables. The layout is as github.com/haydengunraj/COVIDNet-CT and others read it; some
of them have a folder `images/` above the classes, which is fine.

`unzip_filenames.csv` (zip_file, label, patient_id, scan_id, n_slice), if it is there, has to agree: a scan that it does
not list, or lists with another class or patient, is refused. The data set is published as archives (`NCP-13.zip`):
unpack them all into one folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from covidct.ct.ingest import Record
from covidct.data.sources.layout import Claim, Layout, Source, class_folder, refuse_own
from covidct.data.sources.table_file import Problems, read_rows, read_text
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

SITE = "cncb"
CLASSES = ClassScheme(("normal", "pneumonia", "covid19"), normal="normal", positive="covid19")
FOLDERS = {"Normal": "normal", "CP": "pneumonia", "NCP": "covid19"}
_LESIONS, _SCANS = "lesions_slices.csv", "unzip_filenames.csv"


class CCCCII(Layout):
    """See the module's data sheet."""

    kinds = ("png", "jpeg")

    def __init__(self, lesions: frozenset[str], scans: Mapping[str, tuple[str, str]] | None) -> None:
        self._lesions = lesions
        self._scans = scans

    def wants(self, path: str) -> bool:
        """What lies in a class folder."""
        return class_folder(path, FOLDERS) is not None

    def claim(self, record: Record) -> Claim:
        """By folders."""
        place = class_folder(record.path, FOLDERS)
        assert place is not None  # wants() let it through
        label, parts = place
        if len(parts) != 3:
            raise DataRefused("not in CLASS/PATIENT/SCAN")
        patient, scan, _ = parts
        if self._scans is not None and self._scans.get(scan) != (label, patient):
            raise DataRefused(f"scan is not in {_SCANS}, or with another class or patient")
        listed = "/".join(PurePosixPath(record.path).parts[-4:]) in self._lesions
        if listed and label == "normal":
            raise DataRefused(f"slice of a normal patient in {_LESIONS}")
        lesion = 0 if label == "normal" else 1 if listed else None
        return Claim(patient, SITE, label, "folder", slice_label=lesion, series=scan)


def open_cc_ccii(root: Path, labels: Path | None, classes: ClassScheme | None) -> CCCCII:
    """Open a folder; both tables may be missing.

    Raises:
        UsageError: A labels file was given, or classes without normal, pneumonia and covid19.
        DataRefused: A table cannot be read, or gives one scan to two patients.
    """
    refuse_own("cc_ccii", CLASSES, labels, classes)
    lesions: frozenset[str] = frozenset()
    if (root / _LESIONS).exists():
        problems = Problems(root / _LESIONS)
        text = read_text(problems.path, ("imgpath",))
        lesions = frozenset(row["imgpath"] for _, row in read_rows(text, ("imgpath",), problems))
        problems.refuse()
    scans = _read_scans(root / _SCANS) if (root / _SCANS).exists() else None
    return CCCCII(lesions, scans)


def _read_scans(path: Path) -> dict[str, tuple[str, str]]:
    """Scan -> class and patient."""
    columns, problems = ("label", "patient_id", "scan_id"), Problems(path)
    scans: dict[str, tuple[str, str]] = {}
    for line, row in read_rows(read_text(path, columns), columns, problems):
        if row["label"] not in FOLDERS:
            problems.add(f"line {line}: the label is none of {', '.join(FOLDERS)}")
        elif scans.setdefault(row["scan_id"], whose := (FOLDERS[row["label"]], row["patient_id"])) != whose:
            problems.add(f"line {line}: the scan is listed before, with another class or patient")
    problems.refuse()
    return scans


SOURCE = Source("cc_ccii", "CC-CCII: PNG and JPEG by class, patient and scan, three classes", CLASSES, open_cc_ccii)
