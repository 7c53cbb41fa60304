"""`covidct audit data`: each planted fault is found, and a clean hospital stays quiet."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from covidct.ct.fingerprint import fingerprint
from covidct.ct.likeness import ALIKE, SAME, detail, likeness
from covidct.ct.phantom.faults import FAULTS
from covidct.ct.phantom.network import PhantomSpec
from covidct.ct.read import read_slice
from covidct.data.audit.findings import CHECKS, ERROR, NOTE
from covidct.data.audit.hamming import RADIUS, near_pairs
from covidct.data.audit.pictures import audit_twins
from covidct.data.audit.record import refuse_failed_audit
from covidct.data.audit.twins import Twin, Twins
from covidct.data.splits import Split, make_split
from covidct.data.table import read_table
from covidct.errors import IntegrityError, UsageError
from tests.conftest import TINY, run_verb

HEADERS = ("single_class_site", "scanner_goes_with_class", "kernel_goes_with_class", "year_goes_with_class",
           "thickness_goes_with_class")  # fmt: skip
COPIES = ("reexported_slice", "near_duplicate", "near_duplicate_two_labels")
SPLIT = "split.external_sites=[site_c]"


def hospital(folder: Path, *faults: str, patients: str) -> Path:
    """A phantom of two classes with these faults, indexed; gives the folder of the index."""
    (folder / "pseudonym.key").touch(mode=0o600)
    (folder / "pseudonym.key").write_text("5e" * 32 + "\n")
    easy = ["size=64", "difficulty=0", "lesion_slice_fraction=1", "workers=1", "+classes=[normal,covid19]"]
    phantom = [f"out={folder}/phantom", f"patients={patients}", "slices_per_patient=3", *easy]
    assert run_verb("phantom", *phantom, f"faults=[{','.join(faults)}]") == 0
    assert index(folder, folder / "index") == 0
    return folder / "index"


def freeze(index: Path) -> int:
    return run_verb("split", "data=phantom", f"data.index={index}", SPLIT)


def index(folder: Path, to: Path, key: str = "pseudonym.key") -> int:
    classes = "data.classes={names: [normal, covid19], normal: normal, positive: covid19}"
    words = [
        f"data.root={folder}/phantom",
        f"data.index={to}",
        f"key={folder}/{key}",
        "data.workers=1",
        classes,
        "report=false",
    ]
    return run_verb("index", "data=phantom", *words)


def audited(index: Path, *words: str) -> tuple[int, dict[str, dict]]:
    """Exit code, and check -> its worst finding."""
    code = run_verb("audit", "data", str(index), "replicates=1000", *words)
    found = json.loads((index / "data_audit.json").read_text())["findings"]
    return code, {finding["check"]: finding for finding in reversed(found)}


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    index = hospital(tmp_path_factory.mktemp("clean"), patients="{site_a: 8, site_b: 0, site_c: 2}")
    assert freeze(index) == 0
    return index


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    index = hospital(tmp_path_factory.mktemp("copies"), *COPIES, patients="{site_a: 4, site_b: 0, site_c: 1}")
    assert freeze(index) == 0
    return index, *audited(index)


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    index = hospital(tmp_path_factory.mktemp("headers"), *HEADERS,
                     patients="{site_a: {normal: 2, covid19: 10}, site_b: 0, site_c: 5}")  # fmt: skip
    assert freeze(index) == 0
    return index, *audited(index)


# --- the parts --------------------------------------------------------------------------------------------------------


def test_the_banded_search_finds_what_looking_at_all_pairs_finds():
    """Bits with the bias and the correlation of real fingerprints; scipy counts the differing ones."""
    rng = np.random.default_rng(3)
    latent = np.linspace(2, 0, 256) + rng.normal(size=(60, 1, 256)) + np.cumsum(0.2 * rng.normal(size=(60, 8, 256)), 1)
    bits = (latent > 0).reshape(480, 256)
    bits[1::7] = bits[rng.integers(480, size=len(bits[1::7]))] ^ (rng.random((len(bits[1::7]), 256)) < 0.11)
    groups = np.repeat(np.arange(60), 8)
    pairs, distance = near_pairs([np.packbits(row).tobytes().hex() for row in bits], groups)
    every = np.round(cdist(bits, bits, "hamming") * 256)
    rows, cols = np.nonzero(np.triu((every <= RADIUS) & (groups[:, None] != groups), 1))
    assert len(rows) > 20
    assert np.bincount(distance, minlength=RADIUS + 1)[20:].sum() > 10  # also where only one band agrees
    assert pairs.tolist() == np.column_stack([rows, cols]).tolist()
    assert distance.tolist() == every[rows, cols].tolist()


def test_a_pair_that_agrees_in_a_single_band_is_found(monkeypatch):
    """The worst case of the pigeonhole: 31 bits differ, one in each band but one, whichever that is."""
    monkeypatch.setattr("covidct.data.audit.hamming._dealt", lambda octets: octets)
    rng = np.random.default_rng(1)
    for band in range(32):
        one = rng.integers(256, size=32, dtype=np.uint8)
        flipped = np.uint8(1) << rng.integers(8, size=32, dtype=np.uint8)
        flipped[band] = 0
        pairs, distance = near_pairs([one.tobytes().hex(), (one ^ flipped).tobytes().hex()], np.array([0, 1]))
        assert (pairs.tolist(), distance.tolist()) == ([[0, 1]], [31])


def test_a_re_export_is_alike_and_another_slice_is_not(clean):
    table = read_table(clean)
    rows = table.accepted
    one, stranger = (rows.index[rows["patient_key"] == key][1] for key in rows["patient_key"].unique()[:2])
    pixels = read_slice(table.file(one)).pixels
    window = np.clip((pixels + 1350.0) / 1500 * 255, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(window).save(stream, "jpeg", quality=80)
    exported = np.array(Image.open(stream))
    assert likeness(detail(pixels), detail(pixels)) == pytest.approx(1)
    assert likeness(detail(pixels), detail(exported)) > SAME
    bits = bin(int(fingerprint(pixels), 16) ^ int(fingerprint(exported), 16)).count("1")
    assert bits <= RADIUS
    assert likeness(detail(pixels), detail(read_slice(table.file(stranger)).pixels)) < ALIKE
    assert likeness(detail(np.zeros((9, 9), np.int16)), detail(pixels)) == 0


# --- clean, and each fault --------------------------------------------------------------------------------------------


def test_every_check_stays_quiet_on_a_clean_hospital(clean, capsys):
    code, found = audited(clean, "deep=true")
    assert code == 0, capsys.readouterr()
    quiet = {check for check, finding in found.items() if finding["status"] == "clean"}
    assert quiet == set(CHECKS) - {"foreign_pictures"}
    assert found["pixels_changed"]["counts"]["read"] == len(read_table(clean).accepted)
    page = (clean / "data_audit.html").read_text()
    assert "Nothing found" in page
    assert "<script" not in page


def test_a_phantom_without_faults_is_what_it_was():
    assert "faults" not in PhantomSpec().as_dict()
    assert PhantomSpec().digest == PhantomSpec(faults=[]).digest != PhantomSpec(faults=["near_duplicate"]).digest
    assert PhantomSpec().digest.startswith("1e8f18c258d2")
    with pytest.raises(UsageError, match="near_duplicat"):
        PhantomSpec(faults=["near_duplicat"])
    assert set(FAULTS) == {*HEADERS, *COPIES, "patient_in_two_sites", "two_labels_one_picture"}


def test_a_patient_in_two_sites_is_found(tmp_path, capsys):
    """Fault 16: one person with two numbers; the split refuses what the audit explains."""
    index = hospital(tmp_path, "patient_in_two_sites", patients="{site_a: 1, site_b: 1, site_c: 0}")
    capsys.readouterr()
    assert run_verb("split", "data=phantom", f"data.index={index}") == 4
    code, found = audited(index)
    assert code == 4
    study = found["study_two_patients"]
    assert (study["status"], study["counts"]["studies"], study["counts"]["across_sites"]) == ("error", 1, 1)
    people = study["details"][0]["patients"]
    assert all(key in capsys.readouterr().err for key in people[:1])
    twins = found["near_duplicate_two_patients"]
    assert [sorted(row["patients"]) for row in twins["details"] if row["same"]] == [people] * 3  # its slices
    assert twins["counts"]["across_sites"] == 3


def test_a_re_exported_slice_is_found(copies):
    _, _, found = copies
    finding = found["pixels_two_patients"]
    assert (finding["status"], finding["counts"]["pictures"]) == ("warning", 1)
    shown = found["near_duplicate_two_patients"]["details"]
    assert [row["likeness"] for row in shown if None in row["slices"]] == [1.0]  # the copy that the index refused


def test_a_near_duplicate_is_found(copies):
    _, _, found = copies
    finding = found["near_duplicate_two_patients"]
    once = Counter(frozenset(row["patients"]) for row in finding["details"] if row["same"])
    assert sorted(once.values()) == [1, 1, 1]  # the re-exported slice, the noisier one, that under another label


def test_a_near_duplicate_under_two_labels_is_found(copies):
    _, _, found = copies
    finding = found["near_duplicate_two_labels"]
    assert (finding["status"], finding["counts"]["same"], finding["counts"]["patients"]) == ("error", 1, 2)
    assert sorted(finding["details"][0]["labels"]) == ["covid19", "normal"]


def test_one_picture_under_two_labels_is_refused_by_the_index(tmp_path, capsys):
    """Fault 14, 15: the audit needs not look for it, since nobody gets an index."""
    with pytest.raises(AssertionError):
        hospital(tmp_path, "two_labels_one_picture", patients="{site_a: 2, site_b: 0, site_c: 0}")
    assert "one picture (equal pixels) carries several labels" in capsys.readouterr().err


def test_a_site_of_one_class_is_found(headers):
    _, code, found = headers
    assert code == 7
    finding = found["single_class_source"]
    sites = [row for row in finding["details"] if row["fact"] == "site"]
    assert [(row["value"], row["class"], row["patients"]) for row in sites] == [("site_c", "normal", 10)]
    assert finding["status"] == "warning"
    assert found["class_in_parts"]["status"] == "note"


@pytest.mark.parametrize("fact", ["scanner", "kernel", "year"])
def test_a_source_that_goes_with_the_class_is_found(headers, fact):
    _, _, found = headers
    [row] = [row for row in found["class_by_source"]["details"] if row["fact"] == fact]
    assert row["cramers_v"] > 0.7
    assert row["p_corrected"] < 0.01
    assert found["class_by_source"]["status"] == "warning"


def test_what_a_classifier_of_headers_tells_is_found(headers):
    _, _, found = headers
    finding = found["header_classifier"]
    assert finding["status"] == "warning"
    assert finding["counts"]["auc"] > 0.95
    assert finding["counts"]["p"] <= 0.01
    alone = {row["fact"]: row["auc"] for row in finding["details"]}
    assert alone["slice thickness"] > 0.9  # in the headers only, not in the slice table


# --- splits and changes -----------------------------------------------------------------------------------------------


@pytest.fixture
def own(clean, tmp_path):
    """A copy of the clean hospital to spoil."""
    shutil.copytree(clean.parent, tmp_path / "own")
    return tmp_path / "own" / "index"


def frozen(index: Path) -> Path:
    [path] = (index / "splits").glob("*.json")
    return path


def test_an_edited_split_file_is_found(own):
    """Fault 19."""
    value = json.loads(frozen(own).read_text())
    value["train"].append(value["val"][0])
    frozen(own).write_text(json.dumps(value))
    code, found = audited(own)
    assert code == 4
    assert (found["split_file"]["status"], found["split_file"]["counts"]["edited"]) == ("error", 1)


def test_a_patient_in_two_parts_is_found_and_not_trained_on(own, capsys):
    """Fault 18, by somebody who knows how digests are made."""
    split = Split.read(frozen(own))
    replace(split, train=(*split.train, split.val[0])).write(frozen(own))
    code, found = audited(own)
    assert code == 4
    assert {check for check, one in found.items() if one["status"] == "error"} == {
        "patient_overlap", "study_overlap", "series_overlap", "pixel_overlap"
    }  # fmt: skip
    assert found["patient_overlap"]["details"][0]["key"] == split.val[0]
    capsys.readouterr()
    assert run_verb("train", *TINY, f"data.index={own}", SPLIT, f"runs={own}/runs") == 4
    assert split.val[0] in capsys.readouterr().err


def test_a_study_of_two_patients_in_two_parts_is_refused_by_a_split(clean):
    table = read_table(clean)
    split = Split.read(frozen(clean))
    frame = table.accepted
    for key in (split.train[0], split.val[0]):
        frame.loc[frame["patient_key"] == key, "study_key"] = "the same"
    with pytest.raises(IntegrityError, match=r"(?s)1 study of several patients.*" + split.val[0]):
        make_split(table, external_sites=["site_c"])


def test_a_class_that_is_missing_in_training_is_found(own):
    """Faults 11, 12."""
    table, split = read_table(own), Split.read(frozen(own))
    label = table.accepted.groupby("patient_key")["label"].first()
    ill = [key for key in split.train if label[key] == "covid19"]
    replace(split, train=tuple(set(split.train) - set(ill)), tests={**split.tests, "more": tuple(ill)}).write(
        frozen(own)
    )
    code, found = audited(own)
    assert code == 4
    assert "no patient of covid19 in train" in found["class_in_parts"]["sentence"]


def test_changed_pixels_are_found(own):
    table = read_table(own)
    scan = pydicom.dcmread(table.file(3))
    pixels = scan.pixel_array.copy()
    pixels[5, 5] += 1
    scan.PixelData = pixels.tobytes()
    scan.save_as(table.file(3))
    table.file(7).unlink()
    code, found = audited(own, "deep=true")
    assert code == 4
    counts = found["pixels_changed"]["counts"]
    assert (counts["changed"], counts["unreadable"]) == (1, 1)
    assert {row["slice"] for row in found["pixels_changed"]["details"]} == set(table.accepted["slice_key"].iloc[[3, 7]])


def test_a_split_of_an_earlier_state_is_found(own):
    """Fault 19: a label was mended after the split was made."""
    labels = own.parent / "phantom" / "labels.csv"
    first = next(line for line in labels.read_text().splitlines() if line.endswith("covid19,site_a"))
    labels.write_text(labels.read_text().replace(first, first.replace("covid19", "normal")))
    assert index(own.parent, own) == 0
    code, found = audited(own)
    assert (code, found["split_index"]["status"]) == (4, "error")


def test_trained_pictures_are_known_under_another_pseudonym_key(own):
    (own.parent / "other.key").touch(mode=0o600)
    (own.parent / "other.key").write_text("7a" * 32 + "\n")
    other = own.parent / "other"
    assert index(own.parent, other, "other.key") == 0
    split = Split.read(frozen(own))
    assert not set(split.train) & set(read_table(other).accepted["patient_key"])
    code, found = audited(other, f"split={frozen(own)}")
    finding = found["foreign_pictures"]
    assert (code, finding["status"]) == (4, "error")
    assert finding["counts"]["patients"] == len(split.train) + len(split.val)


# --- the gate ---------------------------------------------------------------------------------------------------------


def test_training_is_refused_after_an_audit_with_errors_until_they_are_accepted(copies, tmp_path, capsys):
    index, _, found = copies
    shutil.copytree(index.parent, tmp_path / "own")
    own = tmp_path / "own" / "index"
    capsys.readouterr()
    assert run_verb("train", *TINY, f"data.index={own}", SPLIT, f"runs={own}/runs") == 4
    said = capsys.readouterr().err
    assert found["near_duplicate_two_labels"]["sentence"] in said
    assert "accept=[near_duplicate" in said
    assert not list((own / "runs").glob("*/checkpoints/*"))
    errors = sorted(check for check, one in found.items() if one["status"] == "error")
    code, again = audited(own, f"accept=[{','.join(errors)}]")
    assert code == 7  # the warnings stay
    assert again["near_duplicate_two_labels"]["accepted"]
    refuse_failed_audit(own, read_table(own).digest, Split.read(frozen(own)).digest)
    with pytest.raises(IntegrityError):
        refuse_failed_audit(index, read_table(index).digest, Split.read(frozen(index)).digest)
    refuse_failed_audit(index, "another state of the data", "")


def test_a_misspelt_check_is_a_usage_error(clean, capsys):
    assert run_verb("audit", "data", str(clean), "accept=[near_duplicates]") == 2
    assert "near_duplicate_overlap" in capsys.readouterr().err


def test_no_number_of_a_patient_and_no_path_is_in_record_and_page(copies):
    index, *_ = copies
    written = (index / "data_audit.json").read_text() + (index / "data_audit.html").read_text()
    table = read_table(index)
    assert not [path for path in table.frame["path"] if path.split("/")[1] in written]
    assert ".dcm" not in written


@pytest.mark.parametrize(("found", "status"), [(0.80, NOTE), (0.90, ERROR)])
def test_only_what_is_surely_one_picture_closes_the_gate(found: float, status: str):
    """Strangers reach 0.80: such a pair is shown to a person, and the sentence claims no more."""
    frame = pd.DataFrame(
        {"slice_key": ["s0", "s1"], "patient_key": ["a", "b"], "site": "here", "label": ["normal", "covid19"]}
    )
    twins = Twins(frame, [Twin(0, 1, 20, found)], candidates=1, compared=1, unreadable=0)
    [_, labels] = audit_twins(twins, [])
    assert labels.status == status
    assert ("if they are one picture" in labels.sentence) == (status == NOTE)
