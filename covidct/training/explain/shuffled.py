"""Networks whose weights were made meaningless from the output backwards, for the sanity check of Adebayo et al."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from covidct.models.backbone import Backbone
from covidct.models.weights import classifier_parameters
from covidct.training.explain.gradcam import loose_copy


def parameters_from_the_end(backbone: Backbone, stage: str) -> set[str]:
    """Names of the parameters of `net` that a stage makes random.

    Args:
        backbone: The network.
        stage: A key of `covidct.evaluation.explanations.sanity.STAGES`.
    """
    net: Any = backbone.net
    classifier = {name for name, _ in classifier_parameters(net)}
    if stage == "classifier":
        return classifier
    if stage == "all":
        return {name for name, _ in net.named_parameters()}
    groups = group_parameters(net, net.group_matcher(coarse=True))
    return classifier | {name for number in sorted(groups)[-2:] for name in groups[number]} & {
        name for name, _ in net.named_parameters()
    }


def shuffled(backbone: Backbone, stage: str, seed: int, images: Tensor) -> Backbone:
    """A copy whose weights of a stage are shuffled inside each tensor: their sizes stay, their meaning goes.

    The means and variances of BatchNorm layers are measured again on the pictures, or the signal of a deep network
    would grow without bounds.

    Args:
        backbone: From `loose_copy`.
        stage: See `parameters_from_the_end`.
        seed: Of the shuffling; the global random state is not touched.
        images: float32 [n, C, size, size]; n is 2 or more for the statistics to be measured again.
    """
    copied = loose_copy(backbone, backbone.mean.device)
    generator = torch.Generator().manual_seed(seed)
    names = parameters_from_the_end(copied, stage)
    with torch.no_grad():
        for name, parameter in copied.net.named_parameters():
            if name in names:
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))
        if stage != "classifier" and len(images) > 1:
            _measure_again(copied, images)
    return copied


def _measure_again(backbone: Backbone, images: Tensor) -> None:
    layers = [m for m in backbone.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean of what is seen
        nn.Module.train(layer)
    backbone(images.to(backbone.mean.device))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
