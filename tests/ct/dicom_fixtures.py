"""Small synthetic CT slices as DICOM files, in every encoding the reader must see through.

Known values: air -1000 HU outside, a body of water (0 HU) with a fat ring (-100), two lungs (-850) and a bone (700).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

ENCODINGS: dict[str, dict[str, Any]] = {
    "implicit little endian": {"syntax": ImplicitVRLittleEndian},
    "explicit little endian": {"syntax": ExplicitVRLittleEndian},
    "explicit big endian": {"syntax": ExplicitVRBigEndian},
    "deflated": {"syntax": DeflatedExplicitVRLittleEndian},
    "RLE": {"syntax": RLELossless},
    "JPEG-LS": {"syntax": JPEGLSLossless},
    "signed 16 bit": {"signed": True, "bits": 16, "intercept": 0},
    "signed 16 bit, intercept": {"signed": True, "bits": 16, "intercept": -1024},
    "signed 13 bit": {"signed": True, "bits": 13, "intercept": 0},
    "unsigned 16 bit": {"bits": 16},
    "slope one half": {"slope": 0.5, "bits": 16},
    "other intercept": {"intercept": -8192, "bits": 16},
    "junk above bits stored": {"junk": 0xF000},
    "MONOCHROME1, stored values inverted": {"mono1": "stored"},
    "MONOCHROME1, as the standard means it": {"mono1": "display"},
    "padding below air": {"padding": 0, "corners": 0},
    "signed padding -2000": {"signed": True, "bits": 16, "intercept": -1024, "padding": -2000, "corners": -2000},
    "padding range": {"bits": 16, "padding": 60000, "padding_limit": 60100, "corners": 60050},
    "undeclared padding": {"signed": True, "bits": 16, "intercept": -1024, "corners": -2000},
}
"""All of them say the same slice. In those with `corners` the corner pixels are padding, -1024 HU after reading."""


def chest(size: int = 48, seed: int = 0) -> np.ndarray:
    """HU, int16 `[size, size]`, air at the rim and -1024 in the four corner pixels; differs a little by seed."""
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    hu = np.full((size, size), -1000, dtype=np.int16)
    hu[(x / 0.85) ** 2 + (y / 0.7) ** 2 < 1] = -100
    hu[(x / 0.75) ** 2 + (y / 0.6) ** 2 < 1] = 0
    for side in (-0.35, 0.35):
        hu[((x - side) / 0.25) ** 2 + (y / 0.4) ** 2 < 1] = -850
    hu[(x / 0.1) ** 2 + ((y - 0.45) / 0.1) ** 2 < 1] = 700
    noise = np.random.default_rng(seed).integers(-20, 20, hu.shape).astype(np.int16)
    hu += np.where(hu > -1000, noise, 0).astype(np.int16)
    hu[0, 0] = hu[0, -1] = hu[-1, 0] = hu[-1, -1] = -1024
    return hu


def ct_dataset(
    hu: np.ndarray | None = None,
    *,
    syntax: UID = ExplicitVRLittleEndian,
    bits: int = 12,
    signed: bool = False,
    slope: float = 1,
    intercept: float = -1024,
    padding: int | None = None,
    padding_limit: int | None = None,
    corners: int | None = None,
    mono1: str | None = None,
    junk: int = 0,
    **elements: Any,
) -> Dataset:
    """A CT slice.

    Args:
        hu: The picture; `chest()` by default.
        syntax: Transfer syntax, compressed ones included.
        bits: Bits Stored.
        signed: Pixel Representation 1.
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        padding: Pixel Padding Value (not written when None).
        padding_limit: Pixel Padding Range Limit.
        corners: Stored value of the four corner pixels.
        mono1: `"stored"`: MONOCHROME1 with inverted stored values; `"display"`: MONOCHROME1 and nothing else.
        junk: Bits to set above Bits Stored.
        elements: Further elements by keyword; None deletes one.
    """
    hu = chest() if hu is None else hu
    stored = np.rint((hu.astype(np.float64) - intercept) / slope).astype(np.int64)
    if mono1 == "stored":
        stored = (-1 if signed else (1 << bits) - 1) - stored
    if corners is not None:
        for place in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            stored[place] = corners
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    assert stored.min() >= low, "the fixture does not fit its bits"
    assert stored.max() <= high, "the fixture does not fit its bits"
    words = ((stored & ((1 << bits) - 1)) | junk).astype("<u2")
    if signed and not junk:
        words = stored.astype("<i2").view("<u2")

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = (
        syntax if not syntax.is_compressed or syntax.is_deflated else ExplicitVRLittleEndian
    )
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3.4.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientID, ds.PatientName = "SECRET-0042", "Secret^Person"
    ds.Manufacturer, ds.ManufacturerModelName, ds.ConvolutionKernel = "ACME", "Scanner 1", "B30"
    ds.AcquisitionDate = "20200305"
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-100, -100, 0]
    ds.PixelSpacing = [0.8, 0.7]
    ds.InstanceNumber = 1
    ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME1" if mono1 else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    if padding is not None:
        ds.add_new(0x00280120, "SS" if signed else "US", padding)
    if padding_limit is not None:
        ds.add_new(0x00280121, "SS" if signed else "US", padding_limit)
    big = syntax == ExplicitVRBigEndian
    ds.PixelData = words.astype(">u2").tobytes() if big else words.tobytes()
    ds["PixelData"].VR = "OW"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the standard are the point
        for keyword, value in elements.items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
    if syntax in (RLELossless, JPEGLSLossless):
        uid = ds.get("SOPInstanceUID")
        ds.compress(syntax, generate_instance_uid=False)
        assert ds.get("SOPInstanceUID") == uid
    return ds


def write_ct(path: Path, hu: np.ndarray | None = None, **options: Any) -> Path:
    """Write `ct_dataset(hu, **options)` as a file; folders are made."""
    ds = ct_dataset(hu, **options)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID") or CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID") or "1.2.3.4.9"
    ds.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path, positions: list[float] | range, *, series: str = "1.2.3.2", seed: int = 0, **options: Any
) -> list[Path]:
    """A series of different slices at z = `positions`; file names and InstanceNumber run against the anatomy."""
    paths = []
    for number, z in enumerate(positions):
        elements = {
            "SOPInstanceUID": f"{series}.{number + 1}",
            "SeriesInstanceUID": series,
            "StudyInstanceUID": f"{series}.0",
            "ImagePositionPatient": [-100, -100, z],
            "InstanceNumber": len(positions) - number,
        } | options
        name = f"{(number * 7) % (len(positions) + 20):03d}-{number}.dcm"
        paths.append(write_ct(folder / name, chest(seed=seed * 1000 + number), **elements))
    return paths
