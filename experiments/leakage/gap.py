"""How much better a validation figure looks when the slices, and not the patients, were divided.

Reads the run folders of one study whose arms are two kinds of split, in pairs by repeat, and writes the table and the
chart of this folder. Optimism is validation minus test: what a reader of the validation figure is promised too much.

    python -m experiments.leakage.gap 'runs/leakage_phantom-*' --name phantom
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from covidct.evaluation.catalogue import CataloguedRun, find_runs
from covidct.evaluation.comparisons import mean_difference

FIGURES = ("slice.accuracy", "slice.macro_auc", "patient.accuracy", "patient.macro_auc")
HERE = Path(__file__).resolve().parent


def rows_of(runs: list[CataloguedRun]) -> pd.DataFrame:
    """One row for each run and figure: kind of split, repeat, leaked patients, validation, test."""
    return pd.DataFrame(
        [
            {
                "split": run.value("split.kind"),
                "repeat": int(run.value("split.repeat")),
                "figure": figure,
                "val": run.value(f"val.{figure}"),
                "test": run.value(f"test.{figure}"),
            }
            for run in runs
            for figure in FIGURES
        ]
    ).assign(optimism=lambda frame: frame["val"] - frame["test"])


def gaps(rows: pd.DataFrame, patient: str, image: str) -> pd.DataFrame:
    """Image-level minus patient-level, paired by repeat, with Nadeau and Bengio's interval (splits 3:1)."""
    found = []
    for figure in FIGURES:
        here = rows[rows["figure"] == figure]
        table = here.pivot_table(index="repeat", columns="split", values=["val", "test", "optimism"])
        for what in ("val", "test", "optimism"):
            pair = table[what][[image, patient]].dropna()
            difference = mean_difference((pair[image] - pair[patient]).to_numpy(), 1 / 3)
            found.append(
                {
                    "figure": figure,
                    "what": what,
                    "image_level": pair[image].mean(),
                    "patient_level": pair[patient].mean(),
                    "gap": difference.mean,
                    "low": difference.low,
                    "high": difference.high,
                    "p": difference.p,
                    "repeats": len(pair),
                }
            )
    return pd.DataFrame(found)


def draw(rows: pd.DataFrame, patient: str, image: str, path: Path) -> None:
    """Validation and test of every repeat, joined by a line, for both kinds of split."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True, layout="constrained")
    for axis, name in zip(axes, ("slice.accuracy", "slice.macro_auc"), strict=True):
        for offset, (split, colour, words) in enumerate(
            ((image, "#D55E00", "slices divided"), (patient, "#0072B2", "patients divided"))
        ):
            chosen = rows[(rows["split"] == split) & (rows["figure"] == name)]
            ends = np.array([0, 1]) + 3 * offset
            for run in chosen.itertuples():
                axis.plot(ends, [run.val, run.test], color=colour, alpha=0.35, marker="o", markersize=3, linewidth=1)
            axis.plot(ends, [chosen["val"].mean(), chosen["test"].mean()], color=colour, marker="o", linewidth=2.5)
            place = axis.get_xaxis_transform()
            axis.text(ends.mean(), 1.02, words, color=colour, ha="center", va="bottom", transform=place)
        axis.set_xticks([0, 1, 3, 4], ["validation", "test"] * 2)
        axis.set_xlim(-0.6, 4.6)
        axis.set_title({"slice.accuracy": "Accuracy of slices", "slice.macro_auc": "Macro AUC of slices"}[name], pad=20)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="run folders, or patterns")
    parser.add_argument("--patient", default="patient")
    parser.add_argument("--image", default="paper_image_level")
    parser.add_argument("--name", required=True, help="of the files: NAME.csv, NAME_gap.csv, NAME.png")
    words = parser.parse_args()
    rows = rows_of(find_runs(words.runs))
    table = gaps(rows, words.patient, words.image)
    rows.round(4).to_csv(HERE / f"{words.name}.csv", index=False)
    table.round(4).to_csv(HERE / f"{words.name}_gap.csv", index=False)
    draw(rows, words.patient, words.image, HERE / f"{words.name}.png")
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
