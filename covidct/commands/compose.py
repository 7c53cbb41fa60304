"""Hydra's door: one composed config, checked and turned into plain values, for one verb."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from covidct.commands.cell_process import end_with_parent
from covidct.commands.cells import outcome_of_parent, recording
from covidct.errors import CovidctError, Interrupted, UsageError

FORBIDDEN_KEYS = (
    "_target_",
    "_args_",
    "_partial_",
    "_recursive_",
    "_convert_",
    "_instantiator",
    "_class_path",
    "_call_",
)
"""Keys by which a config could name code to run. Our configs hold plain values only, so the allowlist is empty."""


def config_folder() -> Path:
    """Where the configs are: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UsageError("the configs of covidct are missing", where=str(package), remedy="install covidct again")


def config_of(verb: str) -> str:
    """The name of a verb's config and module: `sweep-config` has sweep_config."""
    return verb.replace("-", "_")


def module_of(verb: str) -> str:
    """The module of a verb."""
    return f"covidct.commands.{config_of(verb)}"


def typed_words() -> list[str]:
    """The words behind the verb of the running command that set something, as they were typed."""
    return [str(word) for word in HydraConfig.get().overrides.task]


def compose_again(verb: str, words: Sequence[str]) -> dict[str, Any]:
    """The config of `verb` for other words than the running command's, as plain values.

    Raises:
        UsageError: As for a command line.
    """
    running = GlobalHydra.instance().is_initialized()
    opened = nullcontext() if running else hydra.initialize_config_dir(str(config_folder()), version_base="1.3")
    try:
        with opened:
            return plain(hydra.compose(config_of(verb), overrides=list(words)))
    except (HydraException, OmegaConfBaseException, *_STRANGE_WORDS) as error:
        failure = error
    raise _explain(verb, words, failure)


_command_line: list[str] = []
"""The running command as it was typed, verb included."""

_failures: list[CovidctError] = []

_STRANGE_WORDS = (ValueError, TypeError, KeyError, AttributeError, AssertionError, RecursionError)
"""What Hydra lets through for words that it does not expect, like `data=1` (ValueError) or a deep `[[[`."""

_composed: list[bool] = []
"""Not empty once a job of the running command began: from there on no error is one of the command line."""


def job(config: DictConfig) -> Any:
    """What Hydra runs: once, or for each job of a multirun.

    At module level, so that a launcher can send it to another process by its name.
    """
    _composed.append(True)
    about = HydraConfig.get()
    if about.mode == RunMode.MULTIRUN:
        from covidct.commands.study import run_job

        return run_job(config, _command_line)
    # Lightning starts the other ranks of a DDP run by repeating the command line, verb included.
    hydra_argv, sys.argv = sys.argv, _command_line
    outcome = outcome_of_parent()
    try:
        with recording(outcome):
            importlib.import_module(module_of(str(about.job.config_name))).run(plain(config))
    except BaseException as error:
        if outcome is not None:
            outcome.end(error)
        if not isinstance(error, CovidctError):
            raise
        _failures.append(error)
        report_failure(error)
    else:
        if outcome is not None:
            outcome.end()
    finally:
        sys.argv = hydra_argv
    return None


def run(verb: str, words: Sequence[str]) -> int:
    """Compose the config of `verb` from `words`, run it, and return the exit code."""
    from covidct.commands.study import summary_of_multirun

    end_with_parent()
    _failures.clear()
    _composed.clear()
    original = sys.argv
    _command_line[:] = original
    # Hydra would print and exit 1 by itself; let its errors come here instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = [original[0], *words]
    broken: Exception | None = None
    try:
        hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_of(verb))(job)()
    except SystemExit as end:
        return int(end.code or 0) if not isinstance(end.code, str) else 2
    except KeyboardInterrupt:
        summary_of_multirun(stopped=True, broken=None)
        report_failure(Interrupted("stopped from outside", remedy="the same command continues where it stopped"))
        return Interrupted.exit_code
    except CovidctError as error:
        report_failure(error)
        return error.exit_code
    except (HydraException, OmegaConfBaseException) as error:
        report_failure(_explain(verb, words, error))
        return UsageError.exit_code
    except Exception as error:
        if isinstance(error, _STRANGE_WORDS) and not _composed:
            report_failure(_explain(verb, words, error))
            return UsageError.exit_code
        traceback.print_exc()
        broken = error
    finally:
        sys.argv = original
    code = summary_of_multirun(stopped=False, broken=broken)
    if code is not None:
        return code
    if broken is not None:
        print("\ncovidct: this is a bug; please report it with the lines above", file=sys.stderr)
        return 1
    return _failures[0].exit_code if _failures else 0


def report_failure(error: CovidctError) -> None:
    """Print an error for people, without a traceback."""
    print(f"covidct: {error}", file=sys.stderr)


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain values.

    Raises:
        UsageError: A value that must be given is missing, or a key names code to run.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise UsageError(
            f"{len(missing)} value(s) must be given: {', '.join(missing)}",
            remedy="add " + " ".join(f"{key}=..." for key in missing),
        )
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    for key in _keys(values):
        if key.rpartition(".")[2] in FORBIDDEN_KEYS:
            raise UsageError(
                f"the config names code to run: {key}",
                remedy="configs of covidct hold plain values only; remove the key",
            )
    return {str(key): value for key, value in values.items()}


def arguments(function: Callable[..., Any], values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check that every key of a config section is an argument of `function`.

    Raises:
        UsageError: A key is unknown; the nearest known one is named.
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    for key in values:
        if key not in known:
            raise UsageError(f"unknown key {where}.{key}", remedy=_nearest(str(key), known))
    return {str(key): value for key, value in values.items()}


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def _keys(values: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            name = f"{prefix}.{key}" if prefix else str(key)
            yield name
            yield from _keys(value, name)
    elif isinstance(values, list | tuple):
        for position, value in enumerate(values):
            yield from _keys(value, f"{prefix}.{position}")  # as it is typed: recipe.phases.0.lr


def _explain(verb: str, words: Sequence[str], error: Exception) -> UsageError:
    """Say what is wrong with the command line and which key or choice was probably meant."""
    text = str(error).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(error, MissingConfigException) and (wanted := re.search(r"Could not find '([^']+)/([^'/]+)'", text)):
        group, choice = wanted.groups()
        if group.startswith("hydra/"):
            extra = "ray" if choice.startswith("ray") else "launchers"
            return UsageError(f"{group} has no choice {choice!r} here", remedy=f"pip install 'covidct[{extra}]'")
        options = [path.stem for path in sorted((config_folder() / group).glob("*.yaml"))]
        return UsageError(f"{group} has no choice {choice!r}", remedy=_nearest(choice, options))
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    for override in sorted(overrides, key=lambda word: -len(word.split("=", 1)[0])):  # `search.trials` before `search`
        key = override.split("=", 1)[0].lstrip("+~")
        if f"'{key}'" in text or (lines and key in lines[0]):
            close = difflib.get_close_matches(key, _known_keys(verb, overrides), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else f"see covidct {verb} --help"
            return UsageError(f"covidct {verb} has no key {key!r}", remedy=hint)
    return UsageError(f"the config cannot be composed: {' '.join(lines)}", remedy=f"see covidct {verb} --help")


def _known_keys(verb: str, overrides: Sequence[str]) -> list[str]:
    """Every key of the verb's config; group choices that were typed are honoured where they compose."""
    chosen = [(o, o.split("=", 1)[0]) for o in overrides]
    groups = [o for o, name in chosen if name and "." not in name and (config_folder() / name).is_dir()]
    running = GlobalHydra.instance().is_initialized()
    with nullcontext() if running else hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        try:
            config = hydra.compose(config_of(verb), overrides=groups)
        except (HydraException, OmegaConfBaseException, *_STRANGE_WORDS):
            config = hydra.compose(config_of(verb))
    keys = list(_keys(OmegaConf.to_container(config)))
    return [*keys, *(path.name for path in config_folder().iterdir() if path.is_dir())]
