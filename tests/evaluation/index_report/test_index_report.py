"""The report of an index, read back: its numbers from the files it was made of, and what it must never say."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covidct.data.measures import read_measures
from covidct.data.table import read_table
from covidct.evaluation.index_report.intensities import peak
from tests.conftest import run_verb
from tests.ct.dicom_fixtures import chest, write_ct

WIDE = [7.5, 7.5]


class Page(HTMLParser):
    """Words by section; pictures by section; cells of tables row by row."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.words: dict[str, str] = {}
        self.pictures: dict[str, int] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self._section, self._cell = "top", False
        self.feed(self.html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "section" and given.get("id"):
            self._section = given["id"]
        if tag == "img":
            self.pictures[self._section] = self.pictures.get(self._section, 0) + 1
        if tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.rows[self._section][-1].append("")

    def handle_data(self, data):
        words = self.words.get(self._section, "")
        self.words[self._section] = f"{words} {' '.join(data.split())}".strip()
        if self._cell:
            self.rows[self._section][-1][-1] += data

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")


@pytest.fixture(scope="module")
def troubled(tmp_path_factory) -> tuple[Path, Path, Page]:
    """Two hospitals. North: two classes. South: one class, its scale 200 HU too high; a localizer, and a cut file."""
    folder = tmp_path_factory.mktemp("troubled")
    root, lines = folder / "scans", []
    for patient, (label, site, age) in enumerate(
        [("normal", "north", "030Y"), ("covid19", "north", "050Y"), ("covid19", "south", "070Y")]
    ):
        name = f"SECRETPERSON{patient}"
        lines.append(f"{name},{label},{site}")
        for number in range(6):
            hu = chest(seed=10 * patient + number)
            noise = np.random.default_rng(number).integers(-9, 9, hu.shape)
            hu = np.maximum(hu + noise, -1024).astype(np.int16)
            if number > 3:
                hu[(hu < -600) & (hu > -960)] = 30  # below the lungs
            write_ct(root / name / f"HIDDEN{number}.dcm", hu, bits=16, PatientID=name, PatientAge=age, PatientSex="F",
                     SOPInstanceUID=f"1.2.{patient}.{number}", SeriesInstanceUID=f"1.2.{patient}",
                     RescaleIntercept=-824 if site == "south" else -1024, PixelSpacing=WIDE, KVP=120,
                     ManufacturerModelName=f"Model {site}", ImagePositionPatient=[0, 0, 5 * number])  # fmt: skip
    write_ct(root / "scout.dcm", PatientID="SECRETPERSON0", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (root / "cut.dcm").write_bytes((root / "SECRETPERSON0" / "HIDDEN0.dcm").read_bytes()[:-900])
    (root / "labels.csv").write_text("patient,label,site\n" + "\n".join(lines) + "\n")
    words = ["data=dicom_tree", f"data.root={root}", f"data.index={folder}/index", f"key={folder}/key", "reads=false"]
    assert run_verb("index", *words, "data.lungs_cm2=60") == 0
    return folder / "index", root, Page(folder / "index" / "index_report.html")


def test_the_flow_counts_every_step(troubled):
    flow = troubled[2].words["flow"]
    assert "20 files found" in flow
    assert re.search(r"2 refused , files or slices 1 image type says localizer 1 pixel data are cut short", flow)
    assert "18 slices of 3 patients can be read and placed" in flow
    assert "0 slices of 0 patients left out patient carries two labels" in flow
    assert "6 slices left out lung area below 60 cm2" in flow
    assert "12 slices of 3 patients accepted" in flow
    assert "north 2 patients · 8 slices Normal 1 COVID-19 1" in flow
    assert "south 1 patient · 4 slices Normal 0 COVID-19 1" in flow


def test_one_class_and_a_wrong_scale_are_said_at_the_top(troubled):
    top = troubled[2].words["top"]
    assert "south has one class only: COVID-19, 1 patient." in top
    found = re.search(r"south: the peak of the body is not between .* in 1 of 1 patient; it is at (\d+) HU", top)
    assert found is not None
    assert int(found[1]) == pytest.approx(200, abs=16)
    assert "Air is off too: the scale is wrong." in top
    assert "north" not in top
    rows = [[" ".join(cell.split()) for cell in row] for row in troubled[2].rows["mix"][1:]]
    assert rows == [
        ["north", "ACME Model north", "2020", "1 (4)", "1 (4)"],
        ["south", "ACME Model south", "2020", "–", "1 (4)"],
    ]


def test_a_refused_file_that_decodes_is_shown_and_one_that_does_not_is_counted(troubled):
    page = troubled[2]
    assert page.pictures["pictures"] == 4 + 4
    assert page.pictures["refused"] == 6 + 1
    assert "image type says localizer 1" in page.words["refused"]
    assert "pixel data are cut short 1; no picture can be made" in page.words["refused"]


def test_the_ladder_is_that_of_the_measures_whatever_the_rule(troubled):
    index, _, page = troubled
    table = read_table(index)
    areas = table.frame.merge(read_measures(index), on=["path", "frame"])
    areas = areas[(areas["reason"] == "") | (areas["reason"] == "lung area below 60 cm2")]
    for row in page.rows["lungs"][1:]:
        least = 0 if row[0] == "no rule" else float(row[0].split()[0])
        kept = areas[areas["lung_mm2"] >= 100 * least]
        assert row[1:4] == [str(len(kept)), f"{100 * len(kept) / 18:.1f}", str(kept["patient_key"].nunique())]
    assert [row[0] for row in page.rows["lungs"] if "this index" in row[0]] == ["60 (this index)"]
    assert page.pictures["lungs"] == 1 + 6 + 8  # histogram; all that were refused; the nearest of those accepted


def test_ages_and_what_is_not_known(troubled):
    assert ["COVID-19", "2", "60 (50–70)", "0", "2", "0", "0", "0"] in troubled[2].rows["people"]
    unknown = {row[0]: " ".join(row[1].split()) for row in troubled[2].rows["unknown"][1:]}
    assert unknown["Slice thickness"] == "all 12 slices with Hounsfield units"
    assert "Patient's age" not in unknown


def test_nobody_is_named_nothing_runs_and_nothing_is_fetched(troubled):
    html = troubled[2].html
    for word in ("SECRETPERSON", "HIDDEN", "scout.dcm", "Secret", str(troubled[1]), "<script", "http://", "url("):
        assert word not in html
    assert set(re.findall(r'(?:src|href)="(data:[a-z/+]*|#|[^"]{0,20})', html)) <= {
        "data:image/jpeg", "data:image/svg+xml", "#flow", "#mix", "#pictures", "#refused", "#scale", "#lungs",
        "#geometry", "#people", "#unknown", "#",
    }  # fmt: skip
    assert "keep this page beside the scans" in html


def test_the_same_index_gives_the_same_bytes_and_an_old_page_does_not_outlive_its_table(troubled):
    index, root, page = troubled
    again = index.with_name("again")
    shutil.copytree(index, again)
    (again / "index_report.html").unlink()
    assert run_verb("index", "report=only", f"data.index={again}") == 0
    assert (again / "index_report.html").read_text() == page.html
    words = ["data=dicom_tree", f"data.root={root}", f"data.index={again}", f"key={index.parent}/key", "reads=false"]
    assert run_verb("index", *words, "report=false") == 0
    assert not (again / "index_report.html").exists()
    assert run_verb("index", "report=sometimes", *words) == 2


def test_the_report_of_the_phantom_has_its_patients(workshop):
    page = Page(workshop / "index" / "index_report.html")
    labels = pd.read_csv(workshop / "phantom" / "labels.csv")
    for site, rows in labels.groupby("site"):
        assert (
            f"{site} {len(rows)} patients · {3 * len(rows)} slices Normal {(rows['label'] == 'normal').sum()}"
            in (page.words["flow"])
        )
    assert "Synthetic data." in page.words["top"]
    assert "one class only" not in page.words["top"]
    assert "of the body is not between" not in page.html


@pytest.mark.parametrize("place", [-1010, -1000, -870, -850, -800])
def test_a_peak_is_found_where_it_was_put(place):
    values = np.random.default_rng(1).normal(place, 12, 20_000)
    shares = np.histogram(values, -1024 + 32 * np.arange(65))[0] / 20_000
    assert peak(shares, -1024, -704) == pytest.approx(place, abs=16)
    assert peak(shares, -320, 320) is None
