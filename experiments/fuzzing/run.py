"""Damaged files for as long as one likes: what `ingest` says to them, how long it takes and how much memory.

CI tries the same cases each time (tests/hostile); this tries new ones, keeps those that break the invariant, and writes
the counts.

    python -m experiments.fuzzing.run --minutes 15 --out fuzzing
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.hostile.fuzzers import FUZZERS
from tests.hostile.scan_fuzzer import ScanFuzzer
from tests.hostile.scans import scans

BATCH = 500
TABLES = 40


def feed(cases: st.SearchStrategy[Any], check: Any, number: int, examples: int = BATCH) -> int:
    """Give so many cases of a strategy to a check; returns how many were given."""
    given_cases = 0

    @settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @seed(number)
    @given(cases)
    def one(case: Any) -> None:
        nonlocal given_cases
        given_cases += 1
        check(case)

    one()
    return given_cases


def fuzz_scans(minutes: float, out: Path, start: int) -> dict[str, Any]:
    """Scans. Cases that break the invariant are written to `out`, once for each way of breaking it."""
    fuzzer, files, broken = ScanFuzzer(), 0, {}
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as folder:

        def check(content: bytes) -> None:
            if time.monotonic() > end:
                return
            nonlocal files
            files += 1
            try:
                fuzzer.check(Path(folder), content)
            except AssertionError as error:
                why = (str(error) or repr(error)).splitlines()[0]
                if why not in broken:
                    name = hashlib.sha256(content).hexdigest()[:12]
                    (out / name).write_bytes(content)
                    print(f"{why}  ->  {out / name}", flush=True)
                broken[why] = broken.get(why, 0) + 1

        number = start
        while time.monotonic() < end:
            feed(scans(), check, number)
            number += 1
            print(f"{files} files, {len(fuzzer.outcomes)} outcomes, {sum(broken.values())} broken", flush=True)
    fuzzer.close()
    return {
        "files": files,
        "broken": broken,
        "slowest_seconds": round(fuzzer.seconds, 2),
        "largest_mib": round(fuzzer.mib),
        "outcomes": dict(fuzzer.outcomes.most_common()),
    }


def fuzz_tables(minutes: float, out: Path, start: int) -> dict[str, Any]:
    """Labels, splits, indexes, publications and words of the command line, in turn."""
    counts = dict.fromkeys(FUZZERS, 0)
    broken: dict[str, int] = {}
    end = time.monotonic() + 60 * minutes
    number = start
    while time.monotonic() < end:
        for name, fuzzer in FUZZERS.items():
            with tempfile.TemporaryDirectory() as folder:

                def check(case: Any, name: str = name, fuzzer: Any = fuzzer, folder: str = folder) -> None:
                    if time.monotonic() > end:
                        return
                    counts[name] += 1
                    try:
                        fuzzer.check(Path(folder), case)
                    except Exception as error:
                        why = f"{name}: {type(error).__name__}"
                        if why not in broken:
                            place = out / hashlib.sha256(repr(case).encode()).hexdigest()[:12]
                            place.write_text(repr(case))
                            print(f"{why}  ->  {place}", flush=True)
                        broken[why] = broken.get(why, 0) + 1

                feed(fuzzer.cases, check, number, TABLES)
        number += 1
    return {"cases": counts, "broken": broken}


def main() -> None:
    """Run, and write `counts.json` into the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0, help="of scans; a tenth of it more for tables")
    parser.add_argument(
        "--out", type=Path, default=Path("fuzzing"), help="folder for the counts and for cases that fail"
    )
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run; a new one is drawn otherwise")
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    number = random.SystemRandom().randrange(10**9) if words.seed is None else words.seed
    counts = {
        "seed": number,
        "minutes": words.minutes,
        "scans": fuzz_scans(words.minutes, words.out, number),
        "tables": fuzz_tables(words.minutes / 10, words.out, number),
    }
    (words.out / "counts.json").write_text(json.dumps(counts, indent=2) + "\n")
    print(json.dumps(counts, indent=2))


if __name__ == "__main__":
    main()
