"""What a source layout answers: which files are scans, whose they are, and what is known about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from covidct.ct.ingest import Record
from covidct.ct.series import Series
from covidct.errors import DataRefused, UsageError
from covidct.labels import ClassScheme


@dataclass(frozen=True)
class Claim:
    """What a source says about one file.

    Args:
        patient_id: The patient's name inside the source; becomes a pseudonym with the site. None where the source
            names no patients: then each picture gets a pseudonym of its own, and no split by patients is made.
        site: The hospital.
        label: The class of the patient, or None where nobody says.
        label_source: Where the label came from: `"folder"`, `"labels.csv"`; None without one.
        official_split: `"train"`, `"val"` or `"test"` where the source's authors fixed it.
        slice_label: 1 for a lesion in this slice, 0 for none, None for unknown.
        series: The scan that a picture belongs to, where a patient has several; files with a header say it themselves.
    """

    patient_id: str | None
    site: str
    label: str | None = None
    label_source: str | None = None
    official_split: str | None = None
    slice_label: int | None = None
    series: str | None = None


class Layout(ABC):
    """One data set on disk, opened."""

    kinds: tuple[str, ...]
    """The file kinds that are scans: some of `"dicom"`, `"nifti"`, `"png"`, `"jpeg"`."""

    patients_known: bool = True
    """Whether it can be told whose a picture is. If not, nobody can tell a split by patients from a leaking one."""

    labels_by_place: frozenset[str] = frozenset()
    """Patients whose slice labels are known by position only; see `slice_labels`."""

    @abstractmethod
    def wants(self, path: str) -> bool:
        """Whether a file (relative POSIX path) is meant to be a scan. The source's own tables are not."""

    @abstractmethod
    def claim(self, record: Record) -> Claim:
        """Whose file this is and what is known about it.

        Raises:
            DataRefused: It belongs to nobody, or to a patient who is excluded; the reason goes into the table.
        """

    def remarks(self) -> dict[str, Any]:
        """What there is to say about the whole once every file was claimed; plain values for the table's counts."""
        return {}

    def slice_labels(self, patient_id: str, series: Series) -> list[int | None] | None:  # noqa: B027 (a default)
        """Labels of a series that are known by position only, in its order; None, the default, where there are none.

        Asked only for a patient with one evenly spaced series and no refused file: with a slice missing, every label
        after it would sit on the wrong picture.
        """


@dataclass(frozen=True)
class Source:
    """A kind of data set.

    Args:
        name: Its name in configs.
        summary: One line for people.
        classes: Its classes, or None when they are the user's.
        open: Open a folder, with a labels file and a class scheme or None for the source's own.
    """

    name: str
    summary: str
    classes: ClassScheme | None
    open: Callable[[Path, Path | None, ClassScheme | None], Layout]


def refuse_own(name: str, scheme: ClassScheme, labels: Path | None, classes: ClassScheme | None) -> None:
    """Refuse a labels file and strange classes where a published data set brings both.

    Args:
        name: The source.
        scheme: Its classes; a task may have more.
        labels: The labels file that was given.
        classes: The task's classes; None for the source's own.

    Raises:
        UsageError: A labels file was given, or the task lacks a class of the source.
    """
    if labels is not None:
        raise UsageError(f"{name} brings its own labels", where="data.labels", remedy="leave data.labels=null")
    if classes is not None and not set(scheme.names) <= set(classes.names):
        raise UsageError(
            f"{name} has the classes {list(scheme.names)}, not {list(classes.names)}",
            where="data.classes",
            remedy="name all of them; nothing is mapped or left out silently",
        )


def class_folder(path: str, folders: Mapping[str, str]) -> tuple[str, tuple[str, ...]] | None:
    """The class of the first folder that stands for one, and the parts below it; None outside of such folders.

    Args:
        path: Relative POSIX path of a file.
        folders: Folder name, exactly as it is written -> class.
    """
    parts = PurePosixPath(path).parts
    number = next((number for number, part in enumerate(parts[:-1]) if part in folders), None)
    return None if number is None else (folders[parts[number]], parts[number + 1 :])


def patient_of_volume(path: str, listed: Collection[str]) -> str:
    """Whose a NIfTI volume is, by the names of its file and folders; "" for a file that is not named as one.

    Args:
        path: Relative POSIX path of a file.
        listed: The patients of the labels file: a folder's name counts only where it is one of them.

    Raises:
        DataRefused: Two names of the path are patients.
    """
    *folders, name = PurePosixPath(path).parts
    stem = name.removesuffix(".gz").removesuffix(".nii")
    if stem in (name, name.removesuffix(".gz")):
        return ""
    known = {one for one in (*folders, stem) if one in listed}
    if len(known) > 1:
        raise DataRefused("the names of file and folders are those of several patients")
    return known.pop() if known else stem
