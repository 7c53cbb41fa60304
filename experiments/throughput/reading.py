"""How fast a folder is read: ours beside plain pydicom and MONAI's loader, and an index beside the one made again.

    python -m experiments.throughput.reading FOLDER [--workers 2] [--rounds 3] [--count 200] [--output reading.json]

All ways read the same files from warm page cache and take turns; each round begins with another way; the median round
counts. They do not do the same: the plain loop and MONAI give an array and forget it. Our index checks the header,
decodes, makes Hounsfield units, hashes the pixels, finds body and lungs, takes a histogram and a fingerprint, limits
time and memory, and writes down what it found.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import covidct  # noqa: F401  (first: it lets torchvision import beside a CPU torch)

# isort: split
import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut

from covidct.ct.read import read_slice
from covidct.data.indexing.reading import find_files, read_files
from covidct.data.indexing.reads import open_reads

Row = dict[str, Any]
KINDS = ("dicom",)


def plain(path: str) -> float:
    """The usual loop: decode, rescale."""
    dataset = pydicom.dcmread(path)
    return float(apply_modality_lut(dataset.pixel_array, dataset)[0, 0])


def monai(path: str) -> float:
    """MONAI's loader with its pydicom reader, made once in a process."""
    return float(_loader()(path)[0, 0])


@functools.cache
def _loader() -> Callable[[str], Any]:
    import warnings

    from monai.transforms import LoadImage

    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a GPU decoder that is not there
        return LoadImage(reader="PydicomReader", image_only=True, dtype=np.float32)


def ours(path: str) -> float:
    """Our reader: header checked, Hounsfield units."""
    return float(read_slice(path).pixels[0, 0])


def side_by_side(files: list[Path], root: Path, *, workers: int, rounds: int) -> list[Row]:
    """Slices per second of each way, in one process and in several."""
    names = [str(path) for path in files]
    ways: dict[str, Callable[[], object]] = {
        "pydicom, a loop": lambda: list(map(plain, names)),
        "MONAI LoadImage, a loop": lambda: list(map(monai, names)),
        "our read_slice, a loop": lambda: list(map(ours, names)),
    }
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ways |= {
            f"pydicom, {workers} processes": lambda: list(pool.map(plain, names, chunksize=16)),
            f"MONAI LoadImage, {workers} processes": lambda: list(pool.map(monai, names, chunksize=16)),
            f"our index, {workers} processes": lambda: first_reading(files, root, workers),
        }
        return _timed("read files", ways, len(files), rounds)


def first_reading(files: list[Path], root: Path, workers: int, folder: Path | None = None) -> int:
    """Read files as `covidct index` does; gives how many were opened."""
    chosen = {path.relative_to(root).as_posix() for path in files}
    with open_reads(folder, root, KINDS) as reads:
        reads.list_files(file for file in find_files(root) if file.path in chosen)
        read_files(root, reads, KINDS, workers=workers)
        return reads.files - reads.kept


def again(files: list[Path], root: Path, *, workers: int, rounds: int) -> list[Row]:
    """First reading, reading again with nothing changed, and with one file in a hundred changed."""
    with tempfile.TemporaryDirectory() as name:
        root = _copied(files, root, Path(name) / "scans")
        files = sorted(path for path in root.rglob("*") if path.is_file())
        few = files[: max(1, len(files) // 100)]
        kept = Path(name) / "reads"

        def fresh() -> None:
            for path in kept.glob("*"):
                path.unlink()
            assert first_reading(files, root, workers, kept) == len(files)

        def changed() -> None:
            old = time.time() - 86400 - np.random.default_rng().integers(1 << 20)
            for path in few:
                os.utime(path, (old, old))
            assert first_reading(files, root, workers, kept) == len(few)

        def unchanged() -> None:
            assert first_reading(files, root, workers, kept) == 0

        ways = {"first": fresh, "again, nothing changed": unchanged, f"again, {len(few)} changed": changed}
        return _timed("index", ways, len(files), rounds, turn=False)


def _copied(files: list[Path], root: Path, to: Path) -> Path:
    old = time.time() - 86400
    for path in files:
        copy = to / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (old, old))
    return to


def _timed(
    stage: str, ways: Mapping[str, Callable[[], object]], count: int, rounds: int, *, turn: bool = True
) -> list[Row]:
    """Rounds over all ways, each beginning with another one; a first round warms caches and is forgotten."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds + 1):
        shift = number % len(names) if turn else 0
        for name in names[shift:] + names[:shift]:
            began = time.perf_counter()
            ways[name]()
            if number:
                times[name].append(time.perf_counter() - began)
    first = times[names[0]]
    return [
        {
            "stage": f"{stage}, {count} slices",
            "way": name,
            "rate": count / statistics.median(taken),
            "unit": "slices/s",
            "ratio": statistics.median(a / b for a, b in zip(first, taken, strict=True)),
            "slowest_over_fastest": max(taken) / min(taken),
        }
        for name, taken in times.items()
    ]


def measure(root: Path, *, count: int, workers: int, rounds: int) -> list[Row]:
    """Both tables for the CT slices below a folder."""
    root = root.resolve()
    found = [root / file.path for file in sorted(find_files(root)) if not file.reason]
    files = [path for path in found if _is_ct(path)]
    files = files[:: max(1, len(files) // count)][:count]
    return [
        *side_by_side(files, root, workers=workers, rounds=rounds),
        *again(files, root, workers=workers, rounds=rounds),
    ]


def _is_ct(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Reading speed beside pydicom and MONAI.")
    parser.add_argument("root", type=Path, help="a folder of CT slices")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=200, help="slices that are read")
    parser.add_argument("--output", type=Path, help="results as json")
    options = parser.parse_args(words)
    load = os.getloadavg()[0]
    rows = measure(options.root, count=options.count, workers=options.workers, rounds=options.rounds)
    for row in rows:
        print(f"{row['stage']:<26}{row['way']:<34}{row['rate']:9.1f} {row['unit']}"
              f"{row['ratio']:8.2f} x{row['slowest_over_fastest']:7.1f}")  # fmt: skip
    print(f"load {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end; {os.cpu_count()} cores")
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
