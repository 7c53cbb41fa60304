"""`covid_ct`: UCSD COVID-CT (Zhao, Zhang, He, Xie 2020, arXiv:2003.13865; github.com/UCSD-AI4H/COVID-CT).

Format: 746 PNG and JPEG pictures cut out of preprints and papers; 8 bit, any size, an unknown window, often with text
or arrows. No Hounsfield units (`gray8`), no spacing, no order. Colour is turned to grey.
Classes: `CT_COVID` -> covid19 (349 pictures), `CT_NonCOVID` -> noncovid (397). NonCOVID is not "normal": no diagnosis
is given.
Patients: `COVID-CT-MetaInfo.xlsx` (the extension is missing from some of its names) and `NonCOVID-CT-MetaInfo.csv`, in
`Meta/` or the root.
Split: official, by patient: `Data-split/{COVID,NonCOVID}/{train,val,test}CT_*.txt`.
Site: one, "ucsd", although the pictures come from many places.
Known weakness: the classes differ in where their pictures were published, so a model can tell them apart by
typesetting, crop and compression.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from covidct.ct.ingest import Record
from covidct.data.sources.layout import Claim, Layout, Source
from covidct.errors import DataRefused, UsageError
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
        return _label(path) is not None

    def claim(self, record: Record) -> Claim:
        """By folder and file name."""
        label, name = _label(record.path), PurePosixPath(record.path).name
        assert label is not None  # wants() let it through
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
    if labels is not None:
        raise UsageError("covid_ct brings its own labels", where="data.labels", remedy="leave data.labels=null")
    if classes is not None and not set(FOLDERS.values()) <= set(classes.names):
        raise UsageError(f"covid_ct has the classes {list(CLASSES.names)}, not {list(classes.names)}")
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


def _label(path: str) -> str | None:
    parts = PurePosixPath(path).parts[:-1]
    return next((FOLDERS[part] for part in parts if part in FOLDERS), None)


def _patient_table(root: Path, name: str) -> dict[str, str]:
    """File name -> patient. Names are kept both as written and, for those without extension, as a bare stem."""
    path = next((found for found in (root / "Meta" / name, root / name) if found.is_file()), None)
    if path is None:
        raise DataRefused("the patient table is missing", where=name, remedy="put it into Meta/ or the data folder")
    excel = path.suffix == ".xlsx"
    try:
        frame = pd.read_excel(path, dtype=str) if excel else pd.read_csv(path, dtype=str, encoding="utf-8-sig")
        pairs = frame[["File name", "Patient ID"] if excel else ["image name", "patient id"]].dropna()
    except (OSError, ValueError, KeyError) as error:
        raise DataRefused(f"the patient table cannot be read ({type(error).__name__})", where=str(path)) from None
    found: dict[str, str] = {}
    for file, patient in pairs.itertuples(index=False, name=None):
        if found.setdefault(file.strip(), patient.strip()) != patient.strip():
            raise DataRefused("the patient table gives one picture to two patients", where=str(path))
    return found


SOURCE = Source("covid_ct", "UCSD COVID-CT: 746 pictures, two classes, official split", CLASSES, open_covid_ct)
