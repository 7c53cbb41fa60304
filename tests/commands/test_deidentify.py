"""`covidct deidentify` through the front door, and what a whole run leaves behind of its patients: nothing."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

import pandas as pd
import pydicom
import pytest

from covidct.commands.deidentify_words import as_keys
from covidct.errors import UsageError
from tests.conftest import run_verb
from tests.ct.dicom_fixtures import chest, write_ct


@pytest.fixture(scope="module")
def ward(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom again, of people whose names and numbers are like nothing else."""
    root = tmp_path_factory.mktemp("ward") / "scans"
    names: dict[str, str] = {}
    for path in sorted((workshop / "phantom").glob("site_[ab]/*/*/001.dcm")):
        dataset = pydicom.dcmread(path)
        number = names.setdefault(dataset.PatientID, f"TURNSTONE-{len(names):04d}")
        dataset.PatientID, dataset.PatientName = number, f"Turnstone{number[-4:]}^Ida"
        dataset.AccessionNumber, dataset.InstitutionName = f"ACC55{number[-4:]}", "Kittiwake Infirmary"
        dataset.StudyDate = dataset.AcquisitionDate = dataset.ContentDate = "19870304"
        dataset.PatientBirthDate, dataset.PatientComments = "19310717", "lives at 4 Gannet Lane"
        target = root / path.relative_to(workshop / "phantom").parts[0] / f"{number} Sandpiper" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target)
    for name in ("labels.csv", "slices.csv"):
        rows = list(csv.DictReader((workshop / "phantom" / name).open()))
        with (root / name).open("w", newline="") as stream:
            table = csv.DictWriter(stream, rows[0].keys())
            table.writeheader()
            table.writerows(row | {"patient": names[row["patient"]]} for row in rows if row["patient"] in names)
    return root


@pytest.fixture(scope="module")
def clean(ward: Path) -> Path:
    """It, clean."""
    out = ward.parent / "clean"
    (ward.parent / "key").touch(mode=0o600)
    (ward.parent / "key").write_text("5e" * 32 + "\n")
    assert run_verb("deidentify", f"input={ward}", f"output={out}", f"key={ward.parent}/key") == 0
    return out


def test_a_clean_folder_is_indexed_as_it_stands_and_is_the_same_data(ward: Path, clean: Path, tmp_path: Path) -> None:
    tables = []
    for number, root in enumerate((ward, clean)):
        index = [f"data.root={root}", f"data.index={tmp_path}/{number}", f"key={tmp_path}/key"]
        assert run_verb("index", "data=phantom", *index) == 0
        rows = pd.read_parquet(tmp_path / str(number) / "index.parquet")
        tables.append(rows[rows["accepted"]].sort_values("pixel_hash", ignore_index=True))
    for column in ("pixel_hash", "label", "slice_label", "kernel", "manufacturer", "position_mm", "rows"):
        pd.testing.assert_series_equal(tables[0][column], tables[1][column])
    for column in ("patient_key", "site", "series_key", "study_key"):  # other names for the same groups
        assert len(set(zip(tables[0][column], tables[1][column], strict=True))) == tables[0][column].nunique()


def test_the_hunt_is_quiet_in_the_clean_folder_and_loud_in_the_first(
    ward: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = f"private={clean}-private"
    assert run_verb("deidentify", "verify", f"output={clean}") == 0
    assert run_verb("deidentify", "verify", f"output={clean}", f"input={ward}") == 0
    told = capsys.readouterr().out
    assert "MB/s" in told
    assert "not hunted" in told
    assert run_verb("deidentify", "verify", f"output={ward}", private) == 7
    told = "".join(capsys.readouterr())
    assert "name" in told
    assert "urnstone" not in told.lower().replace(str(ward).lower(), "")
    assert run_verb("deidentify", "verify", f"output={ward}", private, "show=true") == 7
    assert "Turnstone0001^Ida" in capsys.readouterr().out


def test_without_values_it_says_that_it_cannot_hunt(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_verb("deidentify", "verify", f"output={clean}", f"private={clean}/nowhere") == 3
    assert "nothing can be hunted" in capsys.readouterr().err


def test_a_key_that_would_travel_is_refused_and_not_made(ward: Path, tmp_path: Path) -> None:
    for key in (tmp_path / "out" / "key", ward / "key"):
        assert run_verb("deidentify", f"input={ward}", f"output={tmp_path}/out", f"key={key}") == 2
        assert not key.exists()
    assert run_verb("deidentify", f"output={tmp_path}/out") == 2
    assert run_verb("deidentify", f"input={ward}") == 2
    assert list(tmp_path.iterdir()) == []


def test_what_stays_behind_is_for_its_owner_only(tmp_path: Path) -> None:
    write_ct(tmp_path / "in" / "a.dcm")
    write_ct(tmp_path / "in" / "b.dcm", chest(seed=1), SOPInstanceUID="1.2.3.9", BurnedInAnnotation="YES")
    words = (f"input={tmp_path}/in", f"output={tmp_path}/out", f"key={tmp_path}/key")
    assert run_verb("deidentify", *words) == 0
    private = tmp_path / "out-private"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in private.rglob("*") if path.is_file())
    (tmp_path / "in" / "a.dcm").unlink()
    assert run_verb("deidentify", *words) == 3, "nothing clean is left"


def test_plain_words() -> None:
    assert as_keys(["verify", "output=x"]) == ["task=verify", "output=x"]
    with pytest.raises(UsageError):
        as_keys(["verfiy"])


def test_nothing_that_a_run_writes_names_a_patient(
    workshop: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault 39: after train, evaluate and report every byte of the run folder is searched, checkpoints unpacked."""
    words = (f"input={workshop}/phantom", f"runs=[{trained}]")
    (tmp_path / "more").mkdir()
    assert run_verb("deidentify", "verify", f"output={tmp_path}/more", *words) == 0
    files = sum(path.is_file() for path in trained.rglob("*"))
    assert f"original values in {files} files" in capsys.readouterr().out
    (tmp_path / "more" / "report.html").write_text("<p>Phantom, SITEA-0001</p>")
    assert run_verb("deidentify", "verify", f"output={tmp_path}/more", *words) == 7
