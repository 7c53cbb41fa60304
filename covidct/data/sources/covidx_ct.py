"""`covidx_ct`: COVIDx CT, versions 1, 2 and 3 (Gunraj, Wang, Wong 2020).

Format: PNG, 8 bit grey, mostly 512 x 512, an unknown window. No Hounsfield units, no spacing. Pictures lie in any
folder and are found by their names.
Classes: 0 -> normal, 1 -> pneumonia (not COVID-19, organism mostly not told), 2 -> covid19. From the split lists, and
refused where `metadata.csv` says another finding for the patient.
Patients: named in `metadata.csv` (6,068 in version 3B). A picture's name begins with the patient's id and `_` or `-`,
but for COVID-CTset (`<series>_patient<N>_...`).
Sites: the column `source` of `metadata.csv`: 11 data sets, each of one or many hospitals.
Split: official, `{train,val,test}_COVIDx*CT*.txt`, one of each: lines of name, class and the box of the body (not
used). Patients of different parts differ in version 1, and in the validation and test lists of 2A and 3A.
Slice labels: 1 for diseased patients whose slices experts chose for their findings (`slice selection` "Expert"), 0 for
normal patients; null where others, or an earlier network, chose.
Weaknesses: seven of the eleven sources have one class only, so the source tells the class; slices of most COVID-19
patients were chosen by an earlier COVID-Net CT; MosMedData patients (2B, 3B) have no confirmed finding; other data sets
are inside (CC-CCII, MosMedData, iCTCF, COVID-CT-MD): never test on one what was trained on the other.
Licence: that of each source, from CC BY 3.0 to CC BY-NC-SA 4.0 and CC BY-NC-ND 3.0 (`docs/licenses_acknowledgements.md`
of the repository).
Citation: Gunraj, Wang, Wong 2020, Frontiers in Medicine 7:608525, doi 10.3389/fmed.2020.608525; versions 2 and 3:
Gunraj, Sabri, Koff, Wong 2022, Frontiers in Medicine 8:729287, doi 10.3389/fmed.2021.729287.
Not seen: the pictures, and the training lists of versions 2 and 3. Seen: github.com/haydengunraj/COVIDNet-CT, with
`metadata.csv` and seven lists of 129,290 different pictures; all but 22 of version 1 find a patient with their class.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from covidct.ct.ingest import Record
from covidct.data.sources.layout import Claim, Layout, Source, refuse_own
from covidct.data.sources.table_file import Problems, read_rows, read_text
from covidct.errors import DataRefused
from covidct.labels import ClassScheme

CLASSES = ClassScheme(("normal", "pneumonia", "covid19"), normal="normal", positive="covid19")
_FINDINGS = {"Normal": "normal", "Pneumonia": "pneumonia", "COVID-19": "covid19"}
_COLUMNS = ("patient id", "source", "finding", "slice selection")
_CTSET = re.compile(r"[^_]+_(patient\d+)_")

Picture = tuple[str, str]
"""Part of the split and class."""


class CovidxCT(Layout):
    """See the module's data sheet."""

    kinds = ("png",)

    def __init__(self, pictures: dict[str, Picture], patients: dict[str, dict[str, str]]) -> None:
        self._pictures = pictures
        self._patients = patients

    def wants(self, path: str) -> bool:
        """Every PNG."""
        return PurePosixPath(path).suffix.lower() == ".png"

    def claim(self, record: Record) -> Claim:
        """By file name, in the split lists and in `metadata.csv`."""
        name = PurePosixPath(record.path).name
        if name not in self._pictures:
            raise DataRefused("picture is in no split list")
        part, label = self._pictures[name]
        patient = self._patient(name)
        if patient is None:
            raise DataRefused("picture belongs to no patient of metadata.csv")
        facts = self._patients[patient]
        if _FINDINGS.get(facts["finding"]) != label:
            raise DataRefused("class of the picture is not the finding of its patient in metadata.csv")
        lesion = 0 if label == "normal" else 1 if facts["slice selection"] == "Expert" else None
        return Claim(patient, facts["source"], label, "split list", part, lesion)

    def _patient(self, name: str) -> str | None:
        """The longest id that the name begins with: `radiopaedia_4_85506` is not `radiopaedia_4`."""
        ends = [place for place, letter in enumerate(name) if letter in "_-"]
        if found := next((name[:end] for end in reversed(ends) if name[:end] in self._patients), None):
            return found
        ctset = _CTSET.match(name)
        return ctset[1] if ctset and ctset[1] in self._patients else None


def open_covidx_ct(root: Path, labels: Path | None, classes: ClassScheme | None) -> CovidxCT:
    """Open a folder with `metadata.csv` and one split list of each part in it.

    Raises:
        UsageError: A labels file was given, or classes without normal, pneumonia and covid19.
        DataRefused: Lists or metadata are missing, doubled, bad or contradict each other.
    """
    refuse_own("covidx_ct", CLASSES, labels, classes)
    pictures: dict[str, Picture] = {}
    for part in ("train", "val", "test"):
        lists = sorted(root.glob(f"{part}_COVIDx*CT*.txt"))
        if len(lists) != 1:
            raise DataRefused(
                f"{len(lists)} split lists {part}_COVIDx*CT*.txt where one is needed",
                where=str(root),
                remedy="put the three lists of one version there (2B and 3B: val and test of 2A and 3A)",
            )
        _read_list(lists[0], part, pictures)
    problems = Problems(root / "metadata.csv")
    text = read_text(problems.path, _COLUMNS)
    patients = {row["patient id"]: row for _, row in read_rows(text, _COLUMNS[:3], problems, also=_COLUMNS[3:])}
    problems.refuse()
    return CovidxCT(pictures, patients)


def _read_list(path: Path, part: str, pictures: dict[str, Picture]) -> None:
    problems = Problems(path)
    codes = {str(code): (part, label) for code, label in enumerate(CLASSES.names)}
    for number, line in enumerate(read_text(path, ("file", "class", "box")).splitlines(), start=1):
        cells = line.split()
        if len(cells) != 6 or cells[1] not in codes:
            if cells:
                problems.add(f"line {number}: not a name, a class 0 to 2 and a box of four numbers")
        elif pictures.setdefault(cells[0], codes[cells[1]]) != codes[cells[1]]:
            problems.add(f"line {number}: the picture is listed before, with another class or in another part")
    problems.refuse()


SOURCE = Source("covidx_ct", "COVIDx CT 1 to 3: PNG, three classes, official split", CLASSES, open_covidx_ct)
