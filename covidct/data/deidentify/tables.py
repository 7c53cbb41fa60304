"""`labels.csv` and `slices.csv` of the dicom_tree layout, with pseudonyms, so that a clean folder can be indexed."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from covidct.data.deidentify.keyed import Keyed
from covidct.data.deidentify.options import Options
from covidct.data.deidentify.originals import Original
from covidct.data.sources.labels_file import read_labels, read_slice_labels
from covidct.files import replacing

TABLES = ("labels.csv", "slices.csv", "phantom.json", "index.parquet", "index.json", "measures.parquet")
"""Files of a data folder that are no scans."""


def sites_of(labels: Path | None) -> dict[str, tuple[str, ...]]:
    """Patient number -> sites.

    Raises:
        DataRefused: The labels have bad lines (all are listed).
    """
    return read_labels(labels, None).sites_of if labels is not None else {}


def rewrite_tables(labels: Path, output: Path, keyed: Keyed, options: Options) -> list[str]:
    """Write the tables with the known columns only, sorted by pseudonym: the order of people tells something too.

    Returns:
        The names of the tables written.

    Raises:
        DataRefused: `slices.csv` has bad lines (all are listed).
    """

    def site_name(site: str) -> str:
        return site if options.sites == "keep" else keyed.site(site)

    rows = sorted(
        {(keyed.patient(row["site"], row["patient"]), row["label"], site_name(row["site"])) for row in _rows(labels)}
    )
    _write(output / "labels.csv", ("patient", "label", "site"), rows)
    slices = labels.with_name("slices.csv")
    if not slices.is_file():
        return ["labels.csv"]
    read_slice_labels(slices)  # tells all bad lines at once
    found = []
    for row in _rows(slices):
        site, patient = row.get("site", ""), row.get("patient", "")
        found.append(
            (
                site_name(site) if site else "",
                keyed.patient(site, patient) if patient else "",
                keyed.uid(row["sop_instance_uid"]),
                row["slice_label"],
            )
        )
    _write(output / "slices.csv", ("site", "patient", "sop_instance_uid", "slice_label"), sorted(found))
    return ["labels.csv", "slices.csv"]


def values_of_tables(labels: Path, options: Options) -> set[Original]:
    """What the tables say about people and sites, also of people without a file."""
    found = set()
    for row in _rows(labels):
        found.add(Original("id", row["patient"]))
        if options.sites == "pseudonym":
            found.add(Original("site", row["site"]))
    slices = labels.with_name("slices.csv")
    if slices.is_file():
        found |= {Original("uid", row["sop_instance_uid"]) for row in _rows(slices)}
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, skipinitialspace=False)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        return [row for row in reader if any((cell or "").strip() for cell in row.values())]


def _write(path: Path, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
