"""The composed config as typed values: what a run is asked to do.

Defaults live in `conf/`, and only there; every field here must be given. Unknown keys are refused with the nearest
known one, so that `+data.sise=96` cannot pass silently.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar

from covidct.errors import UsageError
from covidct.labels import ClassScheme

T = TypeVar("T")


@dataclass(frozen=True)
class ClassSettings:
    """Class names in column order, and which of them is health and which the binary summary is about."""

    names: list[str]
    normal: str | None
    positive: str | None

    def scheme(self) -> ClassScheme:
        """The checked scheme."""
        return ClassScheme(tuple(self.names), self.normal, self.positive)


@dataclass(frozen=True)
class DataSettings:
    """Where the slices come from and what is done to a slice before the network sees it (`conf/data/`)."""

    source: str
    root: str | None
    index: str
    labels: str | None
    classes: ClassSettings | None
    single_disease: bool
    ages: list[int] | None
    unknown_age: Literal["refuse", "keep"]
    lungs_cm2: float | None
    irregular: Literal["warn", "reject", "keep"]
    windows: list[str] | None
    size: int
    fit: Literal["pad", "stretch", "crop"]
    augment: dict[str, Any] | None
    views: int | None
    batch_size: int
    workers: int
    cache: Literal["none", "memory", "disk"]
    balance: Literal["none", "sampler", "loss"]


@dataclass(frozen=True)
class SplitSettings:
    """How partitions are made (`conf/split/`)."""

    kind: Literal[
        "patient", "paper_image_level", "official", "official_pool", "official_pool_image_level", "image_level"
    ]
    repeat: int
    seed: int
    train_fraction: float
    external_sites: list[str]
    file: str | None


@dataclass(frozen=True)
class ModelSettings:
    """The network and what of it is tuned (`conf/model/`)."""

    name: str
    weights: str
    trainable: Literal["last3conv", "last_stage", "head", "all"]
    drop_rate: float
    channels_last: bool


@dataclass(frozen=True)
class StopSettings:
    """When training ends; see `covidct.training.stopping`."""

    min_epochs: int
    patience: int
    max_epochs: int
    min_delta: float


@dataclass(frozen=True)
class RecipeSettings:
    """Optimizer phases, stop rule and the choice of the checkpoint that counts (`conf/recipe/`)."""

    name: str
    phases: list[dict[str, Any]]
    stop: StopSettings
    best: Literal["val_loss", "val_accuracy", "val_macro_auc"]
    label_smoothing: float


@dataclass(frozen=True)
class FeatureSettings:
    """Whether the frozen part of the network is computed once instead of in every epoch, and where it is kept."""

    use: Literal["auto", "on", "off"]
    folder: str | None


@dataclass(frozen=True)
class TrainerSettings:
    """The machine and the precision (`conf/trainer/`)."""

    accelerator: str
    devices: int | str | list[int]
    num_nodes: int
    strategy: str
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    accumulate_grad_batches: int
    gradient_clip_val: float | None
    deterministic: bool | Literal["warn"]


@dataclass(frozen=True)
class LoggerSettings:
    """Where numbers are logged beside metrics.csv (`conf/logger/`)."""

    kind: Literal["wandb", "csv", "none", "tensorboard"]
    project: str
    entity: str | None
    group: str | None
    tags: list[str]
    mode: Literal["auto", "online", "offline"]
    artifacts: bool


@dataclass(frozen=True)
class TrainSettings:
    """Everything `covidct train` is told."""

    name: str
    arm: str
    profile: Literal["rigorous", "paper"]
    seed: int
    runs: str
    allow_drift: bool
    data: DataSettings
    split: SplitSettings
    model: ModelSettings
    recipe: RecipeSettings
    features: FeatureSettings
    trainer: TrainerSettings
    logger: LoggerSettings

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they are kept in config.yaml."""
        return asdict(self)


def read_settings(cls: type[T], values: Any, where: str = "") -> T:
    """Build a settings dataclass from plain values, checking names and types.

    Raises:
        UsageError: A key is unknown or missing, or a value has the wrong type or is not among the choices.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{where or 'the config'} must be a section of keys, not {values!r}")
    assert is_dataclass(cls)
    hints = typing.get_type_hints(cls)
    known = [field.name for field in fields(cls)]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=2, cutoff=0.5)
            meant = " or ".join(_join(where, name) for name in close)
            hint = f"did you mean {meant}?" if close else f"known keys: {', '.join(known)}"
            raise UsageError(f"unknown key {_join(where, str(key))}", remedy=hint)
    read = {}
    for name in known:
        if name not in values:
            raise UsageError(f"missing key {_join(where, name)}", remedy=f"add {_join(where, name)}=...")
        read[name] = _convert(hints[name], values[name], _join(where, name))
    return typing.cast(T, cls(**read))


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_settings(hint, value, where)
    if origin is Literal:
        if value not in options:
            close = difflib.get_close_matches(str(value), [str(o) for o in options], n=1)
            hint_text = f"did you mean {close[0]}?" if close else f"one of {', '.join(map(str, options))}"
            raise UsageError(f"{where}={value} is not a choice", remedy=hint_text)
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in options:
            return None
        for option in options:
            try:
                return _convert(option, value, where)
            except UsageError as error:
                failure = error
        raise failure
    if origin is list:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where}={value!r} must be a list", remedy=f"write {where}=[a,b]")
        return [_convert(options[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}={value!r} must be a section of keys")
        return {str(key): item for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (type(value) is hint):
        return value
    raise UsageError(f"{where}={value!r} must be {_name(hint)}, not {type(value).__name__}")


def _name(hint: Any) -> str:
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(hint, str(hint))
