"""The figures of a run folder: which there are, what they are called, and the numbers behind each as CSV.

Computing and drawing are apart: each `draw_*` takes plain numbers and returns a matplotlib `Figure` made without
pyplot, so nothing global is opened or left changed and no display is needed. `save_figures` reads a run's metrics and
writes every figure as PNG and SVG (`figures/`) with its numbers (`tables/`). The same run always gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from covidct.errors import DataRefused, UsageError
from covidct.evaluation.figures_results import draw_confusion, draw_roc, draw_sites, row_shares, site_points
from covidct.evaluation.figures_style import class_colours, styled, write_figure
from covidct.evaluation.figures_training import PhaseBorder, draw_training, phase_borders, phase_name, smooth
from covidct.evaluation.wording import display, percent
from covidct.files import read_json, replacing, write_json
from covidct.labels import ClassScheme

__all__ = [
    "POOLED", "PhaseBorder", "class_colours", "draw_confusion", "draw_mistakes", "draw_roc", "draw_sites",
    "draw_training", "figure_name", "mistake_caption", "phase_borders", "phase_name", "read_history", "row_shares",
    "save_figures", "save_mistakes", "site_points", "smooth", "write_figure",
]  # fmt: skip

POOLED = "(pooled)"
"""The site of a block over all sites of a partition."""

Block = Mapping[str, Any]


def figure_name(kind: str, block: Block) -> str:
    """File name, without ending, of the figure of one block of metrics.json.

    A site whose name does not make a plain file name keeps its plain letters and gets a few digits of its digest, so
    two sites never share a file.
    """
    site = str(block["site"])
    plain = re.sub(r"[^a-z0-9]+", "-", site.lower()).strip("-")
    if site == POOLED:
        plain = "pooled"
    elif plain != site or site == "pooled":
        plain = f"{plain}-{sha256(site.encode()).hexdigest()[:6]}".strip("-")
    return "_".join((kind, str(block["split"]), plain, str(block["level"]), str(block["aggregation"])))


def read_history(run_folder: Path) -> pd.DataFrame | None:
    """The training history (`metrics.csv`), one row per epoch; None when the run has none.

    Raises:
        DataRefused: The file is there but is no table with an epoch column.
    """
    path = Path(run_folder) / "metrics.csv"
    if not path.is_file():
        return None
    try:
        history = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataRefused(f"not a CSV table: {error}", where="metrics.csv") from None
    if "epoch" not in history:
        raise DataRefused(f"no column 'epoch' among {list(history.columns)}", where="metrics.csv")
    return history if len(history) else None


def save_figures(run_folder: Path) -> list[Path]:
    """Draw every figure that the run's numbers allow, with the numbers themselves.

    Reads `metrics.json` and, when present, `metrics.csv`. Writes `figures/<name>.png|svg` and `tables/<name>.csv`:
    training, a confusion matrix and a ROC for each block, and the sites side by side for each way of calling on the
    test partition.

    Args:
        run_folder: Folder of one run.

    Returns:
        The files written.

    Raises:
        DataRefused: There is no metrics.json in the folder.
    """
    run_folder = Path(run_folder)
    if not (run_folder / "metrics.json").is_file():
        raise DataRefused(
            "the run has no metrics.json",
            where=str(run_folder),
            remedy="make it with `covidct evaluate`, then draw again",
        )
    summary = read_json(run_folder / "metrics.json")
    scheme = ClassScheme.from_dict(summary["classes"])
    written: list[Path] = []

    def save(figure: Figure, name: str, numbers: pd.DataFrame) -> None:
        written.extend(write_figure(figure, run_folder / "figures", name))
        path = run_folder / "tables" / f"{name}.csv"
        with replacing(path) as temporary:
            numbers.to_csv(temporary, index=False, lineterminator="\n")
        written.append(path)

    history = read_history(run_folder)
    if history is not None:
        save(draw_training(history), "training", history)
    groups: dict[tuple[str, str], list[Block]] = {}
    for block in summary["blocks"]:
        columns = block.get("confusion_columns") or list(scheme.names)
        figure = draw_confusion(block["confusion"], scheme.names, columns)
        save(figure, figure_name("confusion", block), confusion_table(block["confusion"], scheme.names, columns))
        curves = block.get("roc") or {}
        if any(curves.values()):
            ordered = {name: curves.get(name) for name in scheme.names}
            aucs = {name: block["per_class"][name].get("auc") for name in scheme.names}
            figure = draw_roc(ordered, aucs, scheme.positive)
            save(figure, figure_name("roc", block), roc_table(ordered))
        if block["split"] == "test":
            groups.setdefault((block["level"], block["aggregation"]), []).append(block)
    for (level, aggregation), blocks in groups.items():
        if len(blocks) > 1:
            points = site_points(blocks)
            save(draw_sites(points), f"sites_test_{level}_{aggregation}", points)
    return written


def confusion_table(counts: ArrayLike, rows: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """A confusion matrix as a long table: true, called, count, row_share (0..1, empty in a row without cases)."""
    table, shares = np.asarray(counts), row_shares(counts)
    cells = [
        (true, called, int(table[i, j]), shares[i, j])
        for i, true in enumerate(rows)
        for j, called in enumerate(columns)
    ]
    return pd.DataFrame(cells, columns=["true", "called", "count", "row_share"])


def roc_table(curves: Mapping[str, Mapping[str, Any] | None]) -> pd.DataFrame:
    """ROC curves as a long table: class, point ("curve" or "operating"), fpr, tpr."""
    rows: list[tuple[str, str, float, float]] = []
    for name, curve in curves.items():
        if not curve:
            continue
        rows += [(name, "curve", fpr, tpr) for fpr, tpr in zip(curve["fpr"], curve["tpr"], strict=True)]
        point = curve.get("operating_point")
        if point:
            rows.append((name, "operating", point["fpr"], point["tpr"]))
    return pd.DataFrame(rows, columns=["class", "point", "fpr", "tpr"])


def _grey(pixels: ArrayLike) -> np.ndarray:
    values = np.asarray(pixels, dtype=float)
    if values.ndim != 2 or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise UsageError(
            f"a slice to draw is [rows, columns] with finite values in 0..1; this one has shape {values.shape}"
        )
    return np.round(255 * values).astype(np.uint8)


def mistake_caption(caption: Mapping[str, Any]) -> str:
    """Three lines under a picture: pseudonym and site, true class, called class with its probability."""
    where = f"{caption['patient_key']} · {caption['site']}"
    if caption.get("slice_number") is not None:
        where += f" · slice {caption['slice_number']}"
    called = f"called {display(caption['called'])} ({percent(caption.get('probability'), 0)} %)"
    return f"{where}\ntrue {display(caption['true'])}\n{called}"


@styled
def draw_mistakes(slices: Sequence[tuple[ArrayLike, Mapping[str, Any]]], columns: int = 4) -> Figure:
    """Slices that were called wrong, in one picture.

    Args:
        slices: (pixels [rows, columns] in 0..1, caption with patient_key, site, true, called, probability in 0..1 and
            optionally slice_number). The patient key is the pseudonym.
        columns: Pictures in a row.
    """
    if not slices:
        raise UsageError("no slices to draw")
    columns = min(columns, len(slices))
    rows = -(-len(slices) // columns)
    figure = Figure(figsize=(2.3 * columns, 2.75 * rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (pixels, caption) in zip(axes, slices, strict=False):
        axis.imshow(_grey(pixels), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.set_title(mistake_caption(caption), fontsize=6, fontweight="normal", loc="left", linespacing=1.25)
    return figure


def save_mistakes(run_folder: Path, slices: Sequence[tuple[ArrayLike, Mapping[str, Any]]]) -> list[Path]:
    """Keep the worst mistakes of a run as pictures, for a report that is made without the scans.

    Writes `figures/mistakes/<n>.png` (8-bit grey), `figures/mistakes.json` and `tables/mistakes.csv` (captions, with
    each file's name) and one `figures/mistakes.png|svg` with all of them. Pictures of an earlier evaluation are
    removed. Without slices only the empty list is written, which the report tells apart from a list never made.

    Args:
        run_folder: Folder of one run.
        slices: As for `draw_mistakes`, worst first.

    Returns:
        The files written.
    """
    figures = Path(run_folder) / "figures"
    for stale in [*figures.glob("mistakes/*.png"), figures / "mistakes.png", figures / "mistakes.svg"]:
        stale.unlink(missing_ok=True)
    written, captions = [], []
    for number, (pixels, caption) in enumerate(slices, start=1):
        path = figures / "mistakes" / f"{number}.png"
        with replacing(path) as temporary:
            Image.fromarray(_grey(pixels)).save(temporary, format="PNG", optimize=True)
        written.append(path)
        captions.append({**caption, "file": path.name})
    write_json(figures / "mistakes.json", captions)
    written.append(figures / "mistakes.json")
    columns = ["file", "patient_key", "site", "slice_number", "true", "called", "probability"]
    with replacing(Path(run_folder) / "tables" / "mistakes.csv") as temporary:
        pd.DataFrame(captions, columns=columns).to_csv(temporary, index=False, lineterminator="\n")
    written.append(Path(run_folder) / "tables" / "mistakes.csv")
    if slices:
        written += write_figure(draw_mistakes(slices), figures, "mistakes")
    return written
