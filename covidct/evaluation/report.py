"""`report.html`: one file that says what was run on what, what came out, and how far to trust it.

Made from the run folder alone (no scans, no network), with every picture and style inside, no script, and nothing that
names a patient, a machine or a folder. The same run folder always gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from covidct.evaluation import evaluations, published, sentences
from covidct.evaluation.checklists import filling
from covidct.evaluation.figures import phase_borders, phase_name, save_figures
from covidct.evaluation.pages import embedded, write_page
from covidct.evaluation.record import RunRecord, flattened, read_run
from covidct.evaluation.report_results import glance, picture, results_table, site_results, sites_compared
from covidct.evaluation.report_sections import sections_of
from covidct.evaluation.reviewer import answers
from covidct.evaluation.wording import display, percent
from covidct.files import replacing
from covidct.labels import FU2020


def write_report(run_folder: Path) -> Path:
    """Draw the figures of a run and write its report.

    Args:
        run_folder: Folder of one run: predictions.parquet and metrics.json must be there; everything else that is
            missing is said in the report.

    Returns:
        Path of `report.html` in the run folder. `tables/results.csv` holds its numbers.

    Raises:
        DataRefused: The folder, its predictions or its metrics are missing or unreadable.
        IntegrityError: Predictions and metrics do not belong together.
    """
    record = read_run(Path(run_folder))
    save_figures(record.folder)
    with replacing(record.folder / "tables" / "results.csv") as temporary:
        results_table(record.summary).to_csv(temporary, index=False, lineterminator="\n")
    for key in filling.NAMES:
        with replacing(record.folder / "tables" / f"checklist_{key}.csv") as temporary:
            rows = filling.table(filling.fill(filling.read_checklist(key), record))
            rows.to_csv(temporary, index=False, lineterminator="\n")
    return write_page("report.html.j2", record.folder / "report.html", view(record))


def view(record: RunRecord) -> dict[str, Any]:
    """Everything the template shows, as plain values ready to print."""
    further = sections_of(record)
    sections = {split: site_results(record, split) for split in ("test", "val")}
    return {
        "title": record.get("name") or record.get("experiment") or "run",
        "identity": record.predictions.get("run") or record.run.get("run"),
        "profile": record.profile,
        "divided": not record.patients_known or bool(record.leaked_patients),
        "flaws": sentences.PAPER_FLAWS,
        "synthetic": bool(record.run.get("synthetic")),
        "random_start": bool((record.get("weights") or {}).get("random_start")),
        "weights_note": _without_warning((record.get("weights") or {}).get("note")),
        "findings": sentences.findings(record),
        "glance": glance(record),
        "warnings": sentences.warnings(record),
        "facts": _facts(record),
        "flow": _flow(record),
        "training": _training(record),
        "sections": sections,
        "compared": sites_compared(record),
        "is_fu2020": record.scheme.names == FU2020,
        "impossible": [display(name) for name in published.impossible_test_rows()],
        "positive": display(record.scheme.positive) if record.scheme.positive else None,
        "rule": _rule(record.summary),
        "looks": evaluations.view(record),
        "further": further,
        "answers": [answer._asdict() for answer in answers(record, further)],
        "mistakes": _mistakes(record),
        "provenance": flattened(record.provenance),
        "predictions": flattened(record.predictions),
        "limits": sentences.limits(record),
    }


def _without_warning(note: Any) -> str | None:
    """The note on a random start without its first words, which the report prints itself."""
    if not note:
        return None
    text = str(note).removeprefix("RANDOM START: ")
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _rule(summary: Mapping[str, Any]) -> str:
    rule = summary.get("rule") or {}
    if rule.get("omitted"):
        return f"The paper's patient rule was not used: {rule['omitted']}."
    threshold = rule.get("slice_threshold")
    if threshold is None:
        return "A slice is called the class of its highest probability; no threshold."
    source = {"fixed": "fixed beforehand", "validation": "chosen on validation patients"}.get(
        str(rule.get("source")), "source not recorded"
    )
    return f"A slice is called ill only from a probability of {threshold:g} on ({source})."


# --- what was run on what ---------------------------------------------------------------------------------------------


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    weights, split = record.get("weights") or {}, record.split
    model, trained = record.get("model", "name"), record.get("model", "trainable_parameters")
    total = record.get("model", "parameters")
    share = f"{trained:,} of {total:,} ({100 * trained / total:.1f} %)" if trained and total else None
    if trained and not total:
        share = f"{trained:,}"
    windows = record.get("model", "windows") or record.get("data", "windows")
    size = record.get("model", "input") or record.get("data", "size")
    source = " · ".join(str(weights[key]) for key in ("source", "name", "note") if weights.get(key))
    unit = {"patient": "whole patients", "image": "single images (patients may leak)"}.get(split.get("unit", ""))
    leaked = record.leaked_patients
    rows = {
        "Experiment": record.get("experiment") or record.get("name"),
        "Profile": record.profile,
        "Data": (record.participants or {}).get("source") or record.get("data", "source"),
        "Model": model,
        "Input": " · ".join(
            str(part) for part in (f"{size} pixels" if isinstance(size, int) else size, _listed(windows)) if part
        ),
        "Starting weights": source or record.get("model", "weights"),
        "SHA-256 of the weights": weights.get("sha256") or record.predictions.get("weights_digest"),
        "Trainable weights": " · ".join(part for part in (record.get("model", "trainable"), share) if part),
        "Recipe": _recipe(record),
        "Split": " · ".join(str(part) for part in (split.get("name"), unit) if part),
        "Repeat and seed of the split": f"{split['repeat']} · {split['seed']}"
        if "repeat" in split and "seed" in split
        else None,
        "Patients in more than one partition": "not known to anybody"
        if not record.patients_known
        else None
        if leaked is None
        else f"{leaked:,}",
        "Epochs": _epochs(record),
        "Training time": _duration(record.get("seconds")),
        "Time for a slice": _speed(record.section("speed")),
    }
    return [(name, str(value) if value not in (None, "") else "not recorded") for name, value in rows.items()]


def _listed(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value) if value else None


def _recipe(record: RunRecord) -> str | None:
    phases = record.get("recipe", "phases")
    if not phases:
        return record.get("recipe", "name")
    return ", then ".join(phase_name(str(phase["optimizer"]), float(phase["lr"])) for phase in phases)


def _epochs(record: RunRecord) -> str | None:
    if record.history is None:
        return None
    best = record.get("best_epoch")
    return f"{len(record.history)}" + (f" · checkpoint of epoch {best}" if best is not None else "")


def _speed(found: Any) -> str | None:
    if not isinstance(found, Mapping):
        return None
    times = f"{1000 * found['io']:.0f} ms to read and prepare, {1000 * found['inference']:.0f} ms in the network"
    return f"{times} ({found['hardware']}; {found['batch_size']} at once; mean of {found['slices']})"


def _duration(seconds: Any) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _flow(record: RunRecord) -> dict[str, Any] | None:
    """The flow of participants; None when it is not recorded."""
    found = record.participants
    if found is None:
        return None
    names, refused = record.scheme.names, dict(found.get("refused") or {})
    rules = found.get("rules") or []
    for rule in rules:
        refused.pop(rule["reason"], None)
    unlabelled = found.get("unlabelled") or {"patients": 0, "slices": 0}
    sites = [_counts(site, classes, names) for site, classes in (found.get("sites") or {}).items()]
    partitions = []
    for key in sorted(
        found.get("partitions") or {}, key=lambda k: (not k.startswith("train"), k.startswith("test"), k)
    ):
        name = {"train": "Training", "val": "Validation"}.get(key, f"Test · {key.partition('/')[2] or key}")
        partitions.append(_counts(name, found["partitions"][key], names))
    return {
        "files": found.get("files_read"),
        "refused": sorted(refused.items(), key=lambda item: (-item[1], item[0])),
        "n_refused": sum(refused.values()),
        "rules": rules,
        "unlabelled": unlabelled,
        "sites": sites,
        "total": {key: sum(site[key] for site in sites) for key in ("patients", "slices")},
        "partitions": partitions,
        "classes": [display(name) for name in names],
        "leaked": record.leaked_patients,
    }


def _counts(name: str, classes: Mapping[str, Mapping[str, int]], order: tuple[str, ...]) -> dict[str, Any]:
    none = {"patients": 0, "slices": 0}
    cells = [classes.get(label, none) for label in order]
    sums = {key: sum(cell[key] for cell in cells) for key in ("patients", "slices")}
    return {"name": name, "cells": cells, **sums}


def _training(record: RunRecord) -> dict[str, Any] | None:
    if record.history is None:
        return None
    borders = [f"from epoch {b.epoch:g}: {b.after} (before: {b.before})" for b in phase_borders(record.history)]
    last = record.history.iloc[-1]
    alt = f"Four curves over {len(record.history)} epochs: accuracy and cross-entropy in training and in validation."
    if pd.notna(last.get("val_loss")):
        alt += f" Last validation cross-entropy {last['val_loss']:.3f}."
    return {"picture": picture(record, "training", alt), "borders": borders, "epochs": len(record.history)}


def _mistakes(record: RunRecord) -> list[dict[str, Any]] | None:
    """Pictures and captions of the worst mistakes; None when they were never drawn, empty when there were none."""
    if record.mistakes is None:
        return None
    entries = []
    for caption in record.mistakes:
        path = record.folder / "figures" / "mistakes" / Path(str(caption["file"])).name
        if path.is_file():
            true, called = display(caption["true"]), display(caption["called"])
            alt = f"CT slice of patient {caption['patient_key']}: {true}, called {called}"
            words = {"true": true, "called": called, "probability": percent(caption.get("probability"), 0)}
            entries.append({**caption, **words, "picture": {"data": embedded(path, "image/png"), "alt": alt}})
    return entries
