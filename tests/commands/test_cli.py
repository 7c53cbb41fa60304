"""The command line as a stranger meets it: overview, suggestions, exit codes, completion."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from covidct.commands.cli import VERBS, main


def covidct(*words: str, cwd=None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "covidct", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | environment,
        timeout=120,
        check=False,
    )


def test_help_names_every_verb_and_imports_nothing_heavy():
    code = (
        "import sys; from covidct.commands.cli import main; main(['--help']);"
        "heavy = {'torch', 'numpy', 'hydra', 'pandas', 'monai', 'wandb', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["trian"], 2, "did you mean `covidct train`"),
        (["train", "trainer.presision=16"], 2, "trainer.precision"),
        (["train", "model=resnet51"], 2, "resnet50"),
        (["train", "+data.sise=96"], 2, "data.size"),
        (["train", "model.trainable=last4conv"], 2, "last3conv"),
        (["train", "data.batch_size=many"], 2, "whole number"),
        (["train", "data.size"], 2, "cannot be composed"),
        (["predict", "run=nowhere"], 2, "input"),
        (["train", "+_target_=os.system"], 2, "names code to run"),
        (["train", "+data.augment._target_=posix.system"], 2, "names code to run"),
        (["train", "+model.loaders=[{_target_: builtins.eval}]"], 2, "names code to run"),
    ],
)
def test_a_wrong_word_is_one_message_with_a_way_out(words, code, hint, capsys):
    assert main(words) == code
    shown = capsys.readouterr()
    assert hint in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert f"covidct {verb}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("covidct tr", "train"),
        ("covidct train model=", "model=resnet50"),
        ("covidct train model.tr", "model.trainable="),
    ],
)
def test_tab_completion_knows_verbs_groups_and_keys(line, expected):
    done = covidct("-sc", "query=bash", COMP_LINE=line)
    assert expected in done.stdout.split(), done.stdout + done.stderr


def test_configs_are_found_from_any_folder(tmp_path):
    done = covidct("train", "experiment=demo", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "resnet10t" in done.stdout
    assert list(tmp_path.iterdir()) == []
