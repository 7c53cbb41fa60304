"""The same damaged scans each time (D.5); `experiments/fuzzing` tries new ones for as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from covidct.ct.ingest import Record
from tests.hostile.scan_fuzzer import ScanFuzzer, judge, reasons
from tests.hostile.scans import scans, seeds


def test_seeds_are_valid_and_many(tmp_path):
    fuzzer = ScanFuzzer()
    for content in seeds().values():
        fuzzer.check(tmp_path, content)
    fuzzer.close()
    assert fuzzer.outcomes == {"accepted": len(seeds())}
    assert len(seeds()) >= 30


def test_damaged_scans_are_accepted_or_refused_and_nothing_else(tmp_path: Path):
    fuzzer = ScanFuzzer()

    @settings(
        max_examples=1500, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(scans())
    def one(content: bytes) -> None:
        fuzzer.check(tmp_path, content)

    one()
    fuzzer.close()
    assert fuzzer.outcomes["accepted"] > 50, "nothing but refusals would prove little"
    assert len(fuzzer.outcomes) > 25


@pytest.mark.parametrize(
    "reason", ["division by zero", "modality ZQX, not CT", "cannot be read (ValueError)", "damaged DICOM file (b'ZQX')"]
)
def test_the_judge_finds_what_must_not_be_said(reason):
    with pytest.raises(AssertionError):
        judge(Record("x", reason))


def test_reasons_are_read_from_the_source():
    assert reasons().fullmatch("modality MR, not CT")
    assert reasons().fullmatch("blank: one value everywhere")
