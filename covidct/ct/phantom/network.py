"""A synthetic hospital network on disk.

Layout below the root::

    phantom.json                    the specification, its digest and what was written; written last
    labels.csv                      patient,label,site
    slices.csv                      site,patient,sop_instance_uid,slice_label    (1: a lesion is visible, 0: none)
    masks/<site>/<patient>.npz      mask: uint8 [slices, rows, cols], 1 in a lesion;
                                    sop_instance_uid: str [slices]; both ordered from the lung apex downwards
    <site>/<patient>/<series>/<nnn>.dcm

Patient numbers are shuffled, so that neither names nor dates tell the class.
"""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from covidct.ct.phantom import faults
from covidct.ct.phantom.dicom import SeriesFacts, SeriesWriter
from covidct.ct.phantom.patient import Patient
from covidct.ct.phantom.scanner import DEFAULT_SCANNERS, Scanner
from covidct.ct.phantom.shortcut import Shortcut
from covidct.errors import DataRefused, ResourceError, UsageError
from covidct.files import read_json, replacing, write_json
from covidct.labels import FU2020
from covidct.provenance import digest_json

GENERATION = 2
"""Raised whenever the same specification gives other pixels."""

RECORD = "phantom.json"
_SEEN_MM2 = 60.0


@dataclass(frozen=True)
class PhantomSpec:
    """What determines every byte of a phantom.

    Args:
        seed: Any non-negative number.
        patients: Patients of each class at each site: {site: {class: n}}, {site: n}, or {class: n} for every site,
            or one number for every class of every site.
        slices_per_patient: Slices, evenly spaced from apex to base.
        size: Rows and columns, 64..512.
        difficulty: 0 (large, clear lesions) .. 1 (few, small, faint ones).
        lesion_slice_fraction: Wanted share of a diseased patient's slices with lesions, before difficulty.
        classes: Classes to draw; some of `covidct.labels.FU2020`.
        sites: The hospitals; the first is meant for training.
        shortcut: A white tag on the slices of one class, {"tag": class, "share": 0..1}, or None. Without it every
            byte is what it was before there were shortcuts.
        faults: Faults of the data, some of `covidct.ct.phantom.faults.FAULTS`; the same holds for them.
    """

    seed: int = 0
    patients: int | Mapping[str, int] | Mapping[str, Mapping[str, int]] = 8
    slices_per_patient: int = 16
    size: int = 256
    difficulty: float = 0.3
    lesion_slice_fraction: float = 0.6
    classes: tuple[str, ...] = FU2020
    sites: tuple[Scanner, ...] = DEFAULT_SCANNERS
    shortcut: Shortcut | Mapping[str, Any] | None = None
    faults: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "sites", tuple(self.sites))
        object.__setattr__(self, "shortcut", Shortcut.of(self.shortcut))
        unknown = [c for c in self.classes if c not in FU2020]
        if unknown or not self.classes or len(set(self.classes)) != len(self.classes):
            raise UsageError(f"classes {list(self.classes)}", remedy=f"use some of {list(FU2020)}, each once")
        names = [s.site for s in self.sites]
        if not names or len({n.casefold() for n in names}) != len(names) or "masks" in names:
            raise UsageError(f"sites {names}", remedy="name one or more sites, all different, none called masks")
        for name, value, low, high in (
            ("size", self.size, 64, 512), ("slices_per_patient", self.slices_per_patient, 1, 400),
            ("difficulty", self.difficulty, 0, 1), ("lesion_slice_fraction", self.lesion_slice_fraction, 0.05, 1),
            ("seed", self.seed, 0, 2**63),
        ):  # fmt: skip
            if not low <= value <= high:
                raise UsageError(f"{name}={value} is not in {low}..{high}")
        if isinstance(self.shortcut, Shortcut) and self.shortcut.tag not in self.classes:
            raise UsageError(f"the tag of class {self.shortcut.tag!r}", remedy=f"use one of {list(self.classes)}")
        object.__setattr__(self, "faults", faults.checked(self.faults))
        object.__setattr__(self, "patients", faults.counts_with(self.faults, self._counts(names)))

    def _counts(self, sites: list[str]) -> dict[str, dict[str, int]]:
        given = self.patients
        table: dict[str, dict[str, int]] = {}
        for site in sites:
            row: Any = given
            by_site = isinstance(given, Mapping) and (
                set(given) == set(sites) or any(isinstance(v, Mapping) for v in given.values())
            )
            if isinstance(given, Mapping) and by_site:
                if sorted(given) != sorted(sites):
                    raise UsageError(f"patients are given for {sorted(given)}, the sites are {sorted(sites)}")
                row = given[site]
            if isinstance(row, Mapping):
                strange = sorted(set(row) - set(self.classes))
                if strange:
                    raise UsageError(f"patients of unknown classes {strange}", remedy=f"use {list(self.classes)}")
                table[site] = {c: int(row.get(c, 0)) for c in self.classes}
            else:
                table[site] = dict.fromkeys(self.classes, int(row))
            if min(table[site].values()) < 0:
                raise UsageError(f"a negative number of patients at {site}")
        return table

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "generation": GENERATION,
            "seed": self.seed,
            "patients": {site: dict(row) for site, row in self.patients.items()},  # type: ignore[union-attr, arg-type]
            "slices_per_patient": self.slices_per_patient,
            "size": self.size,
            "difficulty": float(self.difficulty),
            "lesion_slice_fraction": float(self.lesion_slice_fraction),
            "classes": list(self.classes),
            "sites": [asdict(s) for s in self.sites],
            # only where there is one: the digest of a phantom without stays what it was
            **({"shortcut": asdict(self.shortcut)} if isinstance(self.shortcut, Shortcut) else {}),
            **({"faults": list(self.faults)} if self.faults else {}),
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the specification and the generation of the code."""
        return digest_json(self.as_dict())

    @property
    def slices(self) -> int:
        """Number of slices in all."""
        rows = self.as_dict()["patients"].values()
        return self.slices_per_patient * sum(n for row in rows for n in row.values())


@dataclass(frozen=True)
class PhantomSummary:
    """What was written.

    Attributes:
        root: The folder.
        digest: Digest of the specification.
        patients: {site: {class: n}}.
        slices: Number of slices.
        lesion_slices: {class: slices with a visible lesion}.
        written: False when an identical phantom was there already.
    """

    root: Path
    digest: str
    patients: dict[str, dict[str, int]]
    slices: int
    lesion_slices: dict[str, int]
    written: bool


@dataclass(frozen=True)
class _Job:
    """One patient to write."""

    spec: PhantomSpec
    root: Path
    site: int
    label: str
    number: int
    patient_id: str


def write_network(
    root: Path, spec: PhantomSpec, progress: Callable[[int, int], None] | None = None, workers: int = 1
) -> PhantomSummary:
    """Write the network, or find that it is there already.

    Args:
        root: A new or empty folder, or one that holds the same phantom, finished or broken off.
        spec: What to write.
        progress: Called with slices done and slices in all.
        workers: Processes; the result does not depend on it.

    Raises:
        DataRefused: The folder holds something else.
        ResourceError: A worker process died.
        UsageError: `workers` is below one, or no lesion fits into so few slices.
    """
    root = Path(root)
    if workers < 1:
        raise UsageError(f"workers={workers}", remedy="use one or more")
    found = _existing(root, spec)
    if found is not None:
        return found
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / RECORD, {"schema": 1, "state": "started", "digest": spec.digest, "spec": spec.as_dict()})
    jobs = list(_jobs(root, spec))
    labels = [(job.patient_id, job.label, spec.sites[job.site].site) for job in jobs]
    rows: list[tuple[str, str, str, int]] = []
    lesions = dict.fromkeys(spec.classes, 0)
    for done, (job, slices) in enumerate(zip(jobs, _run(jobs, workers), strict=True), start=1):
        rows += [(spec.sites[job.site].site, job.patient_id, uid, seen) for uid, seen in slices]
        lesions[job.label] += sum(seen for _, seen in slices)
        if progress is not None:
            progress(done * spec.slices_per_patient, spec.slices)
    labels = faults.plant(root, spec.faults, labels, spec.seed)
    _write_csv(root / "labels.csv", ("patient", "label", "site"), sorted(labels, key=lambda r: (r[2], r[0])))
    _write_csv(root / "slices.csv", ("site", "patient", "sop_instance_uid", "slice_label"), sorted(rows))
    write_json(
        root / RECORD,
        {"schema": 1, "state": "finished", "digest": spec.digest, "spec": spec.as_dict(), "slices": spec.slices,
         "lesion_slices": lesions},
    )  # fmt: skip
    return PhantomSummary(root, spec.digest, spec.as_dict()["patients"], spec.slices, lesions, True)


def _existing(root: Path, spec: PhantomSpec) -> PhantomSummary | None:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    remedy = "name an empty folder, or remove this one"
    if not root.is_dir() or not (root / RECORD).is_file():
        raise DataRefused("the folder is not empty and holds no phantom", where=str(root), remedy=remedy)
    record = read_json(root / RECORD)
    if not isinstance(record, dict) or record.get("digest") != spec.digest:
        raise DataRefused("the folder holds another phantom", where=str(root), remedy=remedy)
    if record.get("state") != "finished":
        return None  # broken off: the same bytes are written again
    return PhantomSummary(
        root, spec.digest, spec.as_dict()["patients"], int(record["slices"]), dict(record["lesion_slices"]), False
    )


def _jobs(root: Path, spec: PhantomSpec) -> Iterator[_Job]:
    counts = spec.as_dict()["patients"]
    for site, scanner in enumerate(spec.sites):
        people = [(label, k) for label in spec.classes for k in range(counts[scanner.site][label])]
        g = np.random.default_rng(np.random.SeedSequence([spec.seed, 1, site]))
        numbers = g.permutation(len(people)) + 1
        for (label, k), number in zip(people, numbers, strict=True):
            yield _Job(spec, root, site, label, k, f"{scanner.site.upper().replace('_', '')}-{number:04d}")


def _run(jobs: list[_Job], workers: int) -> Iterator[list[tuple[str, int]]]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_write_patient, jobs)
        return
    # spawn: a forked copy of a process that runs threads (torch, progress bars) may hang
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
            yield from pool.map(_write_patient, jobs)
    except BrokenProcessPool:
        raise ResourceError(
            "a worker process of the phantom died or could not start",
            remedy='use workers=1; a script that asks for more needs `if __name__ == "__main__":`',
        ) from None


def _sample(job: _Job) -> tuple[Patient, list[Any]]:
    """A patient and all slices; a diseased patient without a visible lesion is drawn again."""
    spec, scanner = job.spec, job.spec.sites[job.site]
    smallest = _SEEN_MM2 / (scanner.field_mm / spec.size) ** 2
    for attempt in range(12):
        entropy = [spec.seed, 2, job.site, FU2020.index(job.label), job.number, attempt]
        patient = Patient(
            np.random.SeedSequence(entropy), job.label, scanner, spec.size, spec.slices_per_patient, spec.difficulty,
            spec.lesion_slice_fraction,
        )  # fmt: skip
        slices = [patient.slice(n) for n in range(spec.slices_per_patient)]
        if job.label == "normal" or any(s.lesion.sum() >= max(smallest, 2) for s in slices):
            return patient, slices
    raise UsageError(
        f"no visible lesion of {job.label} in {spec.slices_per_patient} slices after 12 tries",
        remedy="use more slices per patient, a larger lesion_slice_fraction or less difficulty",
    )


def _write_patient(job: _Job) -> list[tuple[str, int]]:
    """Write one series and its masks; gives (SOPInstanceUID, slice label) from the apex downwards."""
    spec, scanner = job.spec, job.spec.sites[job.site]
    patient, slices = _sample(job)
    g = np.random.default_rng(np.random.SeedSequence([spec.seed, 3, job.site, FU2020.index(job.label), job.number]))
    is_first = job.label == spec.classes[0]
    day = date(2015, 1, 1) + timedelta(days=faults.day_with(spec.faults, int(g.integers(0, 366 * 6 - 10)), is_first))
    clock = f"{int(g.integers(7, 20)):02d}{int(g.integers(60)):02d}{int(g.integers(60)):02d}"
    body = patient.body
    facts = SeriesFacts(
        spec.digest, job.patient_id, "F" if body.female else "M", body.age_years, day.strftime("%Y%m%d"), clock,
        patient.step_mm,
    )  # fmt: skip
    # the couch stands differently for everyone: the body's axes are shifted into the scanner's
    shift_y, top_z = float(np.round(g.uniform(-160, -120), 1)), float(np.round(g.uniform(-80, 60), 1))
    corner = (float(patient.grid.x_axis[0]), float(patient.grid.y_axis[0]) + shift_y)
    scanner = faults.scanner_with(spec.faults, scanner, is_first)
    writer = SeriesWriter(facts, scanner, spec.size, corner)
    folder = job.root / scanner.site / job.patient_id / f"CT_{scanner.kernel}_{scanner.thickness_mm:g}mm"
    folder.mkdir(parents=True, exist_ok=True)
    n = len(slices)
    names = g.permutation(n) if scanner.shuffled_files else np.arange(n)
    tagged = isinstance(spec.shortcut, Shortcut) and spec.shortcut.tagged(
        job.label, job.number, spec.as_dict()["patients"][scanner.site][job.label], [spec.seed, 4, job.site]
    )
    smallest = max(_SEEN_MM2 / (scanner.field_mm / spec.size) ** 2, 2)
    result = []
    for k, one in enumerate(slices):
        instance = n - k if scanner.feet_first_order else k + 1
        writer.write(folder / f"{int(names[k]) + 1:03d}.dcm", one.hu, k, instance, top_z - patient.step_mm * k, tagged)
        result.append((writer.uid(k), int(one.lesion.sum() >= smallest)))
    masks = job.root / "masks" / scanner.site / f"{job.patient_id}.npz"
    masks.parent.mkdir(parents=True, exist_ok=True)
    with masks.open("wb") as stream:
        np.savez_compressed(
            stream,
            mask=np.stack([s.lesion for s in slices]).astype(np.uint8),
            sop_instance_uid=np.array([uid for uid, _ in result]),
        )
    return result


def _write_csv(path: Path, header: tuple[str, ...], rows: list[Any]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
