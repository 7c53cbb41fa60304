"""What a network starts from: published weights, a local file, or chance, and the record of which.

Weights are never random in silence. A file or a download is loaded strictly, and afterwards every weight tensor of the
trunk is compared with the random draw it replaced; a tensor that did not change stops the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from covidct.errors import DataRefused, ResourceError, UsageError
from covidct.provenance import digest_file

log = logging.getLogger(__name__)

PROBE_SECONDS = 4.0
"""How long to wait for an answer of the hub before it counts as unreachable (timm itself retries for 47 s)."""


@dataclass(frozen=True)
class WeightsRecord:
    """What a network started from.

    Args:
        source: "hub" (timm's published weights), "file" (a local file) or "none" (random).
        name: timm's name with its tag ("resnet50.a1_in1k"), or the name of the file without its folder; "" for none.
        sha256: SHA-256 of the weights file, or None for a random start.
        state_sha256: `digest_state` of the network as it was when training began, new classifier included.
        note: For people: what was done, and loudly so when the start is random.
    """

    source: str
    name: str
    sha256: str | None
    state_sha256: str
    note: str

    def as_dict(self) -> dict[str, str | None]:
        """Plain values, for run.json and checkpoints."""
        return asdict(self)


def digest_state(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a module's state, in hex; the same on every device."""
    running = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        running.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        running.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return running.hexdigest()


def start(name: str, make: dict[str, Any], weights: str) -> tuple[Any, WeightsRecord]:
    """A timm network with its starting weights, and the record of where they come from.

    Args:
        name: A timm model name that exists.
        make: Arguments of `timm.create_model`.
        weights: See `build_backbone`.

    Raises:
        UsageError: `weights` is none of the known words and no .safetensors file.
        DataRefused: The weights file is missing, damaged, a pickle, or belongs to another network.
        ResourceError: The hub cannot be reached and nothing is cached.
    """
    if weights == "none":
        return _random(name, make, "random start, as asked for with weights=none")
    if weights == "if_available":
        try:
            file, tag = _from_hub(name)
        except ResourceError as error:
            note = f"RANDOM START: no published weights could be had ({error.what}); results will be poor"
            log.warning(note)
            return _random(name, make, note)
        return _loaded(name, make, file, source="hub", called=tag)
    if weights == "imagenet":
        file, tag = _from_hub(name)
        return _loaded(name, make, file, source="hub", called=tag)
    file = Path(weights).expanduser()
    _check_file(file)
    return _loaded(name, make, file, source="file", called=file.name)


def _random(name: str, make: dict[str, Any], note: str) -> tuple[Any, WeightsRecord]:
    net = timm.create_model(name, pretrained=False, **make)
    # timm starts the last normalisation of a residual branch at zero. Where that layer is frozen (last3conv) the
    # branch would stay silent and nothing in it could ever learn, so here it starts at one.
    for module in net.modules():
        if isinstance(module, _NormBase) and module.affine and not module.weight.any():
            nn.init.ones_(module.weight)
    return net, WeightsRecord("none", "", None, digest_state(net), note)


def _loaded(name: str, make: dict[str, Any], file: Path, *, source: str, called: str) -> tuple[Any, WeightsRecord]:
    generator = torch.get_rng_state()
    untouched = timm.create_model(name, pretrained=False, **make)
    torch.set_rng_state(generator)  # the second network draws the same numbers: what stays equal was not loaded
    try:
        net = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **make)
    except Exception as error:  # timm and safetensors raise anything from KeyError to their own Rust errors
        raise DataRefused(
            f"the weights cannot be loaded into {name}: {_first_line(error)}",
            where=called,
            remedy="give weights of the same timm model, saved with timm's key names as .safetensors",
        ) from error
    if source == "file":
        _check_keys(net, file, name)
    head = {n for n, _ in classifier_parameters(net)}
    fresh = untouched.state_dict()
    same = [
        key
        for key, value in net.state_dict().items()
        if key not in head and value.is_floating_point() and value.ndim >= 2 and torch.equal(value, fresh[key])
    ]
    if same:
        raise DataRefused(
            f"{len(same)} tensor(s) of {name} are still random after loading, {same[0]} among them", where=called
        )
    note = f"{'published' if source == 'hub' else 'local'} weights {called}; the classifier is new"
    log.info("%s: %s", name, note)
    return net, WeightsRecord(source, called, digest_file(file), digest_state(net), note)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__


def _check_file(file: Path) -> None:
    if file.suffix in {".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar"}:
        raise DataRefused(
            f"{file.suffix} files are Python pickles and can run code",
            where=file.name,
            remedy="convert it once: safetensors.torch.save_file(torch.load(OLD, weights_only=True), NEW)",
        )
    if file.suffix != ".safetensors":
        raise UsageError(
            f"weights={str(file)!r} is none of imagenet, none, if_available or a path that ends in .safetensors",
            where="model.weights",
        )
    if not file.is_file():
        raise DataRefused("the weights file does not exist", where=str(file))


def _check_keys(net: Any, file: Path, name: str) -> None:
    """timm loads loosely as soon as the number of classes differs: name what it would have passed over."""
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        given = set(opened.keys())
    head = {n for n, _ in classifier_parameters(net)}
    wanted = set(net.state_dict()) - head
    missing = sorted(wanted - given)
    extra = sorted(given - wanted - head)
    if missing or extra:
        raise DataRefused(
            f"the file does not hold the weights of {name}: {len(missing)} tensor(s) missing {missing[:2]}, "
            f"{len(extra)} unknown {extra[:2]}",
            where=file.name,
            remedy="give weights of the same timm model with timm's key names",
        )


def find_published(name: str) -> str:
    """Where the published weights of a model would come from, for people; nothing is downloaded.

    Raises:
        ResourceError: They are not in the cache and the hub cannot be reached, or none are published.
    """
    tagged, _, _, cached = _locate(name)
    return f"{tagged}: {'in the cache' if cached else 'at the hub, which answers'}"


def _locate(name: str) -> tuple[str, str, str, Path | None]:
    """(name with tag, repository, file name, the cached file if there is one) of a model's published weights."""
    from huggingface_hub import constants, try_to_load_from_cache

    configured = timm.get_pretrained_cfg(name)
    if configured is None or not configured.hf_hub_id:
        raise ResourceError(f"timm publishes no weights for {name!r}", where="model.weights", remedy=_remedy(name))
    tagged = f"{configured.architecture}.{configured.tag}" if configured.tag else str(configured.architecture)
    repo, file_name = configured.hf_hub_id, configured.hf_hub_filename or "model.safetensors"
    cached = try_to_load_from_cache(repo, file_name)
    if isinstance(cached, str):
        return tagged, repo, file_name, Path(cached)
    asked_offline = constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    if asked_offline or not _answers(constants.ENDPOINT):
        reason = "HF_HUB_OFFLINE is set" if asked_offline else "the hub does not answer"
        raise ResourceError(
            f"the published weights {tagged} are not in the cache and {reason}",
            where="model.weights",
            remedy=_remedy(name),
        )
    return tagged, repo, file_name, None


def _remedy(name: str) -> str:
    return f"connect once, or give a local file: model.weights=FOLDER/{name}.safetensors (or choose weights=none)"


def _from_hub(name: str) -> tuple[Path, str]:
    """The published weights of a model as a file: from the cache, else downloaded. Returns (file, name with tag)."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    tagged, repo, file_name, cached = _locate(name)
    if cached is not None:
        return cached, tagged
    try:
        return Path(hf_hub_download(repo, file_name)), tagged
    except (HfHubHTTPError, OSError) as error:
        raise ResourceError(
            f"the published weights {tagged} could not be downloaded: {_first_line(error)}",
            where="model.weights",
            remedy=_remedy(name),
        ) from error


def _answers(address: str) -> bool:
    """Whether a web address gives any answer soon, through the machine's proxy where one is configured."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        with contextlib.closing(urllib.request.urlopen(request, timeout=PROBE_SECONDS)):
            return True
    except urllib.error.HTTPError:
        return True  # an answer, if an unfriendly one
    except (OSError, ValueError):
        return False


def classifier_parameters(net: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and parameters of the layer that timm calls the classifier."""
    found = net.get_classifier()
    parts = found if isinstance(found, (tuple, list)) else (found,)
    ids = {id(p) for part in parts for p in part.parameters()}
    return ((name, p) for name, p in net.named_parameters() if id(p) in ids)
