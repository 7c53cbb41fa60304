"""Five published layouts in miniature, through the front door; what contradicts them is refused and counted."""

from pathlib import Path

import pytest

from covidct.data.indexing.build import build_index
from covidct.data.pseudonyms import Pseudonymizer
from covidct.data.splits import Split
from covidct.data.table import read_table
from covidct.errors import DataRefused, UsageError
from covidct.labels import ClassScheme
from tests.conftest import run_verb
from tests.data import miniatures
from tests.data.miniatures import COVIDX, picture, sheet

NAMES = Pseudonymizer(b"\x5e" * 32)
CODES = ("normal", "pneumonia", "covid19")


def index(source, root, **options):
    return build_index(source, root, **({"pseudonyms": NAMES, "workers": 1} | options))


def front_door(source: str, root: Path, *words: str) -> Path:
    """The folder of an index that `covidct index` made."""
    key = root.parent / "pseudonym.key"
    key.touch(mode=0o600)
    key.write_text("5e" * 32 + "\n")
    made = root.parent / "index"
    options = [f"data.root={root}", f"data.index={made}", f"key={key}", "report=false", "reads=false", "data.workers=1"]
    assert run_verb("index", f"data={source}", *options, *words) == 0
    return made


def by_name(table):
    return table.accepted.assign(name=[Path(path).name for path in table.accepted["path"]]).set_index("name")


# --- COVIDx CT --------------------------------------------------------------------------------------------------------


def test_covidx_ct(tmp_path):
    root = miniatures.covidx_ct(tmp_path / "data")
    picture(root / "2A_images" / "unlisted.png")
    (root / "2A_images" / "readme.md").write_text("x")
    table = read_table(front_door("covidx_ct", root))
    rows = by_name(table)
    assert rows["label"].to_dict() == {name: CODES[code] for name, (_, code, _) in COVIDX.items()}
    assert rows["official_split"].to_dict() == {name: part for name, (part, _, _) in COVIDX.items()}
    site = {"NCP_96": "CNCB", "CP_10": "CNCB", "CP_1": "CNCB", "Normal_1668": "CNCB", "patient76": "COVID-CTset",
            "patient7": "COVID-CTset", "volume-covid19-A-0383": "TCIA", "LIDC-IDRI-0068": "LIDC-IDRI",
            "radiopaedia_4_85506": "COVID-19-CT-Seg", "COVIDCTMD-cap001": "COVID-CT-MD"}  # fmt: skip
    for name, (_, _, patient) in COVIDX.items():
        assert rows.loc[name, "patient_key"] == NAMES.patient(site[patient], patient), name
    lesions = rows["slice_label"].dropna().to_dict()
    assert lesions == {name: int(code > 0) for name, (_, code, patient) in COVIDX.items()
                       if patient not in ("CP_10", "volume-covid19-A-0383", "COVIDCTMD-cap001")}  # fmt: skip
    assert table.refusals == {"picture is in no split list": 1}
    assert (table.counts["files_ignored"], table.counts["patients"]) == (5, 10)  # three lists, metadata, readme
    assert set(rows["units"]) == {"gray8"}


def test_the_official_split_of_covidx_ct_is_made(tmp_path):
    made = front_door("covidx_ct", miniatures.covidx_ct(tmp_path / "data"))
    assert run_verb("split", "data=covidx_ct", f"data.index={made}", "split=official") == 0
    [path] = (made / "splits").iterdir()
    split = Split.read(path)
    assert (split.leaked_patients, len(split.train), len(split.val), sum(map(len, split.tests.values()))) == (
        0,
        4,
        3,
        3,
    )
    assert sorted(split.tests) == ["CNCB", "COVID-CTset", "LIDC-IDRI"]


def test_covidx_ct_refuses_a_picture_whose_class_or_patient_is_another_in_the_metadata(tmp_path):
    root = miniatures.covidx_ct(tmp_path)
    text = (root / "metadata.csv").read_text()
    text = text.replace("CP_1,CNCB,China,,,Pneumonia", "CP_1,CNCB,China,,,Normal").replace("patient7,", "patient8,")
    (root / "metadata.csv").write_text(text)
    assert index("covidx_ct", root).refusals == {
        "class of the picture is not the finding of its patient in metadata.csv": 1,
        "picture belongs to no patient of metadata.csv": 1,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "test_COVIDx_CT-2A.txt").unlink(), "0 split lists test_"),
        (lambda root: (root / "test_COVIDx_CT-3A.txt").write_text(""), "2 split lists test_"),
        (lambda root: (root / "metadata.csv").unlink(), "cannot be read"),
        (lambda root: (root / "metadata.csv").write_text("patient id,finding\n"), "source, slice selection"),
        (lambda root: (root / "val_COVIDx_CT-2A.txt").write_text("a.png 1 0 0 9\n\nb.png 3 0 0 9 9\n"), "2 bad lines"),
        (
            lambda root: (root / "val_COVIDx_CT-2A.txt").write_text("NCP_96_1328_0032.png 2 0 0 9 9\n"),
            "line 1: the picture is listed before",
        ),
    ],
)
def test_covidx_ct_refuses_lists_that_are_no_version(tmp_path, change, said):
    root = miniatures.covidx_ct(tmp_path)
    change(root)
    with pytest.raises(DataRefused, match=said):
        index("covidx_ct", root)


# --- CC-CCII ----------------------------------------------------------------------------------------------------------


def test_cc_ccii(tmp_path):
    root = miniatures.cc_ccii(tmp_path / "data")
    table = read_table(front_door("cc_ccii", root))
    rows = table.accepted.set_index("path")
    assert rows["label"].to_dict() == {
        "NCP/1/1200/0000.png": "covid19", "NCP/1/1200/0001.png": "covid19", "NCP/1/1201/0000.png": "covid19",
        "CP/10/3153/0172.jpg": "pneumonia", "CP/10/3153/0175.jpg": "pneumonia", "Normal/1668/174/0003.png": "normal",
    }  # fmt: skip
    assert rows["slice_label"].dropna().to_dict() == {
        "NCP/1/1200/0001.png": 1, "CP/10/3153/0172.jpg": 1, "Normal/1668/174/0003.png": 0
    }  # fmt: skip
    covid = rows[rows["label"] == "covid19"]
    assert set(covid["patient_key"]) == {NAMES.patient("cncb", "1")}
    assert covid.groupby("series_key")["slice_number"].apply(list).tolist() in ([[0, 1], [0]], [[0], [0, 1]])
    assert (len(table.rejected), table.counts["files_ignored"], table.counts["lossy_slices"]) == (0, 2, 2)


def test_cc_ccii_without_its_tables_and_below_another_folder_is_the_same_but_for_lesions(tmp_path):
    root = miniatures.cc_ccii(tmp_path / "one" / "images")
    with_tables = index("cc_ccii", root).accepted
    for name in ("lesions_slices.csv", "unzip_filenames.csv"):
        (root / name).unlink()
    without = index("cc_ccii", tmp_path / "one").accepted
    same = [name for name in without.columns if name not in ("slice_label", "path")]
    assert without[same].equals(with_tables[same])
    assert without["slice_label"].dropna().tolist() == [0]


def test_cc_ccii_refuses_scans_that_its_table_gives_to_others(tmp_path):
    root = miniatures.cc_ccii(tmp_path)
    text = (root / "unzip_filenames.csv").read_text().replace("CP,10,3153", "CP,11,3153").replace(",174,", ",175,")
    (root / "unzip_filenames.csv").write_text(text)
    picture(root / "NCP" / "1" / "stray.png")
    (root / "lesions_slices.csv").write_text("imgpath\nNormal/1668/174/0003.png\n")
    table = index("cc_ccii", root)
    assert table.refusals == {
        "scan is not in unzip_filenames.csv, or with another class or patient": 3, "not in CLASS/PATIENT/SCAN": 1
    }  # fmt: skip
    (root / "unzip_filenames.csv").unlink()
    assert "slice of a normal patient in lesions_slices.csv" in index("cc_ccii", root).refusals
    (root / "unzip_filenames.csv").write_text("label,patient_id,scan_id\nNCP,1,7\nCP,1,7\nflu,2,8\n")
    with pytest.raises(DataRefused, match=r"(?s)2 bad lines.*line 3.*listed before.*line 4.*none of Normal, CP, NCP"):
        index("cc_ccii", root)


# --- MosMedData -------------------------------------------------------------------------------------------------------


def test_mosmed(tmp_path):
    root = miniatures.mosmed(tmp_path / "COVID19_1110")
    table = read_table(front_door("mosmed", root))
    rows = table.accepted
    assert rows.groupby("label")["patient_key"].nunique().to_dict() == {"covid19": 4, "normal": 1}
    assert rows.groupby("patient_key").size().tolist() == [3] * 5, "one patient a study, three slices each"
    assert NAMES.patient("moscow", "study_0255") in set(rows["patient_key"])
    one = rows[rows["label"] == "normal"]
    assert (one["slice_label"].tolist(), one["frame"].tolist()) == ([0, 0, 0], [0, 1, 2])
    assert one["position_mm"].diff().dropna().tolist() == [8, 8]
    assert set(rows["units"]) == {"HU"}
    assert (len(table.rejected), table.counts["files_ignored"]) == (0, 2)  # the mask and the registry


def test_mosmed_by_severity_where_the_task_names_it(tmp_path):
    root = miniatures.mosmed(tmp_path)
    five = ClassScheme(("ct0", "ct1", "ct2", "ct3", "ct4"), normal="ct0")
    rows = index("mosmed", root, classes=five).accepted
    assert rows.groupby("label")["patient_key"].nunique().to_dict() == dict.fromkeys(five.names, 1)
    with pytest.raises(UsageError, match="has the classes"):
        index("mosmed", root, classes=ClassScheme(("ct0", "ct1", "covid19")))


def test_mosmed_refuses_studies_that_the_registry_has_elsewhere_and_files_that_are_none(tmp_path):
    root = miniatures.mosmed(tmp_path)
    sheet(root / "dataset_registry.xlsx", ("study_id", "category", "study_file"),
          (1, "CT-0", "/studies/CT-0/study_0001.nii.gz"), (255, "CT-2", "/studies/CT-1/study_0255.nii.gz"))  # fmt: skip
    miniatures.volume(root / "studies" / "CT-5" / "study_0009.nii.gz", seed=7, slices=1)
    (root / "studies" / "CT-1" / "study_0300.nii.gz").write_bytes(b"\x1f\x8b nothing")
    table = index("mosmed", root)
    assert len(table.accepted) == 3
    assert table.refusals["study is not in dataset_registry.xlsx, or in another category"] == 12
    assert table.refusals["not studies/CT-0 ... CT-4/study_NNNN.nii.gz"] == 1
    (root / "dataset_registry.xlsx").write_bytes((root / "dataset_registry.xlsx").read_bytes()[:-900])
    with pytest.raises(DataRefused, match="workbook cannot be read"):
        index("mosmed", root)


# --- patients unknown -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "make", "slices"), [("sars_cov_2_ct", miniatures.sars_cov_2_ct, 24), ("ictcf", miniatures.ictcf, 36)]
)
def test_where_patients_are_unknown_only_pictures_are_divided_and_the_leak_is_not_counted(
    source, make, slices, tmp_path, capsys
):
    made = front_door(source, make(tmp_path / "data"))
    table = read_table(made)
    assert not table.patients_known
    assert "patients are not known" in capsys.readouterr().out
    assert (len(table.accepted), table.counts["patients"]) == (slices, None)
    assert table.accepted["patient_key"].nunique() == slices, "nobody is taken for anybody else"
    for kind in ("patient", "paper_image_level", "official", "official_pool"):
        assert run_verb("split", f"data={source}", f"data.index={made}", f"split={kind}") == 3
        error = capsys.readouterr().err
        assert f"{source} does not say whose a picture is" in error
        assert "split=image_level" in error
    assert run_verb("split", f"data={source}", f"data.index={made}", "split=image_level") == 0
    said = capsys.readouterr().out
    assert "LEAK OF UNKNOWN SIZE" in said
    assert "– / " in said, "no number of patients is told"
    [path] = (made / "splits").iterdir()
    split = Split.read(path)
    assert (split.unit, split.leaked_patients) == ("image", None)
    assert {cell["patients"] for counts in split.counts.values() for cell in counts.values()} == {None}
    assert len(split.train) + len(split.val) == slices


def test_a_split_that_does_not_count_is_refused_where_patients_are_known(tmp_path, capsys):
    made = front_door("cc_ccii", miniatures.cc_ccii(tmp_path / "data"))
    assert run_verb("split", "data=cc_ccii", f"data.index={made}", "split=image_level") == 2
    assert "split=paper_image_level" in capsys.readouterr().err


def test_sars_cov_2_ct(tmp_path):
    root = miniatures.sars_cov_2_ct(tmp_path)
    picture(root / "COVID" / "crops" / "Covid (99).png")
    picture(root / "COVID" / "Covid (98).jpg")
    (root / "COVID" / "Covid (97).png").write_bytes((root / "COVID" / "Covid (1).png").read_bytes())
    table = index("sars_cov_2_ct", root)
    assert table.accepted.groupby("label").size().to_dict() == {"covid19": 12, "noncovid": 12}
    assert {reason.split(" in a ")[0] for reason in table.refusals} == {
        "not directly in COVID or non-COVID", "JPEG file", "copy of another file"
    }  # fmt: skip
    (root / "COVID").rename(root / "Covid")
    with pytest.raises(DataRefused, match="there is no folder COVID"):
        index("sars_cov_2_ct", root)


def test_ictcf_labelled_slices(tmp_path):
    root = miniatures.ictcf(tmp_path)
    picture(root / "nCT" / "pCT99.jpg")
    table = index("ictcf", root)
    assert table.accepted.groupby("label").size().to_dict() == {"NiCT": 12, "nCT": 12, "pCT": 12}
    lesions = table.accepted.groupby("label")["slice_label"].agg(lambda column: set(column.dropna())).to_dict()
    assert lesions == {"NiCT": set(), "nCT": {0}, "pCT": {1}}
    assert table.refusals == {"not TYPE/TYPE and a number.jpg": 1}
    assert table.classes.positive == "pCT"
    assert table.classes.normal is None


def test_ictcf_patients_are_known_and_carry_the_labels_of_a_file(tmp_path):
    root = miniatures.ictcf_patients(tmp_path)
    picture(root / "Patient 7" / "CT" / "IMG-0007-00001.jpg")
    picture(root / "Patient 1" / "IMG-0001-00009.jpg")
    table = index("ictcf", root, classes=ClassScheme(("normal", "covid19"), normal="normal"))
    assert table.patients_known
    assert table.accepted.groupby(["site", "label"]).size().to_dict() == {
        ("liyuan", "normal"): 2, ("union", "covid19"): 2
    }  # fmt: skip
    assert set(table.accepted["patient_key"]) == {
        NAMES.patient("union", "Patient 1"),
        NAMES.patient("liyuan", "Patient 12"),
    }
    assert table.refusals == {"not in Patient N/CT": 1, "patient has no row in the labels": 1}
    assert index("ictcf", root).accepted["label"].isna().all()
    miniatures.ictcf(root)
    with pytest.raises(DataRefused, match="both folders"):
        index("ictcf", root)
    with pytest.raises(DataRefused, match="neither folders"):
        index("ictcf", root / "NiCT")


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["covidx_ct", "cc_ccii", "mosmed", "sars_cov_2_ct", "ictcf"])
def test_they_bring_their_own_labels_and_classes(source, tmp_path):
    root = getattr(miniatures, source)(tmp_path)
    with pytest.raises(UsageError, match="own labels"):
        index(source, root, labels=tmp_path / "labels.csv")
    with pytest.raises(UsageError, match="has the classes"):
        index(source, root, classes=ClassScheme(("healthy", "flu")))
