"""Writing one slice as a valid CT Image Storage file (PS3.3 A.3, PS3.10 for the file itself)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from covidct.ct.phantom.scanner import Scanner
from covidct.ct.phantom.shortcut import TAG_HU, tag_mask

_NAMESPACE = uuid.UUID("c0d1dc70-2020-4a5e-9f00-000000000001")
_IMPLEMENTATION = UID(f"2.25.{uuid.uuid5(_NAMESPACE, 'implementation').int}")


def make_uid(*words: object) -> str:
    """A valid UID (PS3.5 B.2: `2.25.` and a UUID in decimal) that depends on the words only."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(map(str, words))).int}"


@dataclass(frozen=True)
class SeriesFacts:
    """What all slices of a series share.

    Attributes:
        digest: Digest of the phantom; part of every UID.
        patient_id: Invented.
        sex: "F" or "M".
        age_years: Age.
        date: YYYYMMDD.
        time: HHMMSS.
        spacing_mm: Distance of neighbouring slices.
    """

    digest: str
    patient_id: str
    sex: str
    age_years: int
    date: str
    time: str
    spacing_mm: float


class SeriesWriter:
    """Writes the slices of one series; what they share is set up once.

    Args:
        facts: Patient and series.
        scanner: Scanner and protocol.
        size: Rows and columns.
        corner_mm: ImagePositionPatient x and y of the first pixel.
    """

    def __init__(self, facts: SeriesFacts, scanner: Scanner, size: int, corner_mm: tuple[float, float]) -> None:
        self.facts, self.scanner, self.corner_mm = facts, scanner, corner_mm
        self._outside = scanner.outside(size)
        self._root = (facts.digest, scanner.site, facts.patient_id)
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SyntheticData = "YES"  # (0008,001C): nobody shall take this for a patient
        ds.InstanceCreationDate = ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = facts.date
        ds.InstanceCreationTime = ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = facts.time
        ds.AccessionNumber = ""
        ds.Modality = "CT"
        ds.Manufacturer = scanner.manufacturer
        ds.ManufacturerModelName = scanner.model
        ds.DeviceSerialNumber = f"PH-{scanner.site}"
        ds.SoftwareVersions = "covidct phantom"
        ds.InstitutionName = f"Phantom hospital {scanner.site}"
        ds.ReferringPhysicianName = ""
        ds.StudyDescription = "Chest CT"
        ds.SeriesDescription = f"Chest {scanner.thickness_mm:g} mm {scanner.kernel}"
        ds.PatientName = f"Phantom^{facts.patient_id}"
        ds.PatientID = facts.patient_id
        ds.PatientBirthDate = ""
        ds.PatientSex = facts.sex
        ds.PatientAge = f"{facts.age_years:03d}Y"
        ds.PatientPosition = "HFS"
        ds.BodyPartExamined = "CHEST"
        ds.ProtocolName = "Chest routine"
        ds.KVP = str(scanner.kvp)
        ds.SliceThickness = f"{scanner.thickness_mm:g}"
        ds.SpacingBetweenSlices = f"{facts.spacing_mm:g}"
        ds.ReconstructionDiameter = f"{scanner.field_mm:g}"
        ds.ConvolutionKernel = scanner.kernel
        ds.GantryDetectorTilt = "0"
        ds.RotationDirection = "CW"
        ds.StudyInstanceUID = make_uid(*self._root, "study")
        ds.SeriesInstanceUID = make_uid(*self._root, "series")
        ds.FrameOfReferenceUID = make_uid(*self._root, "frame of reference")
        ds.StudyID = "1"
        ds.SeriesNumber = "2"
        ds.AcquisitionNumber = "1"
        ds.PositionReferenceIndicator = ""
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows = ds.Columns = size
        ds.PixelSpacing = [f"{scanner.field_mm / size:.6g}"] * 2
        encoding = scanner.encoding
        ds.BitsAllocated = 16
        ds.BitsStored = encoding.bits_stored
        ds.HighBit = encoding.bits_stored - 1
        ds.PixelRepresentation = int(encoding.signed)
        if encoding.padding is not None:
            ds.PixelPaddingValue = encoding.padding
        ds.BurnedInAnnotation = "NO"
        ds.LossyImageCompression = "00"
        ds.WindowCenter = ["-600", "40"]
        ds.WindowWidth = ["1500", "400"]
        ds.RescaleIntercept = f"{encoding.intercept:g}"
        ds.RescaleSlope = f"{encoding.slope:g}"
        ds.RescaleType = "HU"
        self._shared = ds

    def uid(self, number: int) -> str:
        """SOPInstanceUID of slice `number`."""
        return make_uid(*self._root, "slice", number)

    def write(
        self, path: Path, hu: NDArray[np.int16], number: int, instance_number: int, z_mm: float, tagged: bool = False
    ) -> None:
        """Write one slice.

        Args:
            path: The file.
            hu: [rows, cols].
            number: Rank from the lung apex; determines the SOPInstanceUID.
            instance_number: InstanceNumber.
            z_mm: ImagePositionPatient z.
            tagged: Whether a white tag is burned into the stored pixels (see `shortcut`).
        """
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = UID(self.uid(number))
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = _IMPLEMENTATION
        meta.ImplementationVersionName = "COVIDCT_PHANTOM"
        ds = FileDataset(str(path), self._shared, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = self.uid(number)
        ds.InstanceNumber = str(instance_number)
        ds.ImagePositionPatient = [f"{self.corner_mm[0]:.3f}", f"{self.corner_mm[1]:.3f}", f"{z_mm:.3f}"]
        ds.SliceLocation = f"{z_mm:.3f}"
        stored = self.scanner.encoding.encode(hu, self._outside)
        if tagged:  # over everything, padding too, as a burned-in mark is
            mask = tag_mask(hu.shape[0])
            stored[mask] = self.scanner.encoding.encode(np.full(int(mask.sum()), TAG_HU, np.int16))
        ds.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(path, enforce_file_format=True)
