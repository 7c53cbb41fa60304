"""Multi-frame CT: Enhanced CT and Legacy Converted Enhanced CT Image Storage (PS3.3 A.38, A.70).

What a single-frame file says once, these say in functional groups, shared by all frames or for each frame (C.7.6.16):
the place of a frame, its size, its rescale, its image type. Elements of the same names at the top level are not looked
at. `frame_header` gathers what the groups say about one frame into a header like that of a single-frame file, so that
one set of rules judges both.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from covidct.ct.bounds import BoundedFile
from covidct.ct.decode import MAX_SIDE, stored_frame, syntax_of
from covidct.errors import DataRefused

SOP_CLASSES = (uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)

_TOP = (
    "PatientID", "PatientAge", "PatientSex", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "SeriesDate",
    "Modality", "Manufacturer", "ManufacturerModelName", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "BurnedInAnnotation", "LossyImageCompression",
)  # fmt: skip
"""What is said once for the whole file: the patient, the study, the equipment and the make of the pixels."""

_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
    "CTAcquisitionDetailsSequence": ("GantryDetectorTilt",),
}
"""Functional group -> what is taken from it under its own name."""

_UNASSIGNED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")
"""Where a legacy conversion puts what has no functional group of its own (PS3.3 C.7.6.16.2.25)."""


def is_multiframe(dataset: Dataset) -> bool:
    """Whether a dataset is of a multi-frame CT class."""
    return str(dataset.get("SOPClassUID") or "") in SOP_CLASSES


def says_multiframe(stream: BinaryIO) -> bool:
    """Whether the file meta information names a multi-frame CT class (PS3.10 7.1), before anything is parsed.

    Args:
        stream: The file at its beginning, and there again afterwards.
    """
    head = stream.read(4096)
    stream.seek(0)
    meta = head[: 144 + int.from_bytes(head[140:144], "little")]  # (0002,0000), its length, comes first
    return any(name.encode() in meta for name in SOP_CLASSES)


class Frames:
    """The frames of one file, decoded one at a time.

    Args:
        path: The file. Its pixels are not read.

    Attributes:
        count: Number of frames.

    Raises:
        DataRefused: The sizes in the header contradict each other or the file's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream_at: int | None = None
        self._options: dict[str, Any] = {}
        with BoundedFile(path.open("rb", buffering=0)) as stream:
            self.dataset = pydicom.dcmread(stream, stop_before_pixels=True)
            if syntax_of(self.dataset).is_deflated:  # what lies where in the file says nothing here
                self.dataset = pydicom.dcmread(path)
                length = len(self.dataset.get("PixelData") or b"")
            else:
                length = self._find_pixels(stream.read(12))
                if self._stream_at is not None:
                    self._stream_at += stream.tell() - 12
                    length = min(length, path.stat().st_size - self._stream_at)
        self.count = self._checked_count(length)

    def header(self, frame: int) -> Dataset:
        """What a single-frame file would say about a frame, without pixels.

        Raises:
            DataRefused: There is no such frame.
        """
        if not 0 <= frame < self.count:
            raise DataRefused(f"frame {frame} of a file with {self.count} frames")
        return frame_header(self.dataset, frame)

    def stored(self, frame: int) -> npt.NDArray[np.int32]:
        """Stored values of a frame, see `covidct.ct.decode.stored_values`."""
        if self._stream_at is None:
            return stored_frame(self.dataset, frame, None)
        with BoundedFile(self._path.open("rb", buffering=0)) as stream:
            stream.seek(self._stream_at)
            return stored_frame(self.dataset, frame, stream, **self._options)

    def _find_pixels(self, head: bytes) -> int:
        """Length of Pixel Data in bytes, as far as it is said, from the head of the element (PS3.5 7.1)."""
        implicit, little = self.dataset.original_encoding
        order = "<" if little else ">"
        if len(head) < 12 or struct.unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
            raise DataRefused("no pixel data")
        self._stream_at = 8 if implicit else 12
        self._options = {"pixel_keyword": "PixelData", "pixel_vr": "OW" if implicit else head[4:6].decode("ascii")}
        length: int = struct.unpack(f"{order}L", head[4:8] if implicit else head[8:12])[0]
        return length

    def _checked_count(self, length: int) -> int:
        numbers = {}
        for keyword in ("NumberOfFrames", "Rows", "Columns", "BitsAllocated"):
            try:
                numbers[keyword] = int(self.dataset.get(keyword) or 0)
            except (TypeError, ValueError):
                numbers[keyword] = 0
            if numbers[keyword] < 1:
                raise DataRefused(f"{keyword} missing or not a number")
        count, rows, cols, bits = numbers.values()
        if rows > MAX_SIDE or cols > MAX_SIDE:
            raise DataRefused(f"rows or columns outside 1..{MAX_SIDE}")
        if count != len(self.dataset.get("PerFrameFunctionalGroupsSequence") or ()):
            raise DataRefused("number of frames differs from the number of functional groups")
        if not syntax_of(self.dataset).is_encapsulated and length < count * rows * cols * (bits // 8):
            raise DataRefused("pixel data are cut short")
        return count


def frame_header(dataset: Dataset, frame: int) -> Dataset:
    """What the functional groups say about a frame, under the names a single-frame header has for it.

    Args:
        dataset: A multi-frame dataset.
        frame: 0-based.
    """
    shared = _item(dataset, "SharedFunctionalGroupsSequence")
    own = dataset.PerFrameFunctionalGroupsSequence[frame]
    header = Dataset()
    header.file_meta = dataset.file_meta
    header.SOPClassUID = uid.CTImageStorage
    for keyword in _TOP:
        if keyword in dataset:
            header[keyword] = dataset[keyword]
    for name, keywords in _GROUPS.items():
        group = _item(own, name) or _item(shared, name)
        for keyword in keywords:
            if keyword in group:
                header[keyword] = group[keyword]
    for group in (_item(own, _UNASSIGNED[0]), _item(shared, _UNASSIGNED[1])):
        for keyword in ("ConvolutionKernel", "KVP", "AcquisitionNumber"):
            if keyword in group and keyword not in header:
                header[keyword] = group[keyword]
    content = _item(own, "FrameContentSequence")
    if "FrameAcquisitionNumber" in content:
        header.AcquisitionNumber = content.FrameAcquisitionNumber
    if date := str(content.get("FrameAcquisitionDateTime") or "")[:8]:
        header.AcquisitionDate = date
    kind = _item(own, "CTImageFrameTypeSequence") or _item(shared, "CTImageFrameTypeSequence")
    words = kind.get("FrameType") or []
    header.ImageType = [
        *([words] if isinstance(words, str) else words),
        str(kind.get("VolumeBasedCalculationTechnique") or ""),  # MPR, MAX_IP, ...; NONE for a slice as acquired
    ]
    return header


def _item(dataset: Dataset, keyword: str) -> Dataset:
    """The one item of a functional group, empty where it is missing."""
    items = dataset.get(keyword)
    return items[0] if items else Dataset()
