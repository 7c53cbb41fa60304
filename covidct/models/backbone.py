"""Any timm network as a chest-CT classifier, with the origin of its weights on record."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from covidct.errors import UsageError
from covidct.models.weights import WeightsRecord, start


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
    net, record = start(name, make, weights)
    return Backbone(net, record, channels=channels)
