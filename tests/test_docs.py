"""The manual says what is true: every command can be typed, every key, column and option is there, every link leads
somewhere, and the site needs no network."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from covidct.commands.cli import VERBS, main
from covidct.commands.compose import config_of, module_of
from covidct.errors import UsageError

TOP = Path(__file__).resolve().parent.parent
CONF = TOP / "conf"
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]


def text(page: str) -> str:
    return (TOP / "docs" / page).read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(TOP).as_posix()


# --- commands ---------------------------------------------------------------------------------------------------------


class Command(NamedTuple):
    page: str
    line: str
    words: tuple[str, ...]


def commands_of(page: Path) -> list[Command]:
    """Every `covidct VERB ...`: prompt lines and shell lines of fenced blocks, and spans of code with a key."""
    source = page.read_text(encoding="utf-8")
    lines = []
    for language, block in re.findall(r"^ *```(\w+)\n(.*?)^ *```", source, re.MULTILINE | re.DOTALL):
        if language == "console":
            lines += [line.strip()[2:] for line in block.splitlines() if line.strip().startswith("$ ")]
        elif language == "bash":
            lines += block.splitlines()
    lines += [span for span in re.findall(r"`(covidct \w+ [^`]*=[^`]*)`", source) if "key=" not in span]
    found = []
    for line in lines:
        match = re.search(r"(?:^|[\s;])(?:covidct|-m covidct) (.*)", line)
        if match is None or match.group(1).startswith(("VERB", "-sc")):
            continue
        command = re.sub(r"; do$", "", match.group(1))
        words = tuple(word for word in shlex.split(command, comments=True) if word != "...")
        found.append(Command(name_of(page), line, words))
    return found


COMMANDS = [command for page in PAGES for command in commands_of(page)]


def check_train(values: dict[str, Any]) -> None:
    """As `covidct train` would, up to the first file it opens."""
    from covidct.ct.window import parse_windows
    from covidct.data.transforms import Augmentation
    from covidct.training.recipe import parse_phases
    from covidct.training.settings import TrainSettings, read_settings

    settings = read_settings(TrainSettings, values)
    parse_phases(settings.recipe.phases, settings.recipe.stop.max_epochs)
    parse_windows(settings.data.windows)
    Augmentation.from_dict(settings.data.augment)


def check_others(verb: str, values: dict[str, Any]) -> None:
    from covidct.training.settings import DataSettings, SplitSettings, read_settings

    if "data" in values:
        root = read_settings(DataSettings, values["data"], "data").root
        assert root or verb != "index" or values["report"] == "only"
    if "split" in values:
        read_settings(SplitSettings, values["split"], "split")


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 60
    assert {command.words[0] for command in COMMANDS if command.words[0] in VERBS} == set(VERBS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.page}: {' '.join(c.words)[:60]}")
def test_a_command_of_the_manual_can_be_typed(command, monkeypatch, tmp_path, capsys):
    """Composed and checked through the front door; only the work itself is left out."""
    monkeypatch.chdir(tmp_path)  # Hydra keeps a record of a sweep
    composed = []
    for verb in VERBS:
        module = importlib.import_module(module_of(verb))
        monkeypatch.setattr(module, "run", composed.append)
    # a launcher, or several ranks, would give each cell a process of its own, out of our reach
    words = [w for w in command.words if not w.startswith(("hydra/launcher=", "hydra.launcher."))]
    monkeypatch.setattr("covidct.commands.study.needs_process", lambda *_: False)
    code = main(words)
    assert code == 0, f"{command.line}\n{capsys.readouterr().err}"
    only_shown = {"--help", "--version", "--cfg"} & set(command.words)
    assert bool(composed) != bool(only_shown)
    for values in composed:
        if command.words[0] == "train":
            check_train(values)
        else:
            check_others(command.words[0], values)


def test_a_wrong_command_would_be_noticed(monkeypatch):
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(importlib.import_module("covidct.commands.train"), "run", seen.append)
    assert main(["train", "trainer.presision=16-mixed"]) == 2
    assert main(["train", "model.trainable=last4conv", "+data.sise=96"]) == 0  # Hydra alone does not see it
    with pytest.raises(UsageError, match=r"data\.sise"):
        check_train(seen[0])


def test_a_sweep_of_the_manual_makes_as_many_jobs_as_it_says(monkeypatch, tmp_path):
    sweep = next(c for c in COMMANDS if c.page == "docs/how-to/sweep.md" and "recipe=adam_then_sgd,adam,sgd" in c.words)
    seen: list[dict[str, Any]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module("covidct.commands.train"), "run", seen.append)
    assert main(list(sweep.words)) == 0
    assert len(seen) == 15
    assert {(values["recipe"]["phases"][0]["optimizer"], values["split"]["repeat"]) for values in seen} == {
        (optimizer, repeat) for optimizer in ("adam", "sgd") for repeat in range(5)
    }


def test_the_commands_of_the_first_lesson_are_those_of_the_demo():
    script = (TOP / "experiments/demo/run.sh").read_text(encoding="utf-8")
    steps = [line.removeprefix("step ") for line in script.splitlines() if line.startswith("step ")]
    steps = [
        step.replace('"$sites"', "split.external_sites=[site_b,site_c]").replace("$out", ".demo") for step in steps
    ]
    steps = [" ".join(shlex.split(step.replace('"$run"', "RUN"))) for step in steps]
    lesson = [" ".join(c.words) for c in COMMANDS if c.page == "docs/tutorial/first-run.md"]
    lesson = [re.sub(r"run=\.demo/runs/\S+", "run=RUN", line) for line in lesson]
    assert [line for line in lesson if line in steps] == steps


# --- config keys ------------------------------------------------------------------------------------------------------

GROUP_BASES = {
    "data": "base",
    "split": "patient",
    "model": "resnet50",
    "recipe": "base",
    "trainer": "auto",
    "logger": "wandb",
}
"""Group -> the file that has all of its keys."""


def keys_of(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in ("defaults", "hydra"):
            continue
        if isinstance(value, dict):
            found |= keys_of(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def documented(section: str) -> dict[str, Any]:
    """Key -> default of the tables below a heading of the page of keys."""
    part = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text("reference/config-keys.md"), re.MULTILINE | re.DOTALL)
    assert part, f"no section {section}"
    found = {}
    for key, default in re.findall(r"^\| `([\w.]+)` \| (`[^`]*`|required) \|", part.group(1), re.MULTILINE):
        found[key] = "???" if default == "required" else yaml.safe_load(default.strip("`"))
    return found


@pytest.mark.parametrize("group", GROUP_BASES)
def test_every_key_of_a_group_stands_in_the_manual_with_its_default(group):
    base = yaml.safe_load((CONF / group / f"{GROUP_BASES[group]}.yaml").read_text(encoding="utf-8"))
    assert documented(group) == keys_of(base, f"{group}.")
    for path in (CONF / group).glob("*.yaml"):  # a choice only changes keys that the base has
        assert (
            keys_of(yaml.safe_load(path.read_text(encoding="utf-8")) or {}, f"{group}.").keys()
            <= keys_of(base, f"{group}.").keys()
        )


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "split"])
def test_every_key_of_a_verb_stands_in_the_manual_with_its_default(verb):
    values = yaml.safe_load((CONF / f"{config_of(verb)}.yaml").read_text(encoding="utf-8"))
    assert documented(verb) == keys_of(values)


def test_every_choice_of_every_group_stands_in_the_manual():
    page = text("reference/config-keys.md")
    for path in CONF.glob("*/*.yaml"):
        if path.stem != "base":
            assert f"`{path.parent.name}={path.stem}`" in page


def test_every_exit_code_stands_in_the_manual():
    from covidct import errors

    page = text("reference/command-line.md")
    for name in ("UsageError", "DataRefused", "IntegrityError", "ResourceError", "Interrupted"):
        assert f"| {getattr(errors, name).exit_code} |" in page


# --- options and columns ----------------------------------------------------------------------------------------------


def test_every_optimizer_scheduler_and_figure_stands_in_the_manual():
    from covidct.training.plateau import DIRECTIONS
    from covidct.training.recipe import OPTIMIZERS, PLATEAU, SCHEDULERS

    page = text("how-to/write-a-recipe.md")
    names = {*OPTIMIZERS, *SCHEDULERS, *DIRECTIONS, *PLATEAU}
    names |= {option for _, options in OPTIMIZERS.values() for option in options}
    names |= {option for options in SCHEDULERS.values() for option in options}
    assert not [name for name in names if f"`{name}`" not in page]


def test_the_recipe_of_the_manual_is_accepted():
    from covidct.training.recipe import parse_phases

    [block] = re.findall(r"```yaml\n(.*?)```", text("how-to/write-a-recipe.md"), re.DOTALL)
    recipe = yaml.safe_load(block)
    assert len(parse_phases(recipe["phases"], recipe["stop"]["max_epochs"])) == 3


def test_the_search_space_of_the_manual_is_accepted():
    from covidct.training.search_parameter import KINDS
    from covidct.training.search_space import COSTS, FIGURES, PRUNERS, SAMPLERS, read_space

    page = text("how-to/search.md")
    [block] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    values = yaml.safe_load(block)
    values.pop("defaults")
    assert len(read_space(values).parameters) == 4
    base = yaml.safe_load((CONF / "search" / "base.yaml").read_text(encoding="utf-8"))
    names = {*base, *base["sampler"], *base["pruner"], *KINDS, *FIGURES, *COSTS, *SAMPLERS, *PRUNERS}
    assert not [name for name in names if f"`{name}`" not in page]


def test_every_window_and_augmentation_stands_in_the_manual_with_its_numbers():
    from covidct.ct.window import WINDOWS
    from covidct.data.transforms import Augmentation

    page = text("how-to/windows-and-augmentation.md")
    for name, window in WINDOWS.items():
        numbers = f"{window.center_hu:g}, {window.width_hu:g} | {window.low_hu:g} to {window.high_hu:g}"
        assert f"| `{name}` | {numbers} |" in page
    for field in fields(Augmentation):
        assert f"| `{field.name}` | {field.default:g} |" in page


def test_every_column_and_key_of_the_files_stands_in_the_manual():
    import pyarrow as pa

    from covidct.data.table import SCHEMA
    from covidct.evaluation.predictions import META_KEYS, OPTIONAL, REQUIRED
    from covidct.training.records import EPOCH_COLUMNS
    from covidct.training.runs import STATES

    page = text("reference/file-formats.md")
    words = {pa.string(): "string", pa.float64(): "float64", pa.bool_(): "bool"}
    for column in SCHEMA:
        assert f"| `{column.name}` | {words.get(column.type, str(column.type))} |" in page
    for name in (*REQUIRED, *OPTIONAL, *META_KEYS, *EPOCH_COLUMNS, *STATES):
        assert f"`{name}`" in page


def test_what_a_run_and_a_split_hold_stands_in_the_manual(trained):
    from covidct.files import read_json

    page = text("reference/file-formats.md")
    summary = read_json(trained / "metrics.json")
    per_class = next(iter(summary["blocks"][0]["per_class"].values()))
    keys = {*summary, *summary["rule"], *summary["interval"], *summary["blocks"][0], *per_class}
    keys |= {*read_json(trained / "split.json")}
    assert not [key for key in keys if f"`{key}`" not in page]
    # a file or folder of a run that the page does not know
    assert not [path.name for path in trained.iterdir() if path.name not in page]


def test_the_example_of_a_source_is_whole():
    """The module that the how-to shows runs as it is written."""
    from covidct.ct.ingest import Record
    from covidct.errors import DataRefused

    block = re.findall(r"```python\n(.*?)```", text("how-to/add-a-source.md"), re.DOTALL)[0]
    module: dict[str, Any] = {}
    exec(compile(block, "mine.py", "exec"), module)
    layout = module["SOURCE"].open(Path(), None, None)
    assert layout.wants("pos/7/1.dcm")
    assert not layout.wants("readme.txt")
    claim = layout.claim(Record("pos/7/1.dcm"))
    assert (claim.patient_id, claim.site, claim.label) == ("7", "mine", "covid19")
    with pytest.raises(DataRefused):
        layout.claim(Record("pos/1.dcm"))


# --- links and site ---------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Anchors that MkDocs gives to the headings of a page."""
    from markdown.extensions.toc import slugify

    plain = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", plain, re.MULTILINE)
    return {slugify(re.sub(r"[`*]", "", heading), "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    pytest.importorskip("markdown")
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_of_the_checkout_that_a_page_names_exist(page):
    pattern = r"`((?:conf|notebooks|experiments|tests|covidct)/[\w./-]*)`"
    made_by_the_reader = {"conf/recipe/mine.yaml", "conf/data/mine.yaml", "covidct/data/sources/mine.py"}
    for path in set(re.findall(pattern, page.read_text(encoding="utf-8"))) - made_by_the_reader:
        where = TOP / path
        assert where.exists() or path == "covidct/pseudonym.key", f"{name_of(page)} names {path}"


def test_the_manual_is_built_without_network(tmp_path):
    """`make docs`, with every connection refused; and a reader's browser asks nobody either."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    code = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise OSError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from mkdocs.__main__ import cli\n"
        "cli(sys.argv[1:])\n"
    )
    words = ["build", "--strict", "--quiet", "--site-dir", str(tmp_path), "--config-file", str(TOP / "mkdocs.yml")]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=TOP, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(list((TOP / "docs").rglob("*.md")))
    for page in pages:
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"([^\"]+)\"", html)
        loaded += re.findall(r"<link[^>]+rel=\"(?:stylesheet|icon|preconnect|preload)\"[^>]+href=\"([^\"]+)\"", html)
        assert not [address for address in loaded if re.match(r"(?:https?:)?//", address)], page.name
    assert "read_slice" in (tmp_path / "reference/api/ct.html").read_text(encoding="utf-8")
