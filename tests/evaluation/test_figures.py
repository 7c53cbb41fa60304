"""Figures: what is drawn is what was given, nothing global moves, the same figure gives the same bytes."""

from __future__ import annotations

import json
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covidct.errors import DataRefused, UsageError
from covidct.evaluation import figures, figures_results
from covidct.evaluation.wording import interval_text, percent
from covidct.files import read_json
from tests.evaluation.fabricated_run import SCHEME, make_run, mistakes


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("figures") / "run", per_patient=3, missing="covid19", replicates=10)
    return folder, figures.save_figures(folder)


@pytest.fixture
def history():
    return pd.DataFrame({
        "epoch": range(6), "phase": [0, 0, 0, 1, 1, 1], "optimizer": ["adam"] * 3 + ["sgd"] * 3,
        "lr": [1e-4, 9e-5, 8e-5, 1e-3, 1e-3, 5e-4], "train_accuracy": [0.3, 0.5, 0.6, 0.7, 0.75, 0.8],
        "train_loss": [1.6, 1.2, 1.0, 0.8, 0.7, 0.6], "val_accuracy": [0.2, 0.4, 0.5, 0.6, 0.6, 0.7],
        "val_loss": [1.7, 1.4, 1.2, np.nan, 1.0, 0.9],
    })  # fmt: skip


def _texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_training_curves_are_the_numbers_given(history):
    figure = figures.draw_training(history)
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert [title.split()[0] for title in titles] == ["A", "B", "C", "D"]
    for axis, column in zip(figure.axes, ["train_accuracy", "train_loss", "val_accuracy", "val_loss"], strict=True):
        np.testing.assert_array_equal(axis.lines[0].get_xdata(), history["epoch"])
        np.testing.assert_array_equal(axis.lines[0].get_ydata(), history[column])


def test_phase_change_is_a_line_between_the_epochs_with_both_names(history):
    assert figures.phase_borders(history) == [figures.PhaseBorder(3.0, "Adam 1e-4", "SGD 1e-3")]
    for axis in figures.draw_training(history).axes:
        assert list(axis.lines[-1].get_xdata()) == [2.5, 2.5]
        assert "Adam 1e-4 | SGD 1e-3" in [text.get_text() for text in axis.texts]


def test_one_phase_has_no_border_and_rows_may_come_in_any_order(history):
    assert figures.phase_borders(history[history["phase"] == 0]) == []
    assert figures.phase_borders(history.iloc[::-1]) == figures.phase_borders(history)
    assert figures.phase_borders(history.drop(columns="phase")) == []


@pytest.mark.parametrize(
    ("lr", "text"),
    [(1e-4, "SGD 1e-4"), (2.5e-3, "SGD 2.5e-3"), (0.05, "SGD 0.05"), (1.0, "SGD 1"), (3e-10, "SGD 3e-10")],
)
def test_phase_name(lr, text):
    assert figures.phase_name("sgd", lr) == text


def test_smoothing_is_a_centred_mean_that_skips_gaps():
    values = np.array([0.0, 10.0, np.nan, 4.0, 8.0, 6.0, 2.0])
    expected = pd.Series(values).rolling(5, center=True, min_periods=1).mean()
    np.testing.assert_allclose(figures.smooth(values), expected)


def test_confusion_shows_counts_percent_of_the_row_and_what_is_no_class():
    counts = [[8, 1, 1], [0, 0, 0]]
    figure = figures.draw_confusion(counts, ["normal", "covid19"], ["normal", "covid19", "conflict"])
    texts = _texts(figure)
    assert texts[0::2] == ["8", "1", "1", "0", "0", "0"]
    assert texts[1::2] == ["80.0 %", "10.0 %", "10.0 %", "–", "–", "–"]  # an empty row has no percent
    axis = figure.axes[0]
    assert "True" in axis.get_ylabel()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["Normal", "COVID-19", "conflict"]
    assert np.diff(axis.get_xticks())[1] > 1  # set apart


def test_confusion_of_another_size_is_refused():
    with pytest.raises(UsageError, match="matrix of shape"):
        figures.draw_confusion([[1, 2]], ["normal", "covid19"], ["normal", "covid19"])


def test_roc_draws_the_curve_its_auc_and_the_operating_point():
    curves = {
        "normal": {"fpr": [0, 0.2, 1], "tpr": [0, 0.9, 1], "operating_point": {"fpr": 0.2, "tpr": 0.9}},
        "covid19": None,
    }
    aucs = {"normal": {"value": 0.85, "low": 0.8, "high": 0.9}, "covid19": {"value": None, "low": None, "high": None}}
    axis = figures.draw_roc(curves, aucs, "covid19").axes[0]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    assert drawn == [([0, 1], [0, 1]), ([0, 0.2, 1], [0, 0.9, 1]), ([0.2], [0.9])]
    legend = [text.get_text() for text in axis.get_legend().get_texts()]
    assert "AUC 85.0 %  (80.0–90.0)" in legend[0]
    assert "undefined" in legend[1]


def test_site_dots_stand_at_their_values_and_undefined_is_a_dash(run):
    blocks = [b for b in read_json(run[0] / "metrics.json")["blocks"] if b["aggregation"] == "any_slice"]
    points = figures.site_points([b for b in blocks if b["split"] == "test"], ["sensitivity"])
    figure = figures.draw_sites(points)
    drawn = {round(float(line.get_xdata()[0]), 6) for line in figure.axes[0].lines if len(line.get_xdata()) == 1}
    assert drawn == {round(100 * value, 6) for value in points["value"].dropna()}
    assert _texts(figure) == ["–"] * int(points["value"].isna().sum())
    assert points["value"].isna().sum() == 1  # COVID-19 at the site that has none


def test_class_colours_are_fixed_and_unknown_classes_get_their_own():
    colours = figures.class_colours(["covid19", "lung_cancer", "oedema"])
    assert colours["covid19"] == figures.class_colours(["normal", "covid19"])["covid19"]
    assert len(set(colours.values())) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0.0"),
        (1.0, "100.0"),
        (0.99996, ">99.9"),
        (0.0001, "<0.1"),
        (0.9876, "98.8"),
    ],
)
def test_percent_never_rounds_to_all_or_nothing(value, text):
    assert percent(value) == text


def test_interval_text():
    assert interval_text({"low": 0.5, "high": 0.99999}) == "50.0–100.0"
    assert interval_text({"low": None, "high": None}) == interval_text(None) == "–"


def test_saved_tables_are_the_numbers_of_the_run(run):
    folder, written = run
    assert all(path.is_file() for path in written)
    for block in read_json(folder / "metrics.json")["blocks"]:
        long = pd.read_csv(folder / "tables" / f"{figures.figure_name('confusion', block)}.csv")
        matrix = long["count"].to_numpy().reshape(len(SCHEME), -1)
        assert matrix.tolist() == block["confusion"]
        assert list(long["called"][: matrix.shape[1]]) == block["confusion_columns"]
        roc = pd.read_csv(folder / "tables" / f"{figures.figure_name('roc', block)}.csv")
        for name, curve in block["roc"].items():
            rows = roc[(roc["class"] == name) & (roc["point"] == "curve")]
            assert rows["fpr"].tolist() == (curve["fpr"] if curve else [])
            assert rows["tpr"].tolist() == (curve["tpr"] if curve else [])
    history = pd.read_csv(folder / "metrics.csv")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "training.csv"), history)


def test_every_figure_exists_as_png_and_svg(run):
    folder, written = run
    names = {path.stem for path in written if path.suffix == ".svg"}
    assert names == {path.stem for path in written if path.suffix == ".png"}
    assert "training" in names
    assert "sites_test_patient_any_slice" in names
    with Image.open(folder / "figures" / "training.png") as image:
        assert image.width > 1000


def test_same_figure_same_bytes(tmp_path, history):
    first = figures.write_figure(figures.draw_training(history), tmp_path / "a", "f")
    second = figures.write_figure(figures.draw_training(history), tmp_path / "b", "f")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_drawing_leaves_matplotlib_as_it_was_and_ignores_its_settings(tmp_path, history):
    plain = figures.write_figure(figures.draw_training(history), tmp_path / "a", "f")[1].read_bytes()
    with mpl.rc_context({"font.size": 30.0, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        other = figures.write_figure(figures.draw_training(history), tmp_path / "b", "f")[1].read_bytes()
        assert dict(mpl.rcParams) == before
    assert other == plain
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_sites_never_share_a_file_name():
    sites = ["(pooled)", "pooled", "Site A", "site-a", "site a", "武汉", "厦门"]
    block = {"split": "test", "level": "slice", "aggregation": "argmax"}
    names = [figures.figure_name("roc", {**block, "site": site}) for site in sites]
    assert len(set(names)) == len(sites)
    assert all(name.isascii() and " " not in name for name in names)


def test_mistakes_are_kept_with_their_captions(tmp_path):
    pictures = mistakes(5)
    figures.save_mistakes(tmp_path, pictures)
    captions = json.loads((tmp_path / "figures" / "mistakes.json").read_text())
    assert [caption["patient_key"] for caption in captions] == [caption["patient_key"] for _, caption in pictures]
    with Image.open(tmp_path / "figures" / "mistakes" / captions[2]["file"]) as image:
        np.testing.assert_array_equal(np.asarray(image), np.round(255 * pictures[2][0]))
    figures.save_mistakes(tmp_path, pictures[:1])  # an earlier, longer list leaves nothing behind
    assert [path.name for path in (tmp_path / "figures" / "mistakes").iterdir()] == ["1.png"]
    figures.save_mistakes(tmp_path, [])
    assert json.loads((tmp_path / "figures" / "mistakes.json").read_text()) == []
    assert not (tmp_path / "figures" / "mistakes.png").exists()


def test_mistake_captions_say_who_what_and_how_sure():
    titles = [axis.get_title(loc="left") for axis in figures.draw_mistakes(mistakes(2)).axes]
    key = mistakes(2)[1][1]["patient_key"]
    assert titles[1] == f"{key} · fifth · slice 1\ntrue Non-COVID-19 viral pneumonia\ncalled COVID-19 (97 %)"


@pytest.mark.parametrize("pixels", [np.full((4, 4), 1.5), np.full((4, 4), np.nan), np.zeros((3, 4, 4))])
def test_pixels_that_are_not_a_slice_in_0_1_are_refused(tmp_path, pixels):
    caption = mistakes(1)[0][1]
    with pytest.raises(UsageError, match=r"in 0\.\.1"):
        figures.save_mistakes(tmp_path, [(pixels, caption)])


def test_a_folder_without_metrics_is_refused(tmp_path):
    with pytest.raises(DataRefused, match=r"metrics\.json"):
        figures.save_figures(tmp_path)


def test_a_history_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(DataRefused, match="epoch"):
        figures.read_history(tmp_path)
    (tmp_path / "metrics.csv").write_text("")
    with pytest.raises(DataRefused, match="CSV"):
        figures.read_history(tmp_path)


def test_row_shares_against_sums():
    shares = figures_results.row_shares([[1, 3], [0, 0]])
    assert shares[0].tolist() == [0.25, 0.75]
    assert np.isnan(shares[1]).all()
