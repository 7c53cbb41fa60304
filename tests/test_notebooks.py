"""The notebooks run on the phantom, show pictures, define nothing and are stored without outputs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = ("look_at_a_series", "read_a_run")


def stored(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def executed(name: str):
    """The notebook with outputs; started from its own folder, as Jupyter does."""
    notebook = stored(name)
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    return notebook


def outputs(notebook, kind: str) -> list[str]:
    """What was shown, as one type of data (`image/png`, `text/plain`), or printed (`stream`)."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    if kind == "stream":
        return [output["text"] for output in found if output["output_type"] == "stream"]
    return [output["data"][kind] for output in found if kind in output.get("data", {})]


def code(notebook) -> list[str]:
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return ["\n".join(line for line in cell.splitlines() if not line.startswith("%")) for cell in cells]


def test_these_are_all_the_notebooks():
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs_and_small(name):
    notebook = stored(name)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert "attachments" not in cell  # pictures of patients inside a text cell
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 20_000


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_calls_covidct_and_defines_nothing(name):
    trees = [ast.parse(cell) for cell in code(stored(name))]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    forbidden = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for node in nodes if isinstance(node, forbidden)]
    modules = {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    assert "covidct" in modules


def test_a_series_is_shown(workshop, monkeypatch):
    monkeypatch.setenv("COVIDCT_INDEX", str(workshop / "index"))
    notebook = executed("look_at_a_series")
    assert len(outputs(notebook, "image/png")) == 3  # windows, histogram, lesions
    printed = "".join(outputs(notebook, "stream"))
    assert "180 slices, 60 patients, 60 series" in printed  # 4 patients x 5 classes x 3 sites, 3 slices each
    assert "(3, 64, 64) in HU" in printed


def test_a_run_is_shown_with_the_figures_of_its_record(trained, monkeypatch):
    from covidct.files import read_json

    monkeypatch.setenv("COVIDCT_RUN", str(trained))
    notebook = executed("read_a_run")
    assert len(outputs(notebook, "image/png")) == 4  # training, confusion matrix, ROC, worst patient
    shown = "\n".join(outputs(notebook, "text/html"))
    assert read_json(trained / "run.json")["run"] in "\n".join(outputs(notebook, "text/plain"))
    for block in read_json(trained / "metrics.json")["blocks"]:
        assert f"<td>{block['accuracy']['value']:.3f}</td>" in shown
