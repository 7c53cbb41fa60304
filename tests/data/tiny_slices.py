"""Small slice files with known values, and tables of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from covidct.ct.read import read_slice
from covidct.data.table import SliceTable, make_table


def write_dicom(path: Path, hu: np.ndarray) -> None:
    """A CT slice whose Hounsfield values are `hu`: stored unsigned with intercept -1024."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    scan = Dataset()
    scan.file_meta = meta
    scan.SOPClassUID = CTImageStorage
    scan.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    scan.Modality = "CT"
    scan.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    scan.Rows, scan.Columns = hu.shape
    scan.SamplesPerPixel, scan.PhotometricInterpretation = 1, "MONOCHROME2"
    scan.BitsAllocated, scan.BitsStored, scan.HighBit, scan.PixelRepresentation = 16, 16, 15, 0
    scan.RescaleSlope, scan.RescaleIntercept, scan.RescaleType = 1, -1024, "HU"
    scan.PixelSpacing = [0.8, 0.7]
    scan.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    pydicom.dcmwrite(path, scan, enforce_file_format=True)


def write_table(
    folder: Path,
    *,
    labels: tuple[str, ...] = ("normal", "covid19"),
    patients: int = 4,
    slices: int = 2,
    sites: tuple[str, ...] = ("wuhan",),
    shape: tuple[int, int] = (24, 20),
    units: str = "gray8",
) -> SliceTable:
    """A table of `patients` of each label at each site; every file is noise of its own."""
    rng = np.random.default_rng(7)
    rows = []
    for site in sites:
        for label in labels:
            for patient in range(patients):
                for number in range(slices):
                    name = f"{site}-{label}-{patient}-{number}"
                    if units == "HU":
                        write_dicom(folder / name, rng.integers(-1000, 400, shape))
                    else:
                        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name, format="png")
                    rows.append(
                        {
                            "slice_key": f"slice {name}",
                            "patient_key": f"{site}-{label}-{patient}",
                            "series_key": f"{site}-{label}-{patient}",
                            "site": site,
                            "path": name,
                            "frame": 0,
                            "slice_number": number,
                            "label": label,
                            "units": units,
                            "pixel_hash": read_slice(folder / name).pixel_hash(),
                            "accepted": True,
                            "reason": "",
                        }
                    )
    return make_table(rows, root=folder, source="tiny")
