"""One picture, one study, one series under two labels or two patients: of the whole data set, whatever the split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from covidct.data.audit.findings import CLEAN, ERROR, NOT_DONE, NOTE, WARNING, Finding
from covidct.data.audit.frozen import Frozen
from covidct.data.audit.partitions import SHOWN, overlap_status
from covidct.data.audit.twins import COPY, Twin, Twins
from covidct.data.leaks import number, shared_uids, some
from covidct.data.table import SliceTable

_LOOK = "look at the pairs on the page; find the files by slice_key in index.parquet, then index and split again"


def audit_pictures(table: SliceTable) -> list[Finding]:
    """Equal pixels under two labels or two patients, and studies or series of two patients."""
    rows = table.accepted
    by_pixels = rows.groupby("pixel_hash")
    labels = by_pixels["label"].nunique()
    two_labels = labels.index[labels > 1]
    people = by_pixels["patient_key"].nunique()
    two_people = people.index[people > 1]
    refused = table.rejected
    copies = refused[refused["reason"] == COPY]
    findings = [_equal("pixels_two_labels", ERROR, rows, two_labels, "label",
                       "decide which label is right, or take these patients out of the labels")]  # fmt: skip
    if len(copies) and not len(two_people):
        patients = sorted(copies["patient_key"].dropna().unique())
        findings.append(Finding(
            "pixels_two_patients", WARNING,
            f"{number(len(copies), 'picture')} of {number(len(patients), 'patient')} ({some(patients)}) came a second "
            "time under another patient; the index kept one of each. They may be one person under two numbers.",
            "find out whether they are one person; if so, give both the same number, then index and split again",
            {"pictures": len(copies), "patients": len(patients)},
            details=[{"patient": key} for key in patients[:SHOWN]],
        ))  # fmt: skip
    else:
        findings.append(_equal("pixels_two_patients", ERROR, rows, two_people, "patient",
                               "a scan exported twice? keep one of them, then index and split again"))  # fmt: skip
    return [*findings, _shared(rows)]


def _equal(check: str, status: str, rows: pd.DataFrame, hashes: pd.Index, what: str, remedy: str) -> Finding:
    counts: dict[str, float | int | None] = {"pictures": len(hashes), "of": len(rows)}
    if not len(hashes):
        return Finding(check, CLEAN, f"No picture is under two {what}s.", counts=counts)
    found = rows[rows["pixel_hash"].isin(hashes)]
    patients = sorted(found["patient_key"].unique())
    details = [{"slices": sorted(group["slice_key"]), "patients": sorted(group["patient_key"].unique()),
                "labels": sorted(group["label"].dropna().unique())}
               for _, group in list(found.groupby("pixel_hash"))[:SHOWN]]  # fmt: skip
    sentence = f"{number(len(hashes), 'picture')} under two {what}s, pixel by pixel (patients {some(patients)})."
    return Finding(check, status, sentence, remedy, counts | {"patients": len(patients)}, details=details)


def _shared(rows: pd.DataFrame) -> Finding:
    studies, series = shared_uids(rows, "study_key"), shared_uids(rows, "series_key")
    counts: dict[str, float | int | None] = {"studies": len(studies), "series": len(series)}
    if not studies and not series:
        return Finding("study_two_patients", CLEAN, "No study and no series is under two patients.", counts=counts)
    shared = {**studies, **series}
    patients = sorted({patient for people in shared.values() for patient in people})
    sites = rows[rows["patient_key"].isin(patients)].groupby("patient_key")["site"].first()
    details = [{"key": key, "patients": people, "sites": [str(sites[one]) for one in people]}
               for key, people in sorted(shared.items())[:SHOWN]]  # fmt: skip
    across = sum(len({str(sites[one]) for one in people}) > 1 for people in shared.values())
    return Finding(
        "study_two_patients", ERROR,
        f"{len(studies)} {'study' if len(studies) == 1 else 'studies'} and {len(series)} series are under two patients "
        f"({some(patients)}), {across} of them at two sites: one person under two numbers?",
        "if they are one person, give both the same number and site in the data, then index and split again",
        counts | {"patients": len(patients), "across_sites": across}, details=details,
    )  # fmt: skip


def audit_twins(twins: Twins | None, splits: Sequence[Frozen]) -> list[Finding]:
    """Near-duplicates under two patients, under two labels, and in two parts of each split."""
    names = ("near_duplicate_two_patients", "near_duplicate_two_labels")
    if twins is None:
        return [Finding(name, NOT_DONE, "The slices were fingerprinted by an earlier version, or not at all.",
                        "run `covidct index` again") for name in names]  # fmt: skip
    frame = twins.frame
    labels, sites = frame["label"].to_numpy(dtype=object), frame["site"].to_numpy(dtype=object)

    def other_labels(twin: Twin) -> bool:
        return pd.notna(labels[twin.one]) and pd.notna(labels[twin.other]) and labels[twin.one] != labels[twin.other]

    across = sum(sites[twin.one] != sites[twin.other] for twin in twins.pairs)
    findings = [
        _pairs("near_duplicate_two_patients", WARNING, twins, lambda _: True, "under two patients",
               "one person under two numbers, or a picture filed twice?", extra={"across_sites": across}),
        _pairs("near_duplicate_two_labels", ERROR, twins, other_labels, "under two labels",
               "one of the two labels is wrong for this picture.", extra={}),
    ]  # fmt: skip
    for frozen in splits:
        part_of = {str(key): part for part, rows in frozen.parts.items() for key in rows["slice_key"]}
        parts = [part_of.get(str(key)) for key in frame["slice_key"]]

        def apart(twin: Twin, parts: list[str | None] = parts) -> bool:
            one, other = parts[twin.one], parts[twin.other]
            return one is not None and other is not None and one != other

        findings.append(_pairs(
            "near_duplicate_overlap", overlap_status(frozen), twins, apart, "in two parts",
            "the network is tested on what it has seen.", extra={}, frozen=frozen, parts=parts,
        ))  # fmt: skip
    return findings


def _pairs(
    check: str,
    status: str,
    twins: Twins,
    wanted: Callable[[Twin], bool],
    where: str,
    why: str,
    *,
    extra: dict[str, float | int | None],
    frozen: Frozen | None = None,
    parts: Sequence[str | None] | None = None,
) -> Finding:
    """An error or warning where pairs are the same picture, a note where they only may be: strangers are alike, too."""
    pairs = [twin for twin in twins.pairs if wanted(twin)]
    same = sum(twin.is_same for twin in pairs)
    counts: dict[str, float | int | None] = {
        "same": same, "alike": len(pairs) - same, "candidates": twins.candidates, "compared": twins.compared,
        "unreadable": twins.unreadable, **extra,
    }  # fmt: skip
    facts: dict[str, Any] = {"split": frozen.name, "split_digest": frozen.split.digest} if frozen else {}
    lead = f"{frozen.name}: " if frozen else ""
    left = twins.candidates - twins.compared
    rest = f" {left} of {twins.candidates} candidates were not compared." if left else ""
    if not pairs:
        said_of = f"{lead}no near-duplicates {where}; {twins.compared} candidate pairs compared.{rest}"
        return Finding(check, CLEAN, said_of, counts=counts, **facts)
    frame = twins.frame
    patients = sorted({str(frame["patient_key"].iloc[row]) for twin in pairs for row in (twin.one, twin.other)})
    said = [f"{number(same, 'pair')} of the same picture"] if same else []
    said += [f"{number(len(pairs) - same, 'pair')} so alike that somebody must look"] if len(pairs) > same else []
    if not same:
        why = f"if they are one picture, {why}"
    return Finding(
        check, status if same else NOTE,
        f"{lead}{' and '.join(said)} {where} (patients {some(patients)}): {why}{rest}", _LOOK,
        counts | {"patients": len(patients)}, details=[_detail(twin, frame, parts) for twin in pairs[:SHOWN]], **facts,
    )  # fmt: skip


def _detail(twin: Twin, frame: pd.DataFrame, parts: Sequence[str | None] | None) -> dict[str, Any]:
    rows = [frame.iloc[row] for row in (twin.one, twin.other)]
    return {
        "slices": [None if pd.isna(row["slice_key"]) else str(row["slice_key"]) for row in rows],
        "patients": [str(row["patient_key"]) for row in rows],
        "sites": [str(row["site"]) for row in rows],
        "labels": [None if pd.isna(row["label"]) else str(row["label"]) for row in rows],
        "parts": None if parts is None else [parts[twin.one], parts[twin.other]],
        "bits": twin.bits,
        "likeness": twin.likeness,
        "same": twin.is_same,
    }
