"""Settings: every shipped config composes to them; unknown keys and wrong types are refused."""

from __future__ import annotations

import copy

import hydra
import pytest
from omegaconf import OmegaConf

from covidct.commands.compose import config_folder
from covidct.errors import UsageError
from covidct.training.settings import TrainSettings, read_settings


def compose(*overrides: str) -> dict:
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return OmegaConf.to_container(hydra.compose("train", overrides=list(overrides)), resolve=True)


def choices(group: str) -> list[str]:
    return [path.stem for path in sorted((config_folder() / group).glob("*.yaml")) if path.stem != "base"]


@pytest.mark.parametrize(
    "override",
    [f"{g}={c}" for g in ("data", "split", "model", "recipe", "trainer", "logger", "experiment") for c in choices(g)],
)
def test_every_shipped_choice_composes(override):
    settings = read_settings(TrainSettings, compose(override))
    assert settings.as_dict() == compose(override)


def test_the_paper_preset_says_what_the_paper_says():
    paper = read_settings(TrainSettings, compose("experiment=fu2020"))
    assert paper.profile == "paper"
    assert paper.split.kind == "paper_image_level"
    assert paper.split.train_fraction == 0.75
    assert (paper.model.name, paper.model.weights, paper.model.trainable) == ("resnet50", "imagenet", "last3conv")
    first, second = paper.recipe.phases
    assert (first["optimizer"], first["lr"], second["optimizer"], second["lr"]) == ("adam", 1e-4, "sgd", 1e-3)
    assert paper.recipe.stop.min_epochs == 50


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("data", "sise"), 96, "did you mean data.size"),
        (("data", "size"), "big", "whole number"),
        (("data", "size"), True, "whole number"),
        (("split", "kind"), "patients", "did you mean patient"),
        (("recipe", "stop"), 5, "section of keys"),
        (("data", "windows"), "lung", "must be"),
    ],
)
def test_wrong_values_are_refused_with_their_place(path, value, message):
    values = copy.deepcopy(compose())
    section = values
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(UsageError) as refused:
        read_settings(TrainSettings, values)
    assert message in str(refused.value)
    assert ".".join(path) in str(refused.value)


def test_a_whole_number_is_a_number():
    values = compose("recipe.label_smoothing=0")
    assert read_settings(TrainSettings, values).recipe.label_smoothing == 0.0
