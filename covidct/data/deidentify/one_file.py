"""One file through de-identification: cleaned, set aside or refused; no content stops the others."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pydicom
from pydicom.dataset import Dataset

from covidct.ct.read import kind_of
from covidct.data.deidentify.burned_in import suspected_by_header, suspected_by_pixels
from covidct.data.deidentify.clean import Cleaner
from covidct.data.deidentify.hunt import BLOCK, Quarry
from covidct.data.deidentify.keyed import Keyed
from covidct.data.deidentify.options import Options
from covidct.data.deidentify.originals import Original, of_path, originals
from covidct.errors import CovidctError, DataRefused
from covidct.files import replacing

CLEAN, QUARANTINE, REFUSED = "clean", "quarantine", "refused"
UNKNOWN_SITE = "unknown"
_TELLING = ("name", "id")
_TELLING_TEXT = frozenset({"InstitutionName", "StationName", "InstitutionalDepartmentName", "InstitutionAddress"})


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Args:
        path: Relative to the input.
        outcome: `"clean"`, `"quarantine"` or `"refused"`.
        reason: Why it is not clean, or "".
        output: Relative to the output; "" where there is none.
        values: What must not be found afterwards, in the clear.
    """

    path: str
    outcome: str
    reason: str = ""
    output: str = ""
    values: frozenset[Original] = frozenset()


@dataclass(frozen=True)
class Job:
    """What a worker needs to know.

    Args:
        root: The input folder.
        output: The output folder.
        key: The secret.
        options: What is kept.
        sites_of: Patient number -> sites at which it occurs, from the labels.
    """

    root: Path
    output: Path
    key: bytes
    options: Options
    sites_of: dict[str, tuple[str, ...]]


def one_file(job: Job, path: str) -> Outcome:
    """Clean one file and write it, or say why not."""
    values = of_path(path)
    try:
        kind = kind_of(job.root / path)
        if kind != "dicom":
            raise DataRefused("not a DICOM file")
        raw = (job.root / path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            try:
                return _one_dicom(job, path, raw, values)
            except CovidctError:
                raise
            except Exception as error:  # a damaged header raises nearly anything, RecursionError included
                raise DataRefused(f"damaged DICOM file ({type(error).__name__})") from error
    except CovidctError as error:
        return Outcome(path, REFUSED, error.what, values=frozenset(values))
    except OSError as error:
        return Outcome(path, REFUSED, f"cannot be read or written ({type(error).__name__})", values=frozenset(values))


def patient_of(dataset: Dataset) -> str:
    """Patient ID as the index reads it; where there is none, the study stands for a person of its own."""
    text = str(dataset.get("PatientID") or "").strip().strip("\0").strip()
    return text or f"study {dataset.get('StudyInstanceUID', '')}"


def site_of(sites_of: dict[str, tuple[str, ...]], patient: str, path: str) -> str:
    """The site by the labels; a number at several sites needs the site as a folder.

    Raises:
        DataRefused: It has none.
    """
    sites = sites_of.get(patient, ()) or sites_of.get(patient[:128], ())
    if len(sites) > 1:
        sites = tuple(site for site in sites if site in PurePosixPath(path).parts[:-1])
        if len(sites) != 1:
            raise DataRefused("patient number occurs at several sites and no folder name tells which")
    return sites[0] if sites else UNKNOWN_SITE


def _one_dicom(job: Job, path: str, raw: bytes, values: set[Original]) -> Outcome:
    dataset = pydicom.dcmread(io.BytesIO(raw))
    patient = patient_of(dataset)
    keyed = Keyed(job.key)
    values |= originals(dataset, path, job.options)  # also of a file whose site cannot be told
    site = site_of(job.sites_of, patient, path)
    values |= {value._replace(owner=keyed.patient(site, patient)) for value in values if value.kind == "date"}
    digest = hashlib.sha256(raw).hexdigest()
    clean = Cleaner(keyed, job.options, site, patient, _telling(dataset, values)).clean(dataset, digest)
    reason = suspected_by_header(dataset)
    if not reason and job.options.pixels == "check":
        try:
            pixels = dataset.pixel_array
        except Exception as error:  # decoders raise what they like
            reason = f"pixels cannot be decoded, so writing in them cannot be looked for ({type(error).__name__})"
        else:
            reason = suspected_by_pixels(pixels, inverted=dataset.get("PhotometricInterpretation") == "MONOCHROME1")
    if reason:
        return Outcome(path, QUARANTINE, reason, values=frozenset(values))
    written = _written(clean)
    if reason := _wrong(written, dataset, values):
        return Outcome(path, QUARANTINE, reason, values=frozenset(values))
    series = keyed.name("series", str(dataset.get("SeriesInstanceUID", "")))
    name = keyed.name("file", digest)  # a copy of the same file becomes the same file
    output = f"{keyed.patient(site, patient)}/{series}/{name}.dcm"
    with replacing(job.output / output) as temporary:
        temporary.write_bytes(written)
    return Outcome(path, CLEAN, "", output, frozenset(values))


def _telling(dataset: Dataset, values: set[Original]) -> frozenset[str]:
    """Names, their parts and numbers of this file, which no kept text may hold."""
    words = {value for kind, value, _ in values if kind in _TELLING}
    words |= {str(dataset[name].value) for name in _TELLING_TEXT if name in dataset}
    words |= {part for kind, value, _ in values if kind == "name" for part in value.replace("=", "^").split("^")}
    return frozenset(word.strip() for word in words if len(word.strip()) >= 3)


def _written(clean: Dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, clean, enforce_file_format=True)
    return buffer.getvalue()


def _wrong(written: bytes, dataset: Dataset, values: set[Original]) -> str:
    """Look at what is about to be written as a stranger would: the same pixels, and none of the file's own values."""
    again = pydicom.dcmread(io.BytesIO(written))
    quarry = Quarry(value for value in values if value.kind != "path")
    pixel_bytes = b""
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            pixel_bytes = again[keyword].value
            if pixel_bytes.rstrip(b"\0") != dataset[keyword].value[: len(pixel_bytes)].rstrip(b"\0"):
                return "the pixels would not be the same"
    if quarry.search(pixel_bytes, noise=[True] * (len(pixel_bytes) // BLOCK + 1)):
        return "a value of the header stands in the pixel data"
    start = written.find(pixel_bytes) if pixel_bytes else -1
    if quarry.search(written[:start] if start > 0 else written.replace(pixel_bytes, b"")):
        return "a value of the header could not be removed"
    return ""
