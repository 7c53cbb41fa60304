"""Grad-CAM of a run's network, with MONAI's class (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74).

Everything is done on a copy: the run's network keeps its frozen parts, modes and hooks. The copy is in float32 and in
evaluation mode with every parameter frozen; gradients are taken with respect to activations only.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.visualize import GradCAM
from torch import Tensor, nn
from torch.nn.functional import interpolate

from covidct.errors import UsageError
from covidct.models.backbone import Backbone

BATCH = 16


@dataclass(frozen=True)
class Maps:
    """Attribution maps of slices, all >= 0.

    Args:
        cells: float32 [n, h, w], on the grid of the explained layer.
        pictures: float32 [n, size, size], the same between the cells' centres.
    """

    cells: np.ndarray
    pictures: np.ndarray


def loose_copy(backbone: Backbone, device: torch.device | str = "cpu") -> Backbone:
    """A copy to explain: float32, contiguous, evaluation mode, nothing trainable, nothing done in place."""
    copied = copy.deepcopy(backbone).to(device=device, dtype=torch.float32)
    copied.channels_last = False  # MONAI's Grad-CAM takes views that need contiguous gradients
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    copied.eval().requires_grad_(False)
    for module in copied.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # hooks cannot watch what is overwritten
    return copied


def last_spatial_layer(backbone: Backbone, size: int) -> tuple[str, tuple[int, int]]:
    """The layer Grad-CAM explains: the last one that still has places.

    That is the module that ends last among those whose output is [batch, channels, h, w] with h and w of 2 or more;
    in a ResNet the last stage, or an earlier one where pictures are so small that the last stage has one cell.

    Args:
        backbone: The network.
        size: Side of the pictures in pixels.

    Returns:
        Its name inside the backbone, and (h, w).

    Raises:
        UsageError: The network ends in tokens (transformers) or in channels-last feature maps.
    """
    net: Any = backbone.net
    seen: list[tuple[str, tuple[int, ...]]] = []
    handles = []
    for name, module in backbone.named_modules():
        if name and module is not backbone.net:
            hook = _noting(name, seen)
            handles.append(module.register_forward_hook(hook))
    image = torch.zeros(1, backbone.channels, size, size, device=backbone.mean.device)
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            final = net.forward_features(backbone.prepared(image))
            seen.clear()
            backbone(image)
    finally:
        for handle in handles:
            handle.remove()
        backbone.train(was_training)
    name = str(net.pretrained_cfg["architecture"])
    if not isinstance(final, Tensor) or final.ndim != 4 or final.shape[1] != getattr(net, "num_features", -1):
        kind = "tokens" if isinstance(final, Tensor) and final.ndim == 3 else "another layout than channels, rows, cols"
        raise UsageError(
            f"Grad-CAM needs a last layer with channels on a grid; {name} ends in {kind}",
            where="run",
            remedy="explain a run of a convolutional network (ResNet, EfficientNet, DenseNet, ...)",
        )
    spatial = [(layer, shape) for layer, shape in seen if len(shape) == 4 and min(shape[2:]) >= 2]
    if not spatial:
        raise UsageError(
            f"no layer of {name} has places left in a picture of {size} x {size}",
            remedy="train with a larger data.size",
        )
    layer, shape = spatial[-1]
    return layer, (shape[2], shape[3])


def _noting(name: str, seen: list[tuple[str, tuple[int, ...]]]) -> Any:
    def note(_module: nn.Module, _given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            seen.append((name, tuple(output.shape)))

    return note


def gradcam(backbone: Backbone, layer: str, images: Tensor, classes: Sequence[int]) -> Maps:
    """Grad-CAM of one class for each slice.

    Args:
        backbone: The network; it is copied and stays as it is.
        layer: From `last_spatial_layer`.
        images: float32 [n, C, size, size] in [0, 1], n >= 1.
        classes: For each slice the number of the class whose logit is explained.

    Returns:
        The maps; a map of zeros where nothing in the slice speaks for the class.
    """
    size = images.shape[-1]
    net = loose_copy(backbone, backbone.mean.device)
    # MONAI's own scaling turns the map upside down, and its minimum into 0: shares need the values as they are
    explainer = GradCAM(net, target_layers=layer, upsampler=lambda _: nn.Identity(), postprocessing=nn.Identity())
    wanted = np.asarray(classes)
    found: dict[int, Tensor] = {}
    with torch.enable_grad(), torch.autocast(net.mean.device.type, enabled=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        # MONAI sums the scores of a batch over all its classes, so a batch holds slices of one class
        for number in np.unique(wanted):
            rows = np.flatnonzero(wanted == number)
            for first in range(0, len(rows), BATCH):
                part = rows[first : first + BATCH]
                given = images[part].to(net.mean.device).float().requires_grad_(True)
                cells = explainer(given, class_idx=int(number)).detach()[:, 0].float()
                found.update(zip(part.tolist(), cells, strict=True))
    stacked = torch.stack([found[row] for row in range(len(wanted))])
    pictures = interpolate(stacked[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    return Maps(stacked.cpu().numpy(), pictures.cpu().numpy())
