"""Data sheets, archives, and two published layouts in miniature and, where ../shared has it, for real."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
import yaml
from PIL import Image

from covidct.data.indexing.build import build_index
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.sources import SOURCES, sheet
from covidct.data.sources.sheet import NOT_SEEN, PARTS, data_sheet
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.labels import ClassScheme
from tests.ct.dicom_fixtures import write_ct, write_series
from tests.data.miniatures import volume

CONF = Path(__file__).parents[2] / "conf"
SHARED = Path(__file__).parents[2].parent / "shared" / "data"
NAMES = Pseudonymizer(b"0123456789abcdef")


def index(source, root, **options):
    return build_index(source, root, **({"pseudonyms": NAMES, "workers": 1} | options))


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_a_whole_data_sheet_and_a_config(name):
    source, found = SOURCES[name], data_sheet(SOURCES[name])
    assert source.name == name
    assert found.title.startswith(f"`{name}`: ")
    assert tuple(part for part in found.parts if part != NOT_SEEN) == PARTS, "each part once, in this order"
    assert name == "dicom_tree" or "doi 10." in found.parts["Citation"]
    config = yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert config["source"] == name
    if source.classes is not None:
        assert {**config["classes"], "names": tuple(config["classes"]["names"])} == vars(source.classes)
    assert re.search(rf"\b{name}\b", (CONF / "index.yaml").read_text(encoding="utf-8")), "covidct index --help lists it"


def test_the_manual_has_the_data_sheets():
    page = CONF.parent / "docs" / "reference" / "sources.md"
    assert page.read_text(encoding="utf-8") == sheet.page(), (
        "make it again: python -m covidct.data.sources.sheet > docs/reference/sources.md"
    )


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_is_one_small_file(name):
    lines = Path(sys.modules[SOURCES[name].open.__module__].__file__).read_text(encoding="utf-8").splitlines()
    assert len(lines) < 125


def test_a_sheet_says_its_first_sentence_in_the_table():
    rows = [line for line in sheet.page().splitlines() if line.startswith("| [`mosmed`](#mosmed) |")]
    assert len(rows) == 3
    assert " | NIfTI, one volume a study; Hounsfield units | " in rows[0]
    assert rows[2].endswith("| CC BY-NC-ND 3.0 | Morozov, Andreychenko, Pavlov et al. 2020, medRxiv, doi "
                            "10.1101/2020.05.20.20100362 (arXiv:2005.06465) |")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "command"),
    [("NCP-1.zip", "unzip -d '{root}' '{root}/NCP-1.zip'"), ("all.tar.gz", "tar -C '{root}' -xf '{root}/all.tar.gz'")],
)
@pytest.mark.parametrize("source", SOURCES)
def test_an_archive_is_not_opened_and_the_command_that_unpacks_it_is_said(source, name, command, tmp_path):
    root = tmp_path / "my data"
    root.mkdir()
    (root / name).write_bytes(b"not even an archive")
    (root / "unzip_filenames.csv").touch()
    with pytest.raises(DataRefused, match="1 archive and no folder") as caught:
        index(source, root)
    assert caught.value.remedy == "unpack it first: " + command.format(root=root)


def test_the_command_unpacks(tmp_path):
    """The command that is said, run by a shell, gives a folder that is indexed."""
    from tests.data import miniatures

    root = tmp_path / "it's here"
    made = miniatures.cc_ccii(tmp_path / "made")
    shutil.make_archive(str(tmp_path / "NCP 1"), "gztar", made)
    root.mkdir()
    shutil.move(tmp_path / "NCP 1.tar.gz", root)
    with pytest.raises(DataRefused) as caught:
        index("cc_ccii", root)
    subprocess.run(["sh", "-c", caught.value.remedy.removeprefix("unpack it first: ")], check=True)
    assert len(index("cc_ccii", root).accepted) == 6
    with pytest.raises(DataRefused, match="data folder is an archive") as caught:
        index("cc_ccii", root / "NCP 1.tar.gz")
    subprocess.run(["sh", "-c", caught.value.remedy.removeprefix("unpack it first: ")], check=True)
    assert len(index("cc_ccii", root / "NCP 1").accepted) == 6


@pytest.fixture
def ucsd(tmp_path) -> Path:
    """Three COVID pictures of two patients, two NonCOVID; one name in the table lacks its extension."""
    g = np.random.default_rng(0)
    files = {"CT_COVID": ["a.png", "b%1.jpg", "c.png"], "CT_NonCOVID": ["0.jpg", "1.png"]}
    for folder, names in files.items():
        (tmp_path / "Images-processed" / folder).mkdir(parents=True)
        for name in names:
            picture = Image.fromarray(g.integers(0, 256, (20, 24, 3), dtype=np.uint8))
            picture.save(tmp_path / "Images-processed" / folder / name)
    book = openpyxl.Workbook()
    for line in (["File name", "Patient ID", "Age"], ["a.png", "Patient 1", 44], ["b%1.jpg", "Patient 1", 44],
                 ["c", "Patient 2", 60]):  # fmt: skip
        book.active.append(line)
    (tmp_path / "Meta").mkdir()
    book.save(tmp_path / "Meta" / "COVID-CT-MetaInfo.xlsx")
    (tmp_path / "Meta" / "NonCOVID-CT-MetaInfo.csv").write_text(
        ",image name,patient id\n0,0.jpg,crawled_0\n1,1.png,crawled_1\n"
    )
    for kind, parts in {"COVID": ("a.png\nb%1.jpg\n", "", "c.png"), "NonCOVID": ("0.jpg", "1.png\r\n", "")}.items():
        (tmp_path / "Data-split" / kind).mkdir(parents=True)
        for part, text in zip(("train", "val", "test"), parts, strict=True):
            (tmp_path / "Data-split" / kind / f"{part}CT_{kind}.txt").write_text(text)
    return tmp_path


def test_covid_ct(ucsd):
    table = index("covid_ct", ucsd)
    rows = table.accepted.assign(name=[Path(path).name for path in table.accepted["path"]]).set_index("name")
    assert rows["label"].to_dict() == {
        "a.png": "covid19", "b%1.jpg": "covid19", "c.png": "covid19", "0.jpg": "noncovid", "1.png": "noncovid"
    }  # fmt: skip
    assert rows["official_split"].to_dict() == {
        "a.png": "train", "b%1.jpg": "train", "c.png": "test", "0.jpg": "train", "1.png": "val"
    }  # fmt: skip
    assert rows.loc["a.png", "patient_key"] == rows.loc["b%1.jpg", "patient_key"] == NAMES.patient("ucsd", "Patient 1")
    assert rows["patient_key"].nunique() == 4
    assert set(rows["units"]) == {"gray8"}
    assert rows["position_mm"].isna().all()
    assert table.classes.names == ("noncovid", "covid19")
    assert table.counts["lossy_slices"] == 2
    assert table.rejected.empty, "tables and split files are not scans"


def test_covid_ct_lists_what_it_cannot_use(ucsd):
    folder = ucsd / "Images-processed" / "CT_COVID"
    Image.new("L", (5, 5), 7).save(folder / "unlisted.png")
    (folder / "Thumbs.db").write_text("x")
    write_ct(folder / "scan.dcm")
    table = index("covid_ct", ucsd)
    assert len(table.accepted) == 5
    assert len(table.rejected) == 3


def test_a_patient_in_both_classes_is_excluded(ucsd):
    (ucsd / "Meta" / "NonCOVID-CT-MetaInfo.csv").write_text(
        ",image name,patient id\n0,0.jpg,Patient 1\n1,1.png,crawled_1\n"
    )
    table = index("covid_ct", ucsd)
    assert table.refusals == {"patient carries two labels (exclusion D7)": 3}
    assert len(table.accepted) == 2


def test_covid_ct_with_missing_or_contradicting_tables(ucsd):
    split = ucsd / "Data-split" / "COVID" / "testCT_COVID.txt"
    split.write_text("a.png\n")
    with pytest.raises(DataRefused, match="two parts"):
        index("covid_ct", ucsd)
    split.write_text("c.png\n")
    assert len(index("covid_ct", ucsd).accepted) == 5
    split.rename(ucsd / "split.txt")
    with pytest.raises(DataRefused, match="split file"):
        index("covid_ct", ucsd)
    (ucsd / "split.txt").rename(split)
    (ucsd / "Meta" / "NonCOVID-CT-MetaInfo.csv").unlink()
    with pytest.raises(DataRefused, match="patient table"):
        index("covid_ct", ucsd)


@pytest.mark.parametrize("source", ["covid_ct", "covid_ct_md"])
def test_published_sources_bring_their_own_labels_and_classes(source, tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(UsageError, match="own labels"):
        index(source, tmp_path, labels=tmp_path / "labels.csv")
    with pytest.raises(UsageError, match="has the classes"):
        index(source, tmp_path, classes=ClassScheme(("normal", "flu")))


@pytest.fixture
def babak(tmp_path) -> Path:
    """P002 and cap001 with labels, six slices each; Label Index skips a number as the real one does."""
    write_series(tmp_path / "COVID-19 subjects" / "P002", range(0, 30, 5), series="1.2.1", seed=1, PatientID="x")
    write_series(tmp_path / "Cap subjects" / "cap001", range(0, 30, 5), series="1.2.2", seed=2, PatientID="y")
    write_series(tmp_path / "Normal subjects" / "normal001", range(0, 15, 5), series="1.2.3", seed=3, PatientID="z")
    (tmp_path / "Index.csv").write_bytes(
        b"Label Index,Diagnosis,Relative Path,Folder/ID\r\n0,COVID-19,./COVID-19/,P001\r\n"
        b"1,COVID-19,./COVID-19/,P002\r\n3,CAP,./CAP/,cap001\r\n4,CAP,./CAP/,cap002"
    )
    array = np.zeros((4, 200), dtype=np.int64)
    array[1, :2] = 1  # P002: the two slices nearest to the head
    array[2, [1, 5]] = 1  # cap001, line 2 of Index.csv
    array[3, :6] = 1
    np.save(tmp_path / "Slice-level-labels.npy", array)
    return tmp_path


def test_covid_ct_md_labels_run_from_the_head_down_and_rows_follow_the_lines_of_index_csv(babak):
    table = index("covid_ct_md", babak)
    rows = table.accepted
    labels = {name: group["slice_label"].tolist() for name, group in rows.groupby("label")}
    assert labels == {"covid19": [0, 0, 0, 0, 1, 1], "cap": [1, 0, 0, 0, 1, 0], "normal": [0, 0, 0]}
    assert rows["position_mm"].tolist()[:2] == [0, 5], "slice_number counts from the feet here"
    assert set(rows["site"]) == {"babak"}
    assert set(rows["patient_key"]) == {NAMES.patient("babak", name) for name in ("P002", "cap001", "normal001")}


def test_covid_ct_md_uses_the_update_where_there_is_one(babak):
    array = np.load(babak / "Slice-level-labels.npy")
    array[1, :6] = 1
    np.save(babak / "Slice-level-labels-updated-1.npy", array)
    rows = index("covid_ct_md", babak).accepted
    assert rows.loc[rows["label"] == "covid19", "slice_label"].sum() == 6


def test_covid_ct_md_withholds_labels_when_a_slice_is_missing(babak):
    """With a slice gone, every label after it would sit on the wrong picture."""
    files = sorted((babak / "COVID-19 subjects" / "P002").iterdir(), key=lambda path: int(path.stem.split("-")[1]))
    files[0].write_bytes(files[0].read_bytes()[:-500])  # the lowest: no gap, and the labels would still fit
    files = sorted((babak / "Cap subjects" / "cap001").iterdir(), key=lambda path: int(path.stem.split("-")[1]))
    files[3].unlink()
    array = np.load(babak / "Slice-level-labels.npy")
    array[2, 5] = 0
    np.save(babak / "Slice-level-labels.npy", array)
    table = index("covid_ct_md", babak)
    assert table.accepted.groupby("label")["slice_label"].count().to_dict() == {"cap": 0, "covid19": 0, "normal": 3}
    assert table.counts["patients_with_slice_labels_withheld"] == 2


def test_covid_ct_md_refuses_tables_that_do_not_belong_together(babak):
    np.save(babak / "Slice-level-labels.npy", np.zeros((5, 200)))
    with pytest.raises(IntegrityError, match=r"4 patients.*5 rows"):
        index("covid_ct_md", babak)
    np.save(babak / "Slice-level-labels.npy", np.full((4, 200), 2))
    with pytest.raises(IntegrityError, match="0 and 1"):
        index("covid_ct_md", babak)
    np.save(babak / "Slice-level-labels.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataRefused, match="slice labels"):
        index("covid_ct_md", babak)


needs_ucsd = pytest.mark.skipif(
    not (SHARED / "ucsd_covid_ct").is_dir(), reason="../shared/data/ucsd_covid_ct is absent"
)


@needs_ucsd
def test_the_real_covid_ct_agrees_with_its_manifest():
    root = SHARED / "ucsd_covid_ct"
    rows = index("covid_ct", root).accepted.set_index("path")
    manifest = pd.read_csv(root / "manifest.csv", dtype=str).set_index("path")
    assert len(rows) == len(manifest) == 746
    manifest = manifest.loc[rows.index]
    assert (rows["label"] == manifest["label"].map({"COVID": "covid19", "NonCOVID": "noncovid"})).all()
    assert (rows["official_split"] == manifest["split"]).all()
    assert (rows["patient_key"] == [NAMES.patient("ucsd", patient) for patient in manifest["patient_id"]]).all()
    assert rows.groupby("patient_key")["official_split"].nunique().max() == 1


def test_volumes_beside_dicom_are_named_by_their_files_and_folders(tmp_path):
    """NIfTI names nobody: the file's name does, or a folder that the labels list."""
    write_series(tmp_path / "dicom", range(0, 15, 5), PatientID="0012")
    for number, place in enumerate(("0013.nii.gz", "0014/before.nii", "0015/0013.nii.gz", "stranger.nii.gz")):
        volume(tmp_path / "volumes" / place, seed=40 + number, slices=3)
    (tmp_path / "volumes" / "broken.nii.gz").write_bytes(b"\x1f\x8b nothing")
    (tmp_path / "labels.csv").write_text(
        "patient,label,site\n0012,normal,here\n0013,covid19,here\n0014,covid19,here\n0015,normal,here\n"
    )
    classes = ClassScheme(("normal", "covid19"), "normal", "covid19")
    table = index("dicom_tree", tmp_path, classes=classes)
    assert table.accepted.groupby("patient_key").size().to_dict() == {
        NAMES.patient("here", patient): 3 for patient in ("0012", "0013", "0014")
    }
    assert set(table.accepted["units"]) == {"HU"}
    assert table.refusals["the names of file and folders are those of several patients"] == 3
    assert table.refusals["patient has no row in the labels"] == 3
    unlabelled = index("dicom_tree", tmp_path / "volumes").accepted
    assert set(unlabelled["patient_key"]) == {NAMES.patient("unknown", name) for name in ("0013", "before", "stranger")}
