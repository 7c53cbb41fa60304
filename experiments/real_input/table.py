"""Every real file at hand: accepted or refused, why, and in what time.

pydicom's own test files (those in its package; those it would download are listed as absent), one CT slice in 15
transfer syntaxes with odd companions, COVID-CT-MD and UCSD COVID-CT. Each file is read as an index reads it, in a
process with limits; whole data sets are summed up in one line for each outcome.

    python -m experiments.real_input.table --shared ../shared/data
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pydicom.data

from covidct.ct.ingest import Record
from covidct.data.indexing import reading
from covidct.data.indexing.limits import Limits
from covidct.data.indexing.reads import Reading, unpack

KINDS = ("dicom", "nifti", "png", "jpeg")
HERE = Path(__file__).resolve().parent
PYDICOM = Path(pydicom.data.__file__).parent
SUITES = ("dicom_transfer_syntax_suite",)
SETS = ("covid_ct_md", "ucsd_covid_ct")
CRASHED = "the decoder crashed"


@dataclass(frozen=True)
class Verdict:
    """What became of one file.

    Args:
        file: Its path in its collection.
        outcome: `"accepted"`, `"refused"`, or `"absent"` for a file that pydicom would download.
        reason: Why it was refused; of an accepted file, what it is.
        seconds: Time on the clock, reading and measuring.
    """

    file: str
    outcome: str
    reason: str
    seconds: float


def verdicts(root: Path) -> list[Verdict]:
    """All files below a folder, in order."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    found = []
    pool = reading.clean_processes(1)
    pool.submit(time.time).result()
    for name in names:
        start = time.monotonic()
        try:
            [one] = pool.submit(reading._read_chunk, root, (name,), KINDS, Limits()).result()
        except BrokenProcessPool:
            pool = reading.clean_processes(1)
            one = Reading(name, reading.pack([Record(name, CRASHED)]), None)
        found.append(_verdict(name, unpack(name, one.records), time.monotonic() - start))
    pool.shutdown()
    return found


def _verdict(name: str, records: list[Record], seconds: float) -> Verdict:
    good = [record for record in records if not record.reason]
    if not good:
        reasons = Counter(record.reason for record in records)
        return Verdict(name, "refused", "; ".join(reasons), seconds)
    first = good[0]
    words = [f"{first.rows} x {first.cols} {first.units}", *(["lossy"] if first.lossy else [])]
    if len(records) > 1:
        words.append(f"{len(good)} of {len(records)} frames")
    return Verdict(name, "accepted", ", ".join(words), seconds)


def of_pydicom() -> list[Verdict]:
    """The files that come with pydicom."""
    return [
        Verdict(f"{kind}/{one.file}", one.outcome, one.reason, one.seconds)
        for kind in ("test_files", "charset_files", "palettes")
        for one in verdicts(PYDICOM / kind)
    ]


def absent() -> list[Verdict]:
    """pydicom's test files that are not in its package, by the list that is."""
    names = json.loads((PYDICOM / "urls.json").read_text())
    there = {path.name for path in PYDICOM.rglob("*")}
    return [Verdict(name, "absent", "pydicom would download it", 0.0) for name in sorted(names) if name not in there]


def summed(found: list[Verdict]) -> list[Verdict]:
    """One line for each outcome, with the number of files in place of a name."""
    groups: dict[tuple[str, str], list[float]] = {}
    for one in found:
        words = one.reason.split(" x ")[0] if one.outcome == "refused" else one.reason.split(" ", 3)[-1]
        groups.setdefault((one.outcome, words), []).append(one.seconds)
    return [
        Verdict(f"{len(seconds)} files", outcome, words, sum(seconds) / len(seconds))
        for (outcome, words), seconds in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def write(name: str, found: list[Verdict], folder: Path) -> None:
    """The table as Markdown on the screen and as CSV in a folder."""
    print(f"\n| {name} | | why, or what it is | seconds |\n|---|---|---|---|")
    for one in found:
        print(f"| {one.file} | {one.outcome} | {one.reason} | {one.seconds:.3f} |")
    with (folder / f"{name}.csv").open("w", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["file", "outcome", "reason", "seconds"])
        rows.writerows([one.file, one.outcome, one.reason, f"{one.seconds:.3f}"] for one in found)


def main() -> None:
    """Write all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="folder of the data sets; may be absent"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="where the CSV files go")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    write("pydicom", of_pydicom() + absent(), words.out)
    for name in SUITES:
        if (words.shared / name).is_dir():
            write(name, verdicts(words.shared / name), words.out)
    for name in SETS:
        if (words.shared / name).is_dir():
            write(name, summed(verdicts(words.shared / name)), words.out)


if __name__ == "__main__":
    main()
