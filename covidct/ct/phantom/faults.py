"""Faults of data planted on purpose, so that an audit can be shown to find each of them.

Two kinds: what headers or numbers of patients say (before anything is written), and slices that turn up a second time
(after everything is written). Without faults every byte of a phantom is what it was before there were any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID
from scipy.ndimage import gaussian_filter

from covidct.ct.phantom.dicom import make_uid
from covidct.ct.phantom.scanner import Scanner
from covidct.errors import UsageError

FAULTS = {
    "patient_in_two_sites": "a person is known at a second site under another number: same study, another kernel",
    "reexported_slice": "a slice lies a second time among those of another patient of its class, pixel by pixel",
    "near_duplicate": "a slice lies a second time among those of another patient of its class, noisier",
    "two_labels_one_picture": "a slice lies a second time among those of a patient of another class, pixel by pixel",
    "near_duplicate_two_labels": "a slice lies a second time among those of a patient of another class, noisier",
    "single_class_site": "the last site has patients of the first class only",
    "scanner_goes_with_class": "patients of the first class were all scanned on a scanner of their own",
    "kernel_goes_with_class": "the same with a kernel",
    "year_goes_with_class": "patients of the first class were all scanned in the first two years",
    "thickness_goes_with_class": "patients of the first class have a slice thickness of their own, in the header only",
}
"""Fault -> what is wrong then."""

NOISE_HU = 12.0
"""Standard deviation of what makes a near-duplicate differ from its slice."""


def checked(given: Iterable[str]) -> tuple[str, ...]:
    """The faults, each once, in the order of `FAULTS`.

    Raises:
        UsageError: A name that is none.
    """
    names = [given] if isinstance(given, str) else list(given)
    if strange := sorted({str(name) for name in names} - set(FAULTS)):
        raise UsageError(f"no fault {', '.join(strange)}", where="faults", remedy=f"use some of {', '.join(FAULTS)}")
    return tuple(name for name in FAULTS if name in names)


def counts_with(faults: Sequence[str], counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Patients {site: {class: n}} as the faults want them.

    Raises:
        UsageError: A fault needs two sites or two classes and there is one.
    """
    sites, classes = list(counts), list(next(iter(counts.values())))
    if set(faults) & {"patient_in_two_sites", "single_class_site"} and len(sites) < 2:
        raise UsageError("this fault needs two sites", where="faults")
    if faults and len(classes) < 2 and set(faults) - {"patient_in_two_sites", "reexported_slice", "near_duplicate"}:
        raise UsageError("this fault needs two classes", where="faults")
    if "single_class_site" in faults:
        everybody = sum(counts[sites[-1]].values())
        counts = {**counts, sites[-1]: dict.fromkeys(classes, 0) | {classes[0]: everybody}}
    return counts


def scanner_with(faults: Sequence[str], scanner: Scanner, is_first_class: bool) -> Scanner:
    """What the headers of a patient say of the scanner; the pixels do not depend on it."""
    if not is_first_class:
        return scanner
    if "scanner_goes_with_class" in faults:
        scanner = replace(scanner, model=f"{scanner.model} II")
    if "kernel_goes_with_class" in faults:
        scanner = replace(scanner, kernel=f"{scanner.kernel}b")
    if "thickness_goes_with_class" in faults:
        scanner = replace(scanner, thickness_mm=scanner.thickness_mm + 0.5)
    return scanner


def day_with(faults: Sequence[str], day: int, is_first_class: bool) -> int:
    """Days from the first to that of a patient's scan, of 2186."""
    if "year_goes_with_class" not in faults:
        return day
    return day % 700 if is_first_class else 731 + day % 1400


Person = tuple[str, str, str]
"""Number, class, site."""


def plant(root: Path, faults: Sequence[str], labels: list[Person], seed: int) -> list[Person]:
    """Write slices a second time into a finished phantom.

    Args:
        root: The phantom.
        faults: See `FAULTS`.
        labels: Everybody.
        seed: Of noise.

    Returns:
        `labels`, with the people that were added.

    Raises:
        UsageError: There are too few patients for a fault.
    """
    people = sorted(labels, key=lambda row: (row[2], row[1], row[0]))
    generator = np.random.default_rng(np.random.SeedSequence([seed, 5]))
    added: list[Person] = []
    if "patient_in_two_sites" in faults:
        patient, label, site = people[0]
        other = next(row[2] for row in people if row[2] != site)
        name = f"{other.upper().replace('_', '')}-9001"
        _copy_patient(root, (patient, site), (name, other))
        added.append((name, label, other))
    for rank, (fault, same_class, noisy) in enumerate((
        ("reexported_slice", True, False), ("near_duplicate", True, True),
        ("two_labels_one_picture", False, False), ("near_duplicate_two_labels", False, True),
    )):  # fmt: skip
        if fault in faults:
            of, to = _pair(people, same_class, rank, fault)
            _copy_slice(root, of, to, fault, generator if noisy else None)
    return labels + added


def _pair(people: list[Person], same_class: bool, rank: int, fault: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Two (patient, site) of one site and of one class or of two; another pair for each fault."""
    site = people[0][2]
    here = [row for row in people if row[2] == site]
    pairs = [(a, b) for a in here for b in here if a[0] < b[0] and (a[1] == b[1]) == same_class]
    if not pairs:
        raise UsageError("too few patients at the first site", where=f"faults={fault}", remedy="patients=2 or more")
    one, other = pairs[(1 + 7 * rank) % len(pairs)]
    return (one[0], one[2]), (other[0], other[2])


def _copy_patient(root: Path, of: tuple[str, str], to: tuple[str, str]) -> None:
    """All slices of a person again: other series and slices, same study, a smoother kernel."""
    for number, path in enumerate(_files(root, of)):
        scan = pydicom.dcmread(path)
        smooth = gaussian_filter(scan.pixel_array.astype(np.float32), 0.6)
        _store(scan, np.round(smooth))
        scan.PatientID, scan.PatientName = to[0], f"Phantom^{to[0]}"
        scan.ConvolutionKernel = f"{scan.ConvolutionKernel}s"
        scan.SeriesInstanceUID = make_uid(scan.SeriesInstanceUID, "again")
        _name(scan, make_uid(scan.SOPInstanceUID, "again"))
        target = root / to[1] / to[0] / "CT_again" / f"{number + 1:03d}.dcm"
        target.parent.mkdir(parents=True, exist_ok=True)
        scan.save_as(target, enforce_file_format=True)


def _copy_slice(
    root: Path, of: tuple[str, str], to: tuple[str, str], fault: str, noise: np.random.Generator | None
) -> None:
    """A slice from the middle of one patient, with new identifiers, at the end of another one's series."""
    scans = sorted((pydicom.dcmread(path) for path in _files(root, of)), key=lambda scan: float(scan.SliceLocation))
    scan = scans[len(scans) // 2]
    hosts = [pydicom.dcmread(path, stop_before_pixels=True) for path in _files(root, to)]
    place = max(float(host.SliceLocation) for host in hosts) + float(hosts[0].SpacingBetweenSlices)
    if noise is not None:
        stored = scan.pixel_array.astype(np.float32)
        _store(scan, np.round(stored + noise.normal(0, NOISE_HU / float(scan.RescaleSlope), stored.shape)))
    for keyword in ("PatientID", "PatientName", "PatientSex", "PatientAge", "StudyInstanceUID", "SeriesInstanceUID",
                    "FrameOfReferenceUID", "StudyDate", "SeriesDate", "AcquisitionDate", "ManufacturerModelName",
                    "ConvolutionKernel", "SliceThickness"):  # fmt: skip
        setattr(scan, keyword, hosts[0].get(keyword))
    scan.ImagePositionPatient = [*scan.ImagePositionPatient[:2], f"{place:.3f}"]
    scan.SliceLocation = f"{place:.3f}"
    _name(scan, make_uid(scan.SOPInstanceUID, fault))
    scan.save_as(_files(root, to)[0].with_name(f"{fault}.dcm"), enforce_file_format=True)


def _files(root: Path, who: tuple[str, str]) -> list[Path]:
    return sorted((root / who[1] / who[0]).rglob("*.dcm"))


def _name(scan: Dataset, uid: str) -> None:
    scan.SOPInstanceUID = uid
    scan.file_meta.MediaStorageSOPInstanceUID = UID(uid)


def _store(scan: Dataset, stored: Any) -> None:
    """Put stored values into a dataset, inside what its bits hold."""
    signed = bool(scan.PixelRepresentation)
    low = -(2 ** (scan.BitsStored - 1)) if signed else 0
    values = np.clip(stored, low, low + 2**scan.BitsStored - 1).astype("<i2" if signed else "<u2")
    scan.PixelData = values.tobytes()
    scan["PixelData"].VR = "OW"
