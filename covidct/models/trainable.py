"""Which part of a network training may move."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, Literal, get_args

from timm.models import group_parameters
from torch import nn

from covidct.errors import UsageError
from covidct.models.backbone import Backbone
from covidct.models.weights import classifier_parameters

Trainable = Literal["last3conv", "last_stage", "head", "all"]


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
    head = {id(p) for _, p in classifier_parameters(net)}
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


def _last_three_convolutions(net: Any) -> list[nn.Conv2d]:
    head = {id(p) for _, p in classifier_parameters(net)}
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
