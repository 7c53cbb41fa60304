"""`report.html`: one file that says what was run on what, what came out, and how far to trust it.

Made from the run folder alone (no scans, no network), with every picture and style inside, no script, and nothing that
names a patient, a machine or a folder. The same run folder always gives the same bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

import covidct
from covidct.evaluation import published, sentences
from covidct.evaluation.figures import POOLED, class_colours, figure_name, phase_borders, phase_name, save_figures
from covidct.evaluation.record import RunRecord, flattened, read_run
from covidct.evaluation.wording import display, interval_text, percent
from covidct.files import replacing
from covidct.labels import FU2020, ClassScheme

Block = Mapping[str, Any]

COLUMNS = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
}
"""Columns of the paper's supplementary tables, with the AUC that they lack in front."""

METHODS = {
    "korn_graubard": ("", "Korn–Graubard (patients as clusters)"),
    "patient_bootstrap_bca": ("", "BCa bootstrap of patients"),
    "clopper_pearson": ("c", "Clopper–Pearson on patients: too few for a clustered interval"),
    "too few patients": ("f", "no interval: too few patients"),
    "no spread between patients": ("s", "no interval: no spread between patients"),
    "undefined": ("", "undefined"),
}
"""Mark and words for each way an interval is made, or is not."""


def write_report(run_folder: Path) -> Path:
    """Draw the figures of a run and write its report.

    Args:
        run_folder: Folder of one run: predictions.parquet and metrics.json must be there; everything else that is missing is
            said in the report.

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
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("covidct.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(view(record))
    path = record.folder / "report.html"
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def results_table(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Every estimate of metrics.json as one long table; fractions, empty where undefined."""
    rows = []
    for block in summary["blocks"]:
        place = (block["split"], block["site"], block["level"], block["aggregation"])
        for name in ("accuracy", "macro_auc", "macro_sensitivity"):
            rows.append((*place, "(all)", name, block[name]))
        for label, figures in block["per_class"].items():
            rows += [(*place, label, metric, figures[metric]) for metric in COLUMNS]
    keys = ["value", "low", "high", "method", "n_patients"]
    flat = [(*row[:-1], *((row[-1] or {}).get(key) for key in keys)) for row in rows]
    return pd.DataFrame(flat, columns=["split", "site", "level", "aggregation", "class", "metric", *keys])


def view(record: RunRecord) -> dict[str, Any]:
    """Everything the template shows, as plain values ready to print."""
    sections = {split: _sites(record, split) for split in ("test", "val")}
    return {
        "version": covidct.__version__,
        "title": record.get("name") or record.get("experiment") or "run",
        "identity": record.predictions.get("run") or record.run.get("run"),
        "profile": record.profile,
        "flaws": sentences.PAPER_FLAWS,
        "synthetic": bool(record.run.get("synthetic")),
        "random_start": bool((record.get("weights") or {}).get("random_start")),
        "weights_note": (record.get("weights") or {}).get("note"),
        "findings": sentences.findings(record),
        "glance": _glance(record),
        "warnings": sentences.warnings(record),
        "facts": _facts(record),
        "flow": _flow(record),
        "training": _training(record),
        "sections": sections,
        "compared": _compared(record),
        "is_fu2020": record.scheme.names == FU2020,
        "impossible": [display(name) for name in published.impossible_test_rows()],
        "positive": display(record.scheme.positive) if record.scheme.positive else None,
        "rule": _rule(record.summary),
        "mistakes": _mistakes(record),
        "provenance": flattened(record.provenance),
        "predictions": flattened(record.predictions),
        "limits": sentences.LIMITS,
    }


def _rule(summary: Mapping[str, Any]) -> str:
    rule = summary.get("rule") or {}
    if rule.get("omitted"):
        return f"The paper's patient rule was not used: {rule['omitted']}."
    threshold = rule.get("slice_threshold")
    if threshold is None:
        return "A slice is called the class of its highest probability; no threshold."
    source = {"fixed": "fixed beforehand", "validation": "chosen on validation patients"}.get(rule.get("source"), "")
    return f"A slice is called ill only from a probability of {threshold:g} on ({source or 'source not recorded'})."


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
    source = weights.get("source") if isinstance(weights, Mapping) else weights
    unit = {"patient": "whole patients", "image": "single images (patients may leak)"}.get(split.get("unit", ""))
    leaked = record.leaked_patients
    rows = {
        "Experiment": record.get("experiment") or record.get("name"),
        "Profile": record.profile,
        "Data": (record.participants or {}).get("source") or record.get("data", "source"),
        "Model": model,
        "Input": " · ".join(str(part) for part in (f"{size} pixels" if isinstance(size, int) else size, _listed(windows)) if part),
        "Starting weights": source or record.get("model", "weights"),
        "SHA-256 of the weights": weights.get("sha256") or record.predictions.get("weights_digest"),
        "Trainable weights": " · ".join(part for part in (record.get("model", "trainable"), share) if part),
        "Recipe": _recipe(record),
        "Split": " · ".join(str(part) for part in (split.get("name"), unit) if part),
        "Repeat and seed of the split": f"{split['repeat']} · {split['seed']}" if "repeat" in split and "seed" in split else None,
        "Patients in more than one partition": None if leaked is None else f"{leaked:,}",
        "Epochs": _epochs(record),
        "Seconds": f"{record.get('seconds'):,.0f}" if isinstance(record.get("seconds"), int | float) else None,
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


def _flow(record: RunRecord) -> dict[str, Any] | None:
    """The flow of participants; None when it is not recorded."""
    found = record.participants
    if found is None:
        return None
    names, refused = record.scheme.names, found.get("refused") or {}
    unlabelled = found.get("unlabelled") or {"patients": 0, "slices": 0}
    sites = [_counts(site, classes, names) for site, classes in (found.get("sites") or {}).items()]
    partitions = []
    for key in sorted(found.get("partitions") or {}, key=lambda k: (not k.startswith("train"), k.startswith("test"), k)):
        name = {"train": "Training", "val": "Validation"}.get(key, f"Test · {key.partition('/')[2] or key}")
        partitions.append(_counts(name, found["partitions"][key], names))
    return {
        "files": found.get("files_read"),
        "refused": sorted(refused.items(), key=lambda item: (-item[1], item[0])),
        "n_refused": sum(refused.values()),
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


# --- results ----------------------------------------------------------------------------------------------------------


def _blocks(record: RunRecord, split: str) -> list[Block]:
    return [block for block in record.summary["blocks"] if block["split"] == split]


def _sites(record: RunRecord, split: str) -> list[dict[str, Any]]:
    """One entry per site of a partition, pooled last, each with its tables and figures in reading order."""
    blocks = _blocks(record, split)
    sites = list(dict.fromkeys(block["site"] for block in blocks))
    order = list(sentences.LEVELS)
    entries = []
    for site in sorted(sites, key=lambda name: (name == POOLED, sites.index(name))):
        here = sorted(
            (b for b in blocks if b["site"] == site),
            key=lambda b: ((b["level"], b["aggregation"]) == ("slice", "argmax"), order.index((b["level"], b["aggregation"]))),
        )
        compare = record.scheme.names == FU2020 and (site == POOLED or len(sites) == 1)
        entries.append(
            {
                "name": sentences.site_name(site),
                "anchor": f"{split}-{figure_name('site', here[0]).split('_')[2]}",
                "pooled": site == POOLED,
                "patients": max(block["n_patients"] for block in here),
                "slices": max(block["n_slices"] for block in here),
                "blocks": [_block(record, block, compare and block["level"] == "slice") for block in here],
            }
        )
    return entries


def _block(record: RunRecord, block: Block, compare: bool) -> dict[str, Any]:
    scheme = record.scheme
    rows = published.published_rows(block["split"]) if compare else {}
    impossible = published.impossible_test_rows() if block["split"] == "test" else ()
    unit = "slices" if block["level"] == "slice" else "patients"
    total, colours = block[f"n_{unit}"], class_colours(scheme.names)
    methods: dict[str, None] = {}
    classes = []
    for name in scheme.names:
        figures = block["per_class"][name]
        number = figures[f"n_positive_{unit}"]
        cells = []
        for metric in COLUMNS:
            found = figures.get(metric) or {}
            methods[str(found.get("method"))] = None
            printed = getattr(rows[name], metric, None) if name in rows else None
            if rows and metric == "auc" and name == "covid19" and block["split"] == "test":
                printed = published.TEST_AUC_COVID19
            cells.append({**_cell(found), "published": None if printed is None else f"{printed:.1f}"})
        classes.append(
            {
                "name": display(name),
                "colour": colours[name],
                "number": number,
                "patients": figures["n_positive_patients"],
                "share": percent(number / total) if total else "–",
                "cells": cells,
                "impossible": bool(rows) and name in impossible,
            }
        )
    overall = [
        ("True class found (top-1)", _cell(block["accuracy"])),
        ("Mean sensitivity over classes", _cell(block["macro_sensitivity"])),
        ("Mean AUC over classes", _cell(block["macro_auc"])),
    ]
    methods.update(dict.fromkeys(str((block[key] or {}).get("method")) for key in ("accuracy", "macro_sensitivity", "macro_auc")))
    counted = (block["macro_auc"] or {}).get("classes_counted")
    notes = [
        "; ".join(f"{mark or '·'} {words}" for mark, words in (METHODS.get(m, ("", m)) for m in sorted(methods)) if words != "undefined")
    ]
    if counted is not None and counted < len(scheme):
        notes.append(f"Mean AUC over the {counted} of {len(scheme)} classes in which it is defined.")
    scale = sentences.baseline(block, scheme.positive)
    title = sentences.LEVELS.get((block["level"], block["aggregation"]), f"{block['level']} · {block['aggregation']}")
    return {
        "title": title,
        "unit": unit,
        "n_patients": block["n_patients"],
        "n_slices": block["n_slices"],
        "n_conflict": block["n_conflict"] if block["aggregation"] == "any_slice" else None,
        "n_no_result": block["n_no_result"] if block["level"] == "patient" else None,
        "columns": list(COLUMNS.values()),
        "classes": classes,
        "overall": overall,
        "compared": bool(rows),
        "table_number": {"val": "Supplementary Table 1", "test": "Supplementary Table 2"}.get(block["split"]),
        "intervals": notes[0],
        "notes": [*notes[1:], *([scale] if scale else [])],
        "confusion": _picture(record, figure_name("confusion", block), _confusion_alt(block, scheme, title)),
        "roc": _picture(record, figure_name("roc", block), _roc_alt(block, scheme, title)),
    }


def _cell(found: Mapping[str, Any] | None) -> dict[str, str]:
    found = found or {}
    value = percent(found.get("value"))
    mark = METHODS.get(str(found.get("method")), ("", ""))[0] if value != "–" else ""
    return {"value": value, "interval": interval_text(found) if value != "–" else "", "mark": mark}


def _glance(record: RunRecord) -> dict[str, Any]:
    """The few numbers to see first: each test site at patient level."""
    positive, rows = record.scheme.positive, []
    tested = _blocks(record, "test")
    rules = [rule for rule in ("any_slice", "mean_probability") if any(b["aggregation"] == rule for b in tested)]
    for block in (b for b in tested if rules and b["aggregation"] == rules[0]):
        figures = block["per_class"][positive] if positive else {}
        cells = [_cell(block["accuracy"]), _cell(block["macro_auc"])]
        cells += [_cell(figures[metric]) for metric in ("auc", "sensitivity", "specificity")] if positive else []
        undecided = f"{block['n_conflict']} · {block['n_no_result']}"
        rows.append({"site": sentences.site_name(block["site"]), "patients": block["n_patients"],
                     "ill": figures.get("n_positive_patients"), "cells": cells, "undecided": undecided})  # fmt: skip
    name = display(positive) if positive else ""
    heads = ["True class found", "Mean AUC"]
    heads += [f"{name}: {metric}" for metric in ("AUC", "sensitivity", "specificity")] if positive else []
    rule = sentences.LEVELS["patient", rules[0]] if rules else ""
    return {"rows": rows, "heads": heads, "rule": rule, "positive": name}


# --- pictures ---------------------------------------------------------------------------------------------------------


def _picture(record: RunRecord, name: str, alt: str) -> dict[str, str] | None:
    path = record.folder / "figures" / f"{name}.svg"
    if not path.is_file():
        return None
    return {"data": _embedded(path, "image/svg+xml"), "alt": alt}


def _embedded(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _confusion_alt(block: Block, scheme: ClassScheme, title: str) -> str:
    right = sum(row[k] for k, row in enumerate(block["confusion"]))
    total = sum(sum(row) for row in block["confusion"])
    rows = "; ".join(
        f"true {display(name)}: " + ", ".join(str(count) for count in row)
        for name, row in zip(scheme.names, block["confusion"], strict=True)
    )
    columns = ", ".join(display(name) for name in block.get("confusion_columns") or scheme.names)
    return f"Confusion matrix, {title}: {right} of {total} on the diagonal. Columns called {columns}. {rows}."


def _roc_alt(block: Block, scheme: ClassScheme, title: str) -> str:
    areas = ", ".join(f"{display(name)} {percent((block['per_class'][name]['auc'] or {}).get('value'))}" for name in scheme.names)
    return f"ROC curves, {title}; AUC in percent: {areas}."


def _training(record: RunRecord) -> dict[str, Any] | None:
    if record.history is None:
        return None
    borders = [f"from epoch {b.epoch:g}: {b.after} (before: {b.before})" for b in phase_borders(record.history)]
    last = record.history.iloc[-1]
    alt = f"Four curves over {len(record.history)} epochs: accuracy and cross-entropy in training and in validation."
    if pd.notna(last.get("val_loss")):
        alt += f" Last validation cross-entropy {last['val_loss']:.3f}."
    return {"picture": _picture(record, "training", alt), "borders": borders, "epochs": len(record.history)}


def _compared(record: RunRecord) -> list[dict[str, Any]]:
    """The figures with all test sites side by side; empty with fewer than two sites."""
    found = []
    for (level, aggregation), title in sentences.LEVELS.items():
        alt = f"Sites side by side, {title}: AUC, sensitivity, specificity and PPV of each class with intervals."
        picture = _picture(record, f"sites_test_{level}_{aggregation}", alt)
        if picture and any((b["level"], b["aggregation"]) == (level, aggregation) for b in _blocks(record, "test")):
            found.append({"title": title, "picture": picture})
    return [entry for entry in found if entry["title"].startswith("Patient")] + [
        entry for entry in found if entry["title"].startswith("Slice")
    ]


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
            entries.append({**caption, "true": true, "called": called, "probability": percent(caption.get("probability"), 0),
                            "picture": {"data": _embedded(path, "image/png"), "alt": alt}})  # fmt: skip
    return entries
