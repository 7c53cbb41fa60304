"""timm's only door: any timm network as a chest-CT classifier, with the origin of its weights on record.

Weights are never random in silence. A file or a download is loaded strictly, and afterwards every weight tensor of the
trunk is compared with the random draw it replaced; a tensor that did not change stops the run. What the network
started from travels with it as a `WeightsRecord`.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import timm
import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from covidct.errors import DataRefused, ResourceError, UsageError
from covidct.provenance import digest_file

log = logging.getLogger(__name__)

Trainable = Literal["last3conv", "last_stage", "head", "all"]
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


@dataclass(frozen=True)
class TrainableReport:
    """Which parameters training may move.

    Args:
        names: Names of the parameters inside `Backbone`, in definition order.
        n_trainable: Number of scalar weights in them.
        n_total: Number of scalar weights in the network.
    """

    names: tuple[str, ...]
    n_trainable: int
    n_total: int


class Backbone(nn.Module):
    """A timm network that takes windowed slices.

    Input: float (B, C, H, W) in [0, 1]. One channel is repeated to the three the published weights expect, three go
    in as they are; for any other number timm builds a first layer of that width. The image is then normalised with
    the mean and standard deviation of the weights. Output: logits (B, K), one per class, before softmax.

    Modules whose parameters are all frozen stay in evaluation mode even after `train()`: with `requires_grad=False`
    alone a BatchNorm layer would go on moving its running statistics, and a frozen block would go on dropping paths.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: Any, weights: WeightsRecord, *, channels: int) -> None:
        super().__init__()
        self.net = net  # a timm model: an nn.Module with pretrained_cfg, get_classifier and group_matcher
        self.weights = weights
        self.channels = channels
        self.channels_last = False
        configured = net.pretrained_cfg
        self.register_buffer("mean", _per_channel(configured["mean"], channels))
        self.register_buffer("std", _per_channel(configured["std"], channels))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W) in [0, 1]."""
        logits: Tensor = self.net(self.prepared(image))
        return logits

    def prepared(self, image: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] as the timm network takes them: channels, normalisation, memory layout."""
        if image.ndim != 4 or image.shape[1] != self.channels:
            raise UsageError(
                f"the network was built for {self.channels} channel(s) and was given an image of shape "
                f"{tuple(image.shape)}",
                remedy="give as many windows (data.windows) as the network has channels",
            )
        if self.channels == 1:
            image = image.expand(-1, 3, -1, -1)
        image = (image - self.mean) / self.std
        if self.channels_last:
            image = image.contiguous(memory_format=torch.channels_last)
        return image

    def use_channels_last(self) -> None:
        """Keep weights and images channels-last in memory: faster, above all with bfloat16; the results agree."""
        self.channels_last = True
        self.net.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Backbone:
        """As `nn.Module.train`, but frozen parts remain in evaluation mode."""
        super().train(mode)
        if mode:
            _settle(self.net, parent=True)
        return self


def _settle(module: nn.Module, *, parent: bool) -> None:
    """Training mode for what is tuned; layers without parameters (dropout, pooling) follow the part they belong to."""
    parameters = list(module.parameters())
    tuned = any(p.requires_grad for p in parameters)
    if isinstance(module, _NormBase):  # running statistics move with the layer's own affine weights or not at all
        module.training = tuned or (parent and not parameters)
    else:
        module.training = tuned if parameters else parent
    for child in module.children():
        _settle(child, parent=module.training)


def _per_channel(values: Sequence[float], channels: int) -> Tensor:
    # other numbers of windows are no colours: each gets the average of the three
    chosen = list(values) if channels in (1, 3) else [sum(values) / len(values)] * channels
    return torch.tensor(chosen, dtype=torch.float32).view(1, -1, 1, 1)


def digest_state(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a module's state, in hex; the same on every device."""
    running = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        running.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        running.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return running.hexdigest()


def build_backbone(name: str, n_classes: int, *, channels: int, weights: str, drop_rate: float = 0.0) -> Backbone:
    """Build a timm network with a new classifier for `n_classes`.

    The classifier, and with weights "none" the whole network, is drawn from torch's global generator: seed it first.

    Args:
        name: A timm model name; a tag picks one of several published weights ("resnet50.tv_in1k").
        n_classes: Number of classes K, at least 2.
        channels: Number of image channels C.
        weights: "imagenet" (published weights through the hub or its cache), a path to a .safetensors file with
            timm's key names, "none" (random start, by choice) or "if_available" (the hub where it can be reached,
            else a random start, said loudly).
        drop_rate: Dropout before the classifier, 0..1.

    Raises:
        UsageError: Unknown model, fewer than two classes, no channel, dropout outside 0..1.
        DataRefused: The weights file is missing, damaged, a pickle, or belongs to another network.
        ResourceError: The hub cannot be reached and nothing is cached.
    """
    if n_classes < 2 or channels < 1 or not 0 <= drop_rate < 1:
        raise UsageError(
            f"a network needs two or more classes, a channel or more and a dropout in [0, 1), not "
            f"n_classes={n_classes}, channels={channels}, drop_rate={drop_rate}"
        )
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise UsageError(
            f"timm knows no model {name!r}",
            where="model.name",
            remedy=f"did you mean {' or '.join(near)}?" if near else "see timm.list_models()",
        )
    make = {"num_classes": n_classes, "in_chans": 3 if channels == 1 else channels, "drop_rate": drop_rate}
    if weights == "none":
        return _random(name, make, channels, "random start, as asked for with weights=none")
    if weights == "if_available":
        try:
            file, tag = _from_hub(name)
        except ResourceError as error:
            note = f"RANDOM START: no published weights could be had ({error.what}); results will be poor"
            log.warning(note)
            return _random(name, make, channels, note)
        return _loaded(name, make, channels, file, source="hub", called=tag)
    if weights == "imagenet":
        file, tag = _from_hub(name)
        return _loaded(name, make, channels, file, source="hub", called=tag)
    file = Path(weights).expanduser()
    _check_file(file)
    return _loaded(name, make, channels, file, source="file", called=file.name)


def _random(name: str, make: dict[str, Any], channels: int, note: str) -> Backbone:
    net = timm.create_model(name, pretrained=False, **make)
    # timm starts the last normalisation of a residual branch at zero. Where that layer is frozen (last3conv) the
    # branch would stay silent and nothing in it could ever learn, so here it starts at one.
    for module in net.modules():
        if isinstance(module, _NormBase) and module.affine and not module.weight.any():
            nn.init.ones_(module.weight)
    return Backbone(net, WeightsRecord("none", "", None, digest_state(net), note), channels=channels)


def _loaded(name: str, make: dict[str, Any], channels: int, file: Path, *, source: str, called: str) -> Backbone:
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
    head = {n for n, _ in _classifier(net)}
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
    record = WeightsRecord(source, called, digest_file(file), digest_state(net), note)
    return Backbone(net, record, channels=channels)


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
    head = {n for n, _ in _classifier(net)}
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


def set_trainable(backbone: Backbone, choice: str) -> TrainableReport:
    """Freeze all but a part of the network.

    * "last3conv" (Fu et al. 2020, L257-258): the last three convolutions in definition order, and the classifier.
      On ResNet-50 that is layer4.2.conv1, conv2, conv3 and fc: 4,466,693 weights for five classes; BatchNorm, its
      affine weights included, stays frozen. Gates of squeeze-and-excitation blocks do not count as convolutions. The
      choice is refused where the last convolutions are not near the output (transformers, whose only convolution
      cuts the image into patches).
    * "last_stage": timm's last group of layers (layer4 of a ResNet, the last block of a vision transformer) with
      everything after it; its BatchNorm layers train, running statistics included.
    * "head": the classifier alone.
    * "all": every parameter.

    Raises:
        UsageError: Unknown choice, or one without meaning for this network.
    """
    if choice not in get_args(Trainable):
        near = difflib.get_close_matches(choice, get_args(Trainable), n=1)
        raise UsageError(
            f"trainable={choice!r} is unknown",
            where="model.trainable",
            remedy=f"did you mean {near[0]!r}?" if near else f"use one of {list(get_args(Trainable))}",
        )
    net: Any = backbone.net
    head = {id(p) for _, p in _classifier(net)}
    if choice == "all":
        tuned = {id(p) for p in net.parameters()}
    elif choice == "head":
        tuned = head
    elif choice == "last3conv":
        tuned = head | {id(p) for conv in _last_three_convolutions(net) for p in conv.parameters()}
    else:
        tuned = head | _last_stage(net)
    for parameter in net.parameters():
        parameter.requires_grad_(id(parameter) in tuned)
    backbone.train(backbone.training)
    names = tuple(name for name, parameter in backbone.named_parameters() if parameter.requires_grad)
    return TrainableReport(
        names=names,
        n_trainable=sum(p.numel() for p in backbone.parameters() if p.requires_grad),
        n_total=sum(p.numel() for p in backbone.parameters()),
    )


def _classifier(net: Any) -> Iterator[tuple[str, nn.Parameter]]:
    found = net.get_classifier()
    parts = found if isinstance(found, (tuple, list)) else (found,)
    ids = {id(p) for part in parts for p in part.parameters()}
    return ((name, p) for name, p in net.named_parameters() if id(p) in ids)


def _last_three_convolutions(net: Any) -> list[nn.Conv2d]:
    head = {id(p) for _, p in _classifier(net)}
    layers = [  # everything that multiplies, in definition order
        (name, module)
        for name, module in net.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and id(module.weight) not in head
    ]
    convolutions = [
        (index, module)
        for index, (name, module) in enumerate(layers)
        if isinstance(module, nn.Conv2d) and not {"se", "se_module"} & set(name.split("."))
    ]
    last = convolutions[-3:]
    if len(last) < 3 or last[0][0] < len(layers) / 2:
        raise UsageError(
            f"trainable=last3conv has no meaning for {net.pretrained_cfg['architecture']}: its last convolutions are "
            "not near the output",
            where="model.trainable",
            remedy="use last_stage",
        )
    return [module for _, module in last]


def _last_stage(net: Any) -> set[int]:
    """Parameters of timm's last coarse group before the one that ends the network, and of that one."""
    groups = group_parameters(net, net.group_matcher(coarse=True))
    names = {name for number in sorted(groups)[-2:] for name in groups[number]}
    return {id(p) for name, p in net.named_parameters() if name in names}
