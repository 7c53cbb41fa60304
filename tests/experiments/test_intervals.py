"""The coverage study in small: the intervals that are printed hold the truth, those that are not do not."""

import pandas as pd
import pytest

from experiments.intervals import coverage
from experiments.intervals.coverage import Design, simulate

FIFTY = [
    Design("proportion", (50,), 98, 0.05, (0.982,)),
    Design("proportion", (50,), 98, 0.2, (0.982,)),
    Design("auc", (40, 10), 8, 0.2, (0.95,)),
    Design("macro_auc", (10,) * 5, 4, 0.05, (0.9,)),
    Design("macro_sensitivity", (10,) * 5, 40, 0.05, (0.98, 0.95, 0.9, 0.85, 0.7)),
    Design("macro_sensitivity", (10,) * 5, 40, 0.2, (0.98, 0.95, 0.9, 0.85, 0.7)),
]


@pytest.mark.parametrize("design", FIFTY, ids=lambda design: f"{design.figure} {design.icc:g}")
def test_fifty_patients_are_enough_for_the_intervals_that_are_printed(design):
    (found,) = simulate(design, 150, 1, ways="default")
    assert found.coverage >= 0.90
    assert found.without < 0.02


def test_bca_with_ten_patients_covers_less_than_the_default_and_slices_cover_least():
    default, bca = simulate(Design("auc", (40, 10), 8, 0.2, (0.95,)), 120, 2, replicates=200)
    assert (default.method, bca.method) == ("logit_t", "bootstrap")
    assert bca.coverage < default.coverage - 0.02
    patients, slices = simulate(FIFTY[1], 150, 2)
    assert slices.coverage < 0.6 < 0.9 <= patients.coverage


def test_the_program_writes_a_row_for_each_design_and_method(tmp_path, monkeypatch, capsys):
    designs = [Design("proportion", (12,), 0, 0.2, (0.9,)), Design("macro_auc", (10, 10), 1, 0.0, (0.8,))]
    monkeypatch.setattr(coverage, "DESIGNS", designs)
    monkeypatch.setattr("sys.argv", ["coverage", "--studies", "3", "--out", str(tmp_path / "found.csv")])
    coverage.main()
    found = pd.read_csv(tmp_path / "found.csv")
    assert found["method"].tolist() == ["korn_graubard", "slices as if independent", "logit_t", "bootstrap"]
    assert found["slices"].tolist() == ["uneven", "uneven", "1", "1"]
    assert found["coverage"].between(0, 1).all()
    said = capsys.readouterr().out
    assert "macro_auc 10 + 10" in said
    assert said.count("| macro AUC | 10 + 10 | 1 | 0.8 | 0 | **") == 1
