"""One scan written in many ways: what differs is the encoding, never a Hounsfield value.

For tests of readers, ours or others: `write_scan(folder, hu, WRITINGS[name])` gives for every name files that all say
`hu`. File names and InstanceNumber follow nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from covidct.ct.phantom.dicom import make_uid
from covidct.errors import ResourceError

ROW_MM, COL_MM, STEP_MM = 0.8, 0.7, 5.0
ORIGIN_MM = (-120.0, -150.0, -310.5)
PATIENT_ID = "PHANTOM-ENCODED"

_AXIAL = [1, 0, 0, 0, 1, 0]
_BY_PYDICOM = (uid.RLELossless, uid.JPEGLSLossless)
_BY_GDCM = {
    uid.JPEGLossless: "JPEGLosslessProcess14",
    uid.JPEGLosslessSV1: "JPEGLosslessProcess14_1",
    uid.JPEG2000Lossless: "JPEG2000Lossless",
}


@dataclass(frozen=True)
class Writing:
    """One way to write a scan.

    Attributes:
        container: `"single"` (a DICOM file for each slice), `"enhanced"`, `"legacy"` (multi-frame DICOM), `"nifti"`.
        syntax: Transfer syntax.
        bits: Bits Stored, of 16.
        signed: Pixel Representation.
        slopes, intercepts: Rescale, taken in turn by the slices.
        padding: Pixel Padding Value and, where it differs, Pixel Padding Range Limit, as stored; they fill what lies
            outside the round field of view.
        mono: "" for MONOCHROME2; `"display"`: MONOCHROME1 as the standard means it, which changes no value; `"stored"`:
            MONOCHROME1 by a converter that inverted the stored values.
        junk: Bits set above Bits Stored, as old overlays are.
        axes: Of a NIfTI file: towards which side of the patient its three axes run.
        version: Of NIfTI.
        packed: Whether the NIfTI file is gzipped.
        dtype: Of a NIfTI file.
    """

    container: str = "single"
    syntax: UID = uid.ExplicitVRLittleEndian
    bits: int = 12
    signed: bool = False
    slopes: tuple[float, ...] = (1.0,)
    intercepts: tuple[float, ...] = (-1024.0,)
    padding: tuple[int, int] | None = None
    mono: str = ""
    junk: int = 0
    axes: str = "LPS"
    version: int = 1
    packed: bool = False
    dtype: str = "<i2"

    def stored(self, hu: NDArray[np.int16], number: int) -> NDArray[np.int64]:
        """Stored values of slice `number`, [rows, cols]."""
        slope, intercept = self.rescale(number)
        stored = np.rint((hu.astype(np.float64) - intercept) / slope).astype(np.int64)
        if self.mono == "stored":
            stored = (-1 if self.signed else (1 << self.bits) - 1) - stored
        if self.padding is not None:
            outside = outside_view(hu.shape[0], hu.shape[1])
            stored[outside] = np.resize(self.padding, int(outside.sum()))
        return stored

    def rescale(self, number: int) -> tuple[float, float]:
        """Slope and intercept of slice `number`."""
        return self.slopes[number % len(self.slopes)], self.intercepts[number % len(self.intercepts)]


WRITINGS: dict[str, Writing] = {
    "explicit little endian": Writing(),
    "implicit little endian": Writing(syntax=uid.ImplicitVRLittleEndian),
    "explicit big endian": Writing(syntax=uid.ExplicitVRBigEndian),
    "deflated": Writing(syntax=uid.DeflatedExplicitVRLittleEndian),
    "RLE": Writing(syntax=uid.RLELossless),
    "JPEG lossless": Writing(syntax=uid.JPEGLossless),
    "JPEG lossless, first-order": Writing(syntax=uid.JPEGLosslessSV1),
    "JPEG-LS": Writing(syntax=uid.JPEGLSLossless),
    "JPEG 2000 lossless": Writing(syntax=uid.JPEG2000Lossless),
    "unsigned 16 bit": Writing(bits=16),
    "signed 16 bit": Writing(bits=16, signed=True, intercepts=(0.0,)),
    "signed 16 bit, intercept": Writing(bits=16, signed=True),
    "signed 13 bit": Writing(bits=13, signed=True, intercepts=(0.0,)),
    "other intercept": Writing(bits=16, intercepts=(-8192.0,)),
    "slope one half": Writing(bits=16, slopes=(0.5,)),
    "slope and intercept of each slice": Writing(bits=16, slopes=(1.0, 0.5, 0.25), intercepts=(-1024.0, -2000.0)),
    "padding": Writing(bits=16, signed=True, padding=(-2000, -2000)),
    "padding that would be tissue": Writing(bits=16, padding=(5120, 5120)),
    "padding range": Writing(bits=16, padding=(60000, 60100)),
    "MONOCHROME1": Writing(mono="display"),
    "MONOCHROME1, inverted": Writing(mono="stored"),
    "bits above bits stored": Writing(junk=0xF000),
    "enhanced": Writing("enhanced"),
    "enhanced, big endian": Writing("enhanced", syntax=uid.ExplicitVRBigEndian),
    "enhanced, deflated": Writing("enhanced", syntax=uid.DeflatedExplicitVRLittleEndian),
    "enhanced, JPEG-LS": Writing("enhanced", syntax=uid.JPEGLSLossless),
    "enhanced, slope of each frame": Writing("enhanced", bits=16, slopes=(1.0, 0.5), intercepts=(-1024.0, -1500.0)),
    "enhanced, padding": Writing("enhanced", bits=16, signed=True, padding=(-2000, -2000)),
    "legacy converted": Writing("legacy", syntax=uid.ImplicitVRLittleEndian),
    "NIfTI": Writing("nifti"),
    "NIfTI, gzip, scaled": Writing("nifti", packed=True, slopes=(0.5,), intercepts=(-1024.0,)),
    "NIfTI, to the right, front and head": Writing("nifti", axes="RAS", dtype="<f4"),
    "NIfTI-2, big endian, sagittal": Writing("nifti", axes="PSR", version=2, dtype=">i2"),
}
"""Each holds Hounsfield values from -1024 to 3071. Values of -1024 outside the round field of view are asked for."""


def outside_view(rows: int, cols: int) -> NDArray[np.bool_]:
    """[rows, cols] True beyond the round field of view."""
    y, x = np.arange(rows) - (rows - 1) / 2, np.arange(cols) - (cols - 1) / 2
    return np.hypot(y[:, None] / (rows / 2), x[None] / (cols / 2)) > 1


def write_scan(folder: Path, hu: NDArray[np.int16], writing: Writing, name: str = "scan") -> list[Path]:
    """Write a scan.

    Args:
        folder: Made if it is not there.
        hu: [slices, rows, cols] -1024 .. 3071, from the feet to the head; -1024 outside the field of view.
        writing: How.
        name: Goes into UIDs and file names.

    Returns:
        The files: one for each slice, from the feet to the head, or one for all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if writing.container == "nifti":
        return [_write_nifti(folder, hu, writing, name)]
    if writing.container != "single":
        return [_write(folder / f"{name}.dcm", _multiframe(hu, writing, name), writing)]
    order = np.random.default_rng(0).permutation(len(hu))
    paths = []
    for number, one in enumerate(hu):
        dataset = _common(hu, writing, name)
        dataset.SOPClassUID = uid.CTImageStorage
        dataset.SOPInstanceUID = make_uid(name, "slice", number)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImageOrientationPatient = _AXIAL
        dataset.ImagePositionPatient = _position(number)
        dataset.PixelSpacing, dataset.SliceThickness = [ROW_MM, COL_MM], STEP_MM
        dataset.InstanceNumber = int(order[-1 - number]) + 1
        dataset.ConvolutionKernel, dataset.KVP, dataset.AcquisitionNumber = "B30", 120, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = writing.rescale(number)
        dataset.RescaleType = "HU"
        _put_pixels(dataset, writing.stored(one, number), writing)
        paths.append(_write(folder / f"{name}-{order[number]:03d}.dcm", dataset, writing))
    return paths


def _position(number: int) -> list[float]:
    return [ORIGIN_MM[0], ORIGIN_MM[1], ORIGIN_MM[2] + number * STEP_MM]


def _common(hu: NDArray[np.int16], writing: Writing, name: str) -> Dataset:
    dataset = Dataset()
    dataset.SyntheticData = "YES"
    dataset.Modality = "CT"
    dataset.PatientID, dataset.PatientName = PATIENT_ID, "Phantom^Encoded"
    dataset.PatientSex, dataset.PatientAge = "O", "050Y"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = make_uid(name, "study"), make_uid(name, "series")
    dataset.Manufacturer, dataset.ManufacturerModelName = "PHANTOM IMAGING A", "Alpha 64"
    dataset.StudyDate = "20200131"
    dataset.Rows, dataset.Columns = hu.shape[1:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if writing.mono else "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, writing.bits, writing.bits - 1
    dataset.PixelRepresentation = int(writing.signed)
    if writing.padding is not None:
        first, last = writing.padding
        dataset.add_new("PixelPaddingValue", "SS" if writing.signed else "US", first)
        if last != first:
            dataset.add_new("PixelPaddingRangeLimit", "SS" if writing.signed else "US", last)
    return dataset


def _multiframe(hu: NDArray[np.int16], writing: Writing, name: str) -> Dataset:
    """What a frame is, is in its functional groups; the top level says something else, and must not be believed."""
    legacy = writing.container == "legacy"
    dataset = _common(hu, writing, name)
    dataset.SOPClassUID = uid.LegacyConvertedEnhancedCTImageStorage if legacy else uid.EnhancedCTImageStorage
    dataset.SOPInstanceUID = make_uid(name, "frames")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(hu)
    dataset.RescaleSlope, dataset.RescaleIntercept = 7, 7
    dataset.PixelSpacing, dataset.ImagePositionPatient = [9, 9], [9, 9, 9]
    shared = Dataset()
    shared.CTImageFrameTypeSequence = [
        _group(
            FrameType=["ORIGINAL", "PRIMARY", "AXIAL" if legacy else "VOLUME", "NONE"],
            VolumeBasedCalculationTechnique="NONE",
        )
    ]
    shared.PlaneOrientationSequence = [_group(ImageOrientationPatient=_AXIAL)]
    shared.PixelMeasuresSequence = [_group(PixelSpacing=[ROW_MM, COL_MM], SliceThickness=STEP_MM)]
    if legacy:
        shared.UnassignedSharedConvertedAttributesSequence = [_group(ConvolutionKernel="B30", KVP=120)]
    else:
        shared.CTReconstructionSequence = [_group(ConvolutionKernel="B30")]
        shared.CTXRayDetailsSequence = [_group(KVP=120)]
    frames = []
    stored = []
    for k in np.random.default_rng(1).permutation(len(hu)):  # frames, too, come in any order
        frame, number = Dataset(), int(k)
        slope, intercept = writing.rescale(number)
        frame.FrameContentSequence = [
            _group(FrameAcquisitionNumber=1, FrameAcquisitionDateTime="20200131120000", StackID="1")
        ]
        frame.PlanePositionSequence = [_group(ImagePositionPatient=_position(number))]
        frame.PixelValueTransformationSequence = [
            _group(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")
        ]
        frames.append(frame)
        stored.append(writing.stored(hu[number], number))
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    _put_pixels(dataset, np.stack(stored), writing)
    return dataset


def _group(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _put_pixels(dataset: Dataset, stored: NDArray[np.int64], writing: Writing) -> None:
    words = (stored & 0xFFFF if writing.signed else stored) | writing.junk
    order = ">" if writing.syntax == uid.ExplicitVRBigEndian else "<"
    dataset.PixelData = words.astype(f"{order}u2").tobytes()
    dataset["PixelData"].VR = "OW"


def _write(path: Path, dataset: Dataset, writing: Writing) -> Path:
    compressed = writing.syntax.is_encapsulated
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if compressed else writing.syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if writing.syntax in _BY_PYDICOM:
        dataset.compress(writing.syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    if writing.syntax in _BY_GDCM:
        _transcode(path, _BY_GDCM[writing.syntax])
    return path


def _transcode(path: Path, syntax: str) -> None:
    import gdcm

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    done = reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    done = done and change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    if not (done and writer.Write()):
        raise ResourceError(f"gdcm does not write {syntax}")


def _write_nifti(folder: Path, hu: NDArray[np.int16], writing: Writing, name: str) -> Path:
    import nibabel
    from nibabel import orientations

    slope, intercept = writing.rescale(0)
    affine = np.diag([-COL_MM, -ROW_MM, STEP_MM, 1.0])  # NIfTI counts to the right, front and head
    affine[:3, 3] = -ORIGIN_MM[0], -ORIGIN_MM[1], ORIGIN_MM[2]
    scaled = writing.slopes != (1.0,)
    stored = np.rint((hu - intercept) / slope) if scaled else hu
    kind = nibabel.Nifti1Image if writing.version == 1 else nibabel.Nifti2Image
    header = (nibabel.Nifti1Header if writing.version == 1 else nibabel.Nifti2Header)(
        endianness=writing.dtype[0]
    )  # fmt: skip
    image = kind(stored.transpose(2, 1, 0).astype(writing.dtype), affine, header)
    image.set_data_dtype(writing.dtype)
    image.header.set_xyzt_units("mm")
    turn = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(writing.axes)
    )  # fmt: skip
    image = image.as_reoriented(turn)
    if scaled:
        image.header.set_slope_inter(slope, intercept)
    path = folder / f"{name}.nii{'.gz' if writing.packed else ''}"
    image.to_filename(path)
    return path
