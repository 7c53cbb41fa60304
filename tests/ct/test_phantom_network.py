"""The synthetic hospital on disk: valid DICOM, the right counts, the same bytes whoever writes them."""

from __future__ import annotations

import csv
import itertools
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import config

from covidct.ct.phantom import DEFAULT_SCANNERS, PhantomSpec, write_network
from covidct.ct.phantom.network import _Job, _sample
from covidct.errors import DataRefused, ResourceError, UsageError
from covidct.files import read_json, write_json
from covidct.labels import FU2020

SPEC = PhantomSpec(seed=3, patients=1, slices_per_patient=6, size=80, difficulty=0.2, lesion_slice_fraction=0.6)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "net"
    seen: list[tuple[int, int]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom checks values when they are set and written
        summary = write_network(root, SPEC, progress=lambda done, total: seen.append((done, total)))
    assert summary.written
    assert summary.slices == SPEC.slices == 3 * 5 * 6
    assert seen[-1] == (90, 90)
    assert [done for done, _ in seen] == list(range(6, 91, 6))
    return root


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def series(root: Path) -> dict[tuple[str, str], list[pydicom.FileDataset]]:
    found: dict[tuple[str, str], list[pydicom.FileDataset]] = {}
    for path in sorted(root.glob("site_*/*/*/*.dcm")):
        ds = pydicom.dcmread(path)
        found.setdefault((path.relative_to(root).parts[0], ds.PatientID), []).append(ds)
    return found


def stored(ds: pydicom.Dataset) -> np.ndarray:
    """Pixels straight from the bytes: little endian, 16 bits, sign as declared."""
    kind = "<i2" if ds.PixelRepresentation else "<u2"
    return np.frombuffer(ds.PixelData, kind).reshape(ds.Rows, ds.Columns).astype(int)


def bytes_of(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_pydicom_reads_every_element_without_a_warning(network: Path) -> None:
    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.RAISE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for path in network.glob("site_*/*/*/*.dcm"):
                ds = pydicom.dcmread(path)
                for element in itertools.chain(ds.file_meta, ds):
                    assert element.value is not None
                    if element.VR == "UI":
                        assert element.VM == 1
                        assert element.value.is_valid
                assert ds.pixel_array.shape == (80, 80)
                assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
                assert ds.SOPClassUID.name == "CT Image Storage"
                assert ds.SyntheticData == "YES"
                assert list(ds.ImageType[:3]) == ["ORIGINAL", "PRIMARY", "AXIAL"]
                assert "20150101" <= ds.StudyDate <= "20201231"
                assert ds.RescaleType == "HU"
    finally:
        config.settings.reading_validation_mode = before


def test_lists_agree_with_the_files(network: Path) -> None:
    labels, slices, found = rows(network / "labels.csv"), rows(network / "slices.csv"), series(network)
    assert {(r["site"], r["patient"]) for r in labels} == set(found)
    for site in ("site_a", "site_b", "site_c"):
        assert sorted(r["label"] for r in labels if r["site"] == site) == sorted(FU2020)
    uids = {ds.SOPInstanceUID: key for key, group in found.items() for ds in group}
    assert len(uids) == 90
    assert {r["sop_instance_uid"]: (r["site"], r["patient"]) for r in slices} == uids
    assert len({ds.SeriesInstanceUID for group in found.values() for ds in group}) == 15
    assert len({ds.FrameOfReferenceUID for group in found.values() for ds in group}) == 15


def test_neither_number_nor_date_tells_the_class(network: Path) -> None:
    labels = rows(network / "labels.csv")
    for site in ("site_a", "site_b", "site_c"):
        order = [FU2020.index(r["label"]) for r in labels if r["site"] == site]
        assert order != sorted(order)
        dates = [series(network)[(site, r["patient"])][0].StudyDate for r in sorted(labels, key=lambda r: r["label"])
                 if r["site"] == site]  # fmt: skip
        assert dates != sorted(dates)


def test_slices_are_evenly_spaced_and_order_is_not_always_that_of_position(network: Path) -> None:
    for (site, _), group in series(network).items():
        z = np.array([float(ds.ImagePositionPatient[2]) for ds in group])
        number = np.array([int(ds.InstanceNumber) for ds in group])
        assert len({tuple(ds.ImagePositionPatient[:2]) for ds in group}) == 1
        assert {tuple(map(float, ds.ImageOrientationPatient)) for ds in group} == {(1, 0, 0, 0, 1, 0)}
        assert sorted(number) == list(range(1, 7))
        np.testing.assert_allclose(np.diff(np.sort(z)), float(group[0].SpacingBetweenSlices), atol=1e-3)
        by_number = z[np.argsort(number)]
        down = bool((np.diff(by_number) < 0).all())
        assert down == (site != "site_b")
        if site == "site_c":  # file names tell nothing
            assert not (np.diff(z) < 0).all()
            assert not (np.diff(z) > 0).all()


def test_sites_have_their_own_scanners(network: Path) -> None:
    for (site, _), group in series(network).items():
        scanner = next(s for s in DEFAULT_SCANNERS if s.site == site)
        for ds in group:
            assert (ds.Manufacturer, ds.ConvolutionKernel) == (scanner.manufacturer, scanner.kernel)
            assert float(ds.SliceThickness) == scanner.thickness_mm
            np.testing.assert_allclose([float(v) for v in ds.PixelSpacing], scanner.field_mm / 80, rtol=1e-5)
    assert len({s.kernel for s in DEFAULT_SCANNERS}) == len({s.encoding for s in DEFAULT_SCANNERS}) == 3


@pytest.mark.parametrize("site", [0, 1, 2])
def test_decoded_hu_are_those_that_were_drawn(network: Path, site: int) -> None:
    scanner = DEFAULT_SCANNERS[site]
    for job_label in ("covid19", "normal"):
        patient_id = next(
            r["patient"] for r in rows(network / "labels.csv") if (r["site"], r["label"]) == (scanner.site, job_label)
        )
        _, drawn = _sample(_Job(SPEC, network, site, job_label, 0, patient_id))
        group = sorted(series(network)[(scanner.site, patient_id)], key=lambda ds: -float(ds.ImagePositionPatient[2]))
        for ds, one in zip(group, drawn, strict=True):
            raw = stored(ds)
            hu = raw * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
            padded = raw == ds.PixelPaddingValue if "PixelPaddingValue" in ds else np.zeros(raw.shape, bool)
            assert padded.any() == (site == 2)
            np.testing.assert_array_equal(np.where(padded, -1024, hu), one.hu)


def test_air_around_the_patient_is_air(network: Path) -> None:
    for group in series(network).values():
        for ds in group:
            hu = stored(ds) * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
            assert np.median(hu[2:8, 35:45]) == pytest.approx(-1000, abs=15)
            assert (hu > 300).sum() >= 1  # there is bone in every slice
            assert hu.max() <= 3071


def test_masks_only_where_there_is_disease(network: Path) -> None:
    slices = {r["sop_instance_uid"]: int(r["slice_label"]) for r in rows(network / "slices.csv")}
    found = series(network)
    for row in rows(network / "labels.csv"):
        with np.load(network / "masks" / row["site"] / f"{row['patient']}.npz") as data:
            mask, uids = data["mask"], [str(u) for u in data["sop_instance_uid"]]
        group = sorted(found[(row["site"], row["patient"])], key=lambda ds: -float(ds.ImagePositionPatient[2]))
        assert uids == [ds.SOPInstanceUID for ds in group]
        assert mask.shape == (6, 80, 80)
        marked = np.array([slices[u] for u in uids], bool)
        if row["label"] == "normal":
            assert not mask.any()
            assert not marked.any()
        else:
            assert mask[marked].any(axis=(1, 2)).all()
            assert 1 <= marked.sum() < 6  # some slices only


def test_lesions_lie_inside_the_lungs() -> None:
    from covidct.ct.phantom.patient import Patient
    from covidct.ct.phantom.section import cut

    for label in FU2020[1:]:
        patient = Patient(np.random.SeedSequence([5]), label, DEFAULT_SCANNERS[0], 96, 8, 0.2, 0.6)
        total = 0
        for n in range(8):
            one = patient.slice(n)
            section = cut(patient.chest, one.depth_mm, 5.0, patient.disease)
            np.testing.assert_array_equal(section.lesion, one.lesion)
            assert (section.lung[one.lesion] > 0.5).all()
            total += int(one.lesion.sum())
        assert total > 50


def test_result_does_not_depend_on_workers(tmp_path: Path) -> None:
    spec = replace(SPEC, patients={"covid19": 1, "normal": 1}, classes=("covid19", "normal"), slices_per_patient=3,
                   size=64, lesion_slice_fraction=0.8)  # fmt: skip
    write_network(tmp_path / "one", spec, workers=1)
    write_network(tmp_path / "two", spec, workers=2)
    one, two = bytes_of(tmp_path / "one"), bytes_of(tmp_path / "two")
    assert len(one) == 18 + 6 + 3
    assert one == two


def test_same_phantom_is_found_and_anything_else_refused(tmp_path: Path) -> None:
    spec = replace(SPEC, patients=1, classes=("normal",), sites=DEFAULT_SCANNERS[:1], slices_per_patient=2, size=64)
    first = write_network(tmp_path / "net", spec)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "net").rglob("*")}
    again = write_network(tmp_path / "net", spec)
    assert not again.written
    assert replace(again, written=True) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "net").rglob("*")} == before
    with pytest.raises(DataRefused, match="another phantom"):
        write_network(tmp_path / "net", replace(spec, seed=4))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not lose")
    with pytest.raises(DataRefused, match="holds no phantom"):
        write_network(tmp_path / "mine", spec)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "do not lose"


def test_broken_off_phantom_is_completed(tmp_path: Path) -> None:
    spec = replace(SPEC, patients=1, classes=("normal",), sites=DEFAULT_SCANNERS[:1], slices_per_patient=2, size=64)
    root = tmp_path / "net"
    write_network(root, spec)
    whole = bytes_of(root)
    next(root.glob("site_a/*/*/*.dcm")).unlink()
    (root / "labels.csv").unlink()
    write_json(root / "phantom.json", {**read_json(root / "phantom.json"), "state": "started"})
    assert write_network(root, spec).written
    assert bytes_of(root) == whole


def test_patients_per_site_and_class() -> None:
    names = ("site_a", "site_b", "site_c")
    assert PhantomSpec(patients=2).as_dict()["patients"] == {s: dict.fromkeys(FU2020, 2) for s in names}
    by_class = PhantomSpec(patients={"normal": 3}).as_dict()["patients"]
    assert by_class["site_b"] == {"normal": 3, "covid19": 0, "viral": 0, "bacterial": 0, "tuberculosis": 0}
    table = {"site_a": {"normal": 4}, "site_b": {"viral": 1}, "site_c": {}}
    spec = PhantomSpec(patients=table, slices_per_patient=7)
    assert spec.slices == 35
    assert spec.digest == PhantomSpec(patients=spec.patients, slices_per_patient=7).digest
    assert spec.digest != replace(spec, seed=1).digest


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 32}, {"size": 1024}, {"difficulty": 1.5}, {"slices_per_patient": 0}, {"lesion_slice_fraction": 0},
        {"patients": -1}, {"patients": {"flu": 1}}, {"patients": {"site_x": {"normal": 1}}}, {"classes": ("flu",)},
        {"classes": ("normal", "normal")}, {"sites": ()}, {"sites": DEFAULT_SCANNERS[:1] * 2}, {"seed": -1},
    ],
)  # fmt: skip
def test_impossible_specifications_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        PhantomSpec(**wrong)


def test_impossible_sites_and_workers_are_refused(tmp_path: Path) -> None:
    for wrong in ({"site": "../up"}, {"site": ""}, {"table": "water bed"}):
        with pytest.raises(UsageError):
            replace(DEFAULT_SCANNERS[0], **wrong)
    with pytest.raises(UsageError, match="workers"):
        write_network(tmp_path / "net", SPEC, workers=0)
    assert not (tmp_path / "net").exists()


def test_patient_without_room_for_a_lesion_is_refused_not_written_healthy(tmp_path: Path) -> None:
    spec = PhantomSpec(
        patients={"tuberculosis": 1},
        sites=DEFAULT_SCANNERS[:1],
        slices_per_patient=1,
        size=64,
        lesion_slice_fraction=0.05,
        difficulty=1.0,
    )
    with pytest.raises(UsageError, match="no visible lesion"):
        write_network(tmp_path / "net", spec)


def test_dead_worker_is_reported_not_waited_for(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from covidct.ct.phantom import PhantomSpec, write_network\n"
        "spec = PhantomSpec(patients=1, slices_per_patient=1, size=64)\n"
        f"write_network(Path({str(tmp_path / 'net')!r}), spec, workers=2)"
    )
    # a script on standard input cannot be imported by a spawned process
    done = subprocess.run([sys.executable], input=script, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "ResourceError" in done.stderr
    assert ResourceError.exit_code == 5


def test_a_planted_tag_changes_the_pixels_under_it_and_nothing_else(tmp_path: Path) -> None:
    from covidct.ct.phantom.shortcut import tag_mask

    spec = PhantomSpec(
        seed=3, patients=2, classes=("normal", "covid19"), slices_per_patient=3, size=64, lesion_slice_fraction=0.8
    )
    write_network(tmp_path / "clean", spec)
    write_network(tmp_path / "planted", replace(spec, shortcut={"tag": "covid19", "share": 0.5}))
    mask = tag_mask(64)
    labels = {(r["site"], r["patient"]): r["label"] for r in rows(tmp_path / "clean" / "labels.csv")}
    tagged = dict.fromkeys(labels.values(), 0)
    for path in sorted((tmp_path / "clean").glob("site_*/*/*/*.dcm")):
        where = path.relative_to(tmp_path / "clean")
        clean, planted = pydicom.dcmread(path), pydicom.dcmread(tmp_path / "planted" / where)
        before, after = stored(clean), stored(planted)
        if (before == after).all():
            continue
        tagged[labels[where.parts[0], where.parts[1]]] += 1
        np.testing.assert_array_equal(before != after, mask)
        assert (after[mask] * float(clean.RescaleSlope) + float(clean.RescaleIntercept) == 2500).all()
    assert tagged == {"normal": 0, "covid19": 3 * 3}  # one of two patients at each of three sites, all slices


def test_without_a_shortcut_the_digest_is_what_it_was() -> None:
    before = "fcd17c738b89d23b4601aa5ee425e4162f3e6501fbd38fa2815cc9d7d348d1eb"
    assert PhantomSpec(seed=3, patients=2).digest == before
    assert PhantomSpec(seed=3, patients=2, shortcut={"tag": "viral"}).digest != before


@pytest.mark.parametrize(
    "wrong", [{"tag": "flu"}, {"share": 0.5}, {"tag": "viral", "share": 1.5}, {"tag": "viral", "s": 1}]
)
def test_impossible_shortcuts_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        PhantomSpec(shortcut=wrong)
