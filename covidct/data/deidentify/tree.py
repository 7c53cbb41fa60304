"""A whole folder through de-identification: several processes, resumable, with a private record beside the output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from covidct import __version__
from covidct.ct.phantom.network import RECORD as PHANTOM
from covidct.data.deidentify.keyed import Keyed
from covidct.data.deidentify.one_file import CLEAN, REFUSED, Job, Outcome, one_file
from covidct.data.deidentify.options import Options
from covidct.data.deidentify.private import Private
from covidct.data.deidentify.table import EDITION
from covidct.data.deidentify.tables import TABLES, rewrite_tables, sites_of, values_of_tables
from covidct.data.indexing.limits import Limits, limited
from covidct.data.indexing.reading import clean_processes, find_files
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.files import read_json, write_json

RECORD = "deidentification.json"
"""In the output: what was done, without a word of what was there before."""

_CHUNK = 8
_LIMITS = Limits()


@dataclass
class Result:
    """What became of a folder.

    Args:
        outcomes: Outcome -> number of files.
        reasons: (outcome, reason) -> number of files.
        patients: Number of people in the output.
        tables: The tables that were rewritten.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    patients: int = 0
    tables: list[str] = field(default_factory=list)


def deidentify_tree(
    root: Path,
    output: Path,
    private: Path,
    *,
    key: bytes,
    options: Options,
    labels: Path | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """De-identify every DICOM image below a folder.

    Args:
        root: The scans; nothing is written there.
        output: Where the clean files go: empty, new, or begun by the same command.
        private: Where quarantine, the list of what became of each file and the original values go (mode 0700).
        key: The secret.
        options: What is kept.
        labels: `labels.csv` of the dicom_tree layout; by default the one in `root`, if there is one.
        workers: Processes.
        progress: Told (files done, files in all).

    Raises:
        UsageError: A folder lies inside another, the key inside the output, or the output is not ours.
        DataRefused: There is no such folder, it holds no file, or the tables have bad lines.
        IntegrityError: The output was begun with another key or other options.
    """
    root, output, private = Path(root), Path(output), Path(private)
    check_places(root, output, private)
    labels = labels or (root / "labels.csv" if (root / "labels.csv").is_file() else None)
    job = Job(root, output, key, options, sites_of(labels))
    found = sorted((path, reason) for path, reason, *_ in find_files(root) if path not in TABLES)
    if not found:
        raise DataRefused("there is no file in the folder", where="input")
    begun = {"program": "covidct deidentify", "version": __version__, "standard": f"DICOM PS3.15 {EDITION} Annex E",
             "options": options.record(), "methods": [list(code) for code in options.codes],
             "key": Keyed(key).fingerprint()}  # fmt: skip
    _begin(output, begun)
    record = Private(private)
    known = record.known(root, output)
    result = Result()
    patients: set[str] = set()
    done = 0

    def settle(outcome: Outcome, *, new: bool = True) -> None:
        nonlocal done
        if new:
            record.add(root, outcome)
        result.outcomes[outcome.outcome] += 1
        result.reasons[outcome.outcome, outcome.reason] += 1
        if outcome.outcome == CLEAN:
            patients.add(outcome.output.split("/", 1)[0])
        done += 1
        if progress is not None:
            progress(done, len(found))

    todo: list[str] = []
    for path, reason in found:
        if reason:
            settle(Outcome(path, REFUSED, reason))
        elif path in known:
            settle(known[path], new=False)
        else:
            todo.append(path)
    for outcome in _outcomes(job, todo, workers):
        settle(outcome)
    result.patients = len(patients)
    if labels is not None:
        record.add_values(values_of_tables(labels, options))
    result.tables = rewrite_tables(labels, output, Keyed(key), options) if labels is not None else []
    if (root / PHANTOM).is_file():  # what is synthetic must stay known as synthetic
        write_json(output / PHANTOM, {"synthetic": True})
    record.finish()
    counts = {"files": dict(result.outcomes), "patients": len(patients), "tables": result.tables}
    write_json(output / RECORD, begun | {"finished": True, **counts})
    return result


def check_places(root: Path, output: Path, private: Path, key: Path | None = None) -> None:
    """Refuse folders in each other, and a key that would travel with the scans.

    Raises:
        UsageError: See above.
        DataRefused: There is no such folder of scans.
    """
    if not root.is_dir():
        raise DataRefused("the folder of scans does not exist", where="input", remedy="give input=FOLDER")
    places = {"input": root.resolve(), "output": output.resolve(), "private": private.resolve()}
    for one in places:
        for other in places:
            if one != other and places[one].is_relative_to(places[other]):
                raise UsageError(
                    f"{one} lies inside {other}", where=one, remedy="give folders beside each other, not in each other"
                )
    for name in ("input", "output"):
        if key is not None and key.resolve().is_relative_to(places[name]):
            raise UsageError(
                f"the key would lie in the {name} folder",
                where="key",
                remedy="keep it elsewhere: who has it can undo the pseudonyms",
            )


def _begin(output: Path, begun: dict[str, Any]) -> None:
    path = output / RECORD
    if path.is_file():
        before = read_json(path)
        changed = [name for name, value in begun.items() if before.get(name) != value]
        if changed:
            raise IntegrityError(
                f"the output was begun with another {', '.join(changed)}",
                where="output",
                remedy="give a new folder as output=, or use the same key and options",
            )
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError("the output folder is not empty and not ours", where="output", remedy="give a new folder")
    write_json(path, begun | {"finished": False})


def _outcomes(job: Job, paths: Sequence[str], workers: int) -> Iterator[Outcome]:
    """In the order they are done. A file that takes its process down is found and refused."""
    done: set[str] = set()
    for outcome in _in_processes(job, [tuple(paths[at : at + _CHUNK]) for at in range(0, len(paths), _CHUNK)], workers):
        done.add(outcome.path)
        yield outcome
    for path in [path for path in paths if path not in done]:
        alone = list(_in_processes(job, [(path,)], 1))
        yield from alone or [Outcome(path, REFUSED, "reading it takes its process down")]


def _in_processes(job: Job, chunks: Sequence[tuple[str, ...]], workers: int) -> Iterator[Outcome]:
    if not chunks:
        return
    with clean_processes(min(workers, len(chunks))) as pool:
        futures = [pool.submit(_chunk, job, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield from future.result()
        except BrokenProcessPool:
            return
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _chunk(job: Job, paths: tuple[str, ...]) -> list[Outcome]:
    found = []
    for path in paths:
        size = 0
        with suppress(OSError):  # gone meanwhile: `one_file` says so
            size = (job.root / path).stat().st_size
        with limited(size, _LIMITS, may_end=True):
            found.append(one_file(job, path))
    return found
