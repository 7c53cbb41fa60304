"""`covid_ct`: UCSD COVID-CT (Zhao, Zhang, He, Xie 2020, arXiv:2003.13865; github.com/UCSD-AI4H/COVID-CT).

Format: PNG and JPEG, 746 pictures cut out of preprints and papers; 8 bit, any size, an unknown window, often with text
or arrows. No Hounsfield units (`gray8`), no spacing, no order. Colour is turned to grey.
Classes: `CT_COVID` -> covid19 (349 pictures), `CT_NonCOVID` -> noncovid (397). NonCOVID is not "normal": no diagnosis
is given.
Patients: 384, from two tables. `COVID-CT-MetaInfo.xlsx` (the extension is missing from some of its names) and
`NonCOVID-CT-MetaInfo.csv`, in `Meta/` or the root.
Sites: one, "ucsd", although the pictures come from many places.
Split: official, by patient. `Data-split/{COVID,NonCOVID}/{train,val,test}CT_*.txt`.
Slice labels: none.
Weaknesses: the classes differ in where their pictures were published, so a model can tell them apart by typesetting,
crop and compression.
Licence: none is given for the pictures, which are other people's publications.
Citation: Zhao, Zhang, He, Xie 2020, arXiv:2003.13865, doi 10.48550/arXiv.2003.13865.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from covidct.ct.ingest import Record
from covidct.data.sources.layout import Claim, Layout, Source, class_folder, refuse_own
from covidct.data.sources.sheets import read_sheet
from covidct.data.sources.table_file import Problems, read_rows, read_text
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

SITE = "ucsd"
CLASSES = ClassScheme(("noncovid", "covid19"), normal=None, positive="covid19")
FOLDERS = {"CT_COVID": "covid19", "CT_NonCOVID": "noncovid"}
_TABLES = {"covid19": ("COVID-CT-MetaInfo.xlsx", "COVID"), "noncovid": ("NonCOVID-CT-MetaInfo.csv", "NonCOVID")}
_PARTS = ("train", "val", "test")


class CovidCT(Layout):
    """See the module's data sheet."""

    kinds = ("png", "jpeg")

    def __init__(self, patients: dict[tuple[str, str], str], splits: dict[tuple[str, str], str]) -> None:
        self._patients = patients
        self._splits = splits

    def wants(self, path: str) -> bool:
        """What lies in one of the two picture folders."""
        return class_folder(path, FOLDERS) is not None

    def claim(self, record: Record) -> Claim:
        """By folder and file name."""
        place, name = class_folder(record.path, FOLDERS), PurePosixPath(record.path).name
        assert place is not None  # wants() let it through
        label, _ = place
        patient = self._patients.get((label, name)) or self._patients.get((label, PurePosixPath(name).stem))
        if patient is None:
            raise DataRefused("picture is in no patient table")
        return Claim(patient, SITE, label, "folder", self._splits.get((label, name)))


def open_covid_ct(root: Path, labels: Path | None, classes: ClassScheme | None) -> CovidCT:
    """Open a folder.

    Raises:
        UsageError: A labels file was given, or classes other than covid19 and noncovid.
        DataRefused: Patient tables or split files are missing or contradict themselves.
    """
    refuse_own("covid_ct", CLASSES, labels, classes)
    patients: dict[tuple[str, str], str] = {}
    splits: dict[tuple[str, str], str] = {}
    for label, (table, folder) in _TABLES.items():
        for name, patient in _patient_table(root, table).items():
            patients[label, name] = patient
        for part in _PARTS:
            path = root / "Data-split" / folder / f"{part}CT_{folder}.txt"
            try:
                names = path.read_text(encoding="utf-8-sig").split("\n")
            except (OSError, UnicodeDecodeError):
                raise DataRefused("an official split file is missing or unreadable", where=str(path)) from None
            for name in filter(None, map(str.strip, names)):
                if splits.setdefault((label, name), part) != part:
                    raise DataRefused("one picture is in two parts of the official split", where=str(path))
    return CovidCT(patients, splits)


def _patient_table(root: Path, name: str) -> dict[str, str]:
    """File name -> patient. Names are kept both as written and, for those without extension, as a bare stem."""
    path = next((found for found in (root / "Meta" / name, root / name) if found.is_file()), None)
    if path is None:
        raise DataRefused("the patient table is missing", where=name, remedy="put it into Meta/ or the data folder")
    if path.suffix == ".xlsx":
        pairs = read_sheet(path, ("File name", "Patient ID"))
    else:
        columns, problems = ("image name", "patient id"), Problems(path)
        pairs = [
            (row[columns[0]], row[columns[1]]) for _, row in read_rows(read_text(path, columns), columns, problems)
        ]
        problems.refuse()
    found: dict[str, str] = {}
    for file, patient in pairs:
        if found.setdefault(file, patient) != patient:
            raise DataRefused("the patient table gives one picture to two patients", where=str(path))
    return found


SOURCE = Source("covid_ct", "UCSD COVID-CT: 746 pictures, two classes, official split", CLASSES, open_covid_ct)
