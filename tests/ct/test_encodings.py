"""One phantom, many encodings, one array: every fact about pixels of a CT file at once."""

from pathlib import Path

import hypothesis.strategies as st
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from pydicom.pixels.processing import apply_rescale

from covidct.ct.ingest import ingest
from covidct.ct.phantom import DEFAULT_SCANNERS
from covidct.ct.phantom.encodings import (
    COL_MM,
    ORIGIN_MM,
    PATIENT_ID,
    ROW_MM,
    STEP_MM,
    WRITINGS,
    outside_view,
    write_scan,
)
from covidct.ct.phantom.patient import Patient
from covidct.ct.read import read_slice
from covidct.ct.series import arrange
from covidct.data.indexing.build import build_index
from covidct.data.pseudonyms import Pseudonymizer
from tests.conftest import run_verb

KINDS = ("dicom", "nifti")


def phantom(slices=5, size=72) -> np.ndarray:
    """HU int16 [slices, rows, cols] from the feet up; rows and columns differ."""
    patient = Patient(np.random.SeedSequence(3), "covid19", DEFAULT_SCANNERS[0], size, slices, 0.3, 1.0)
    hu = np.stack([patient.slice(slices - 1 - number).hu[: size - 8] for number in range(slices)])
    hu[:, outside_view(*hu.shape[1:])] = -1024
    return hu


HU = phantom()


def oracle(paths: list[Path], name: str) -> np.ndarray | None:
    """The scan by other people's code alone, from the feet up; None where no such code knows the encoding."""
    writing = WRITINGS[name]
    if writing.container == "nifti":
        values = nibabel.as_closest_canonical(nibabel.load(paths[0])).get_fdata()
        return values[::-1, ::-1].transpose(2, 1, 0)
    if writing.mono == "stored" or writing.padding is not None:
        return None
    datasets = [pydicom.dcmread(path) for path in paths]
    if writing.container == "single":
        datasets.sort(key=lambda one: one.ImagePositionPatient[2])
        return np.stack([apply_rescale(one.pixel_array, one) for one in datasets])
    [dataset] = datasets
    frames = []
    for pixels, groups in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        scale = groups.PixelValueTransformationSequence[0]
        height = groups.PlanePositionSequence[0].ImagePositionPatient[2]
        frames.append((height, pixels * float(scale.RescaleSlope) + float(scale.RescaleIntercept)))
    return np.stack([pixels for _, pixels in sorted(frames, key=lambda one: one[0])])


@pytest.mark.parametrize("name", WRITINGS)
def test_many_encodings_one_array(tmp_path, name):
    paths = write_scan(tmp_path, HU, WRITINGS[name])
    if (expected := oracle(paths, name)) is not None:
        np.testing.assert_array_equal(expected, HU, "the fixture is what it claims to be")
    records = [record for path in sorted(paths) for record in ingest(tmp_path, path.name, KINDS)]
    assert [record.reason for record in records] == [""] * len(HU)
    [series], refused = arrange([record.header for record in records])
    assert (refused, series.flags) == ({}, ())
    ordered = [records[number] for number in series.members]
    again = np.stack([read_slice(tmp_path / record.path, record.frame).pixels for record in ordered])
    assert again.dtype == np.int16
    np.testing.assert_array_equal(again, HU)
    reference = Path(tmp_path, "reference")
    expected_hashes = [read_slice(path).pixel_hash() for path in write_scan(reference, HU, WRITINGS["unsigned 16 bit"])]
    assert [record.pixel_hash for record in ordered] == expected_hashes
    assert {(record.header.row_mm, record.header.col_mm) for record in records} == {(ROW_MM, COL_MM)}
    np.testing.assert_allclose(
        [record.header.position for record in ordered],
        [(*ORIGIN_MM[:2], ORIGIN_MM[2] + k * STEP_MM) for k in range(len(HU))],
        atol=1e-4,
    )


def test_what_functional_groups_say_is_in_the_header(tmp_path):
    for container in ("enhanced", "legacy converted"):
        [path] = write_scan(tmp_path / container, HU, WRITINGS[container])
        records = ingest(path.parent, path.name, KINDS)
        header = records[3].header
        assert (records[3].frame, records[3].patient_id) == (3, PATIENT_ID)
        assert (header.kernel, header.kvp, header.thickness_mm, header.acquisition) == ("B30", 120, STEP_MM, 1)
        assert header.sop_uid.endswith("#3")
        assert (header.acquired_year, header.age_years, header.manufacturer) == (2020, 50, "PHANTOM IMAGING A")


@given(st.permutations(range(len(HU))), st.permutations(range(len(HU))), st.integers(0, len(HU)))
@settings(max_examples=12, deadline=None)
def test_names_folders_and_instance_numbers_change_nothing(tmp_path_factory, names, instances, split):
    folder = tmp_path_factory.mktemp("shuffled")
    for number, path in enumerate(write_scan(folder, HU, WRITINGS["implicit little endian"])):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = instances[number] + 1
        dataset.SliceLocation = float(instances[number])
        home = folder / ("a" if number < split else "b")
        home.mkdir(exist_ok=True)
        dataset.save_as(home / f"{names[number]}.dcm")
        path.unlink()
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))
    records = [ingest(folder, path, KINDS)[0] for path in found]
    [series], refused = arrange([record.header for record in records])
    assert refused == {}
    pixels = [read_slice(folder / records[number].path).pixels for number in series.members]
    np.testing.assert_array_equal(np.stack(pixels), HU)
    np.testing.assert_allclose(series.position_mm, [ORIGIN_MM[2] + k * STEP_MM for k in range(len(HU))])


def test_frames_go_through_the_index_once(tmp_path):
    """The same scan as single-frame and as multi-frame files: one of them is a copy, whichever comes first."""
    write_scan(tmp_path / "scans", HU, WRITINGS["enhanced, slope of each frame"], "frames")
    write_scan(tmp_path / "scans", HU, WRITINGS["padding"], "files")
    table = build_index("dicom_tree", tmp_path / "scans", pseudonyms=Pseudonymizer(bytes(32)))
    rows = table.accepted
    assert (len(rows), len(table.frame)) == (len(HU), 2 * len(HU))
    assert len(set(rows["series_key"])) == 1, "one of the two stays whole"
    assert table.counts["series_flags"] == {}
    assert set(table.refusals) == {"same pixels as another slice of the patient"}
    ordered = rows.sort_values("position_mm")
    pixels = [
        read_slice(table.root / path, int(frame)).pixels
        for path, frame in zip(ordered["path"], ordered["frame"], strict=True)
    ]
    np.testing.assert_array_equal(np.stack(pixels), HU)


def test_predictions_do_not_depend_on_the_container(trained, tmp_path):
    """Index, training reader and network, through the front door: a frame is read where its file has others."""
    found = []
    for name in ("explicit little endian", "enhanced, JPEG-LS"):
        folder = tmp_path / WRITINGS[name].container
        write_scan(folder, HU, WRITINGS[name])
        words = (f"run={trained}", f"input={folder}", f"output={folder}-out", f"key={tmp_path}/pseudonym.key")
        assert run_verb("predict", *words) == 0
        table = pd.read_csv(f"{folder}-out/slices.csv")
        order = "position_mm" if "position_mm" in table else "slice_number"
        found.append(table.sort_values(order).filter(like="p_").to_numpy())
    assert len(found[0]) == len(HU)
    assert len(np.unique(found[0], axis=0)) == len(HU), "slices are told apart"
    np.testing.assert_array_equal(*found)
