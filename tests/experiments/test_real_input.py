"""The files that come with pydicom, each with the verdict that was looked at and kept (experiments/real_input)."""

import csv

from experiments.real_input.table import HERE, absent, of_pydicom


def test_pydicoms_own_files_keep_their_verdicts():
    with (HERE / "pydicom.csv").open(newline="") as stream:
        kept = {row["file"]: (row["outcome"], row["reason"]) for row in csv.DictReader(stream)}
    found = {one.file: (one.outcome, one.reason) for one in of_pydicom()}
    assert len(found) > 180
    assert {name: verdict for name, verdict in found.items() if name in kept} == {
        name: verdict for name, verdict in kept.items() if name in found
    }
    assert len(found.keys() & kept.keys()) > 180, "another pydicom brings other files: make the table anew"
    assert sum(outcome == "accepted" for outcome, _ in found.values()) == 7
    assert {one.outcome for one in absent()} <= {"absent"}
