"""Grad-CAM against a map worked out by hand, its refusals, and that the run's network is left alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from covidct.errors import UsageError
from covidct.evaluation.explanations.sanity import STAGES
from covidct.models.backbone import build_backbone
from covidct.models.trainable import set_trainable
from covidct.training.explain.gradcam import gradcam, last_spatial_layer
from covidct.training.explain.shuffled import parameters_from_the_end, shuffled


class OneConvolution(nn.Module):
    """conv 1 x 1 (3 -> 2), mean over places, linear (2 -> 3); what a `Backbone` promises and no more."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.fc = nn.Linear(2, 3, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).reshape(2, 3, 1, 1))
            self.fc.weight.copy_(torch.tensor([[1.0, -1.0], [-2.0, 0.5], [-1.0, -1.0]]))
        self.register_buffer("mean", torch.zeros(1))
        self.channels_last, self.channels = False, 3

    def forward(self, image):
        return self.fc(self.conv(image).mean((2, 3)))


def test_the_map_is_the_one_worked_out_by_hand():
    """alpha = gradient of the logit, averaged over the 4 places: w[class] / 4. Map = ReLU(alpha . activation)."""
    red = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    green = torch.tensor([[0.0, 2.0], [1.0, 4.0]])
    image = torch.stack([red, green, torch.full((2, 2), 9.0)])[None].repeat(4, 1, 1, 1)
    found = gradcam(OneConvolution(), "conv", image, [0, 1, 2, 0])  # mixed classes: each slice its own
    expected = [
        torch.relu(red - green) / 4,
        torch.relu(-2 * red + 0.5 * green) / 4,
        torch.zeros(2, 2),  # nothing speaks for class 2
        torch.relu(red - green) / 4,
    ]
    np.testing.assert_allclose(found.cells, torch.stack(expected).numpy(), atol=1e-7)
    np.testing.assert_allclose(found.pictures, found.cells, atol=1e-7)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        backbone = build_backbone("test_resnet", 3, channels=1, weights="none")
        set_trainable(backbone, "head")
    return backbone.train()


def test_the_last_layer_with_places(network):
    layer, grid = last_spatial_layer(network, 96)
    stages = [name for name, _ in network.net.named_children() if name.startswith("layer")]
    assert layer == f"net.{stages[-1]}"
    assert min(grid) >= 2
    small, coarse = last_spatial_layer(network, 32)  # the last stage has one cell there: no map
    assert min(coarse) >= 2
    assert network.get_submodule(small) is not None


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_tokens_are_refused_and_other_convolutional_networks_are_not(name):
    backbone = build_backbone(name, 2, channels=1, weights="none")
    if name == "test_vit":
        with pytest.raises(UsageError, match="ends in tokens"):
            last_spatial_layer(backbone, 160)
        return
    layer, grid = last_spatial_layer(backbone, 160)
    found = gradcam(backbone, layer, torch.rand(2, 1, 160, 160), [0, 1])
    assert found.cells.shape == (2, *grid)


def test_the_network_is_left_as_it_is(network):
    before = copy.deepcopy(network.state_dict())
    flags = [p.requires_grad for p in network.parameters()]
    modes = [m.training for m in network.modules()]
    state = torch.get_rng_state()
    images = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    layer, _ = last_spatial_layer(network, 64)
    found = gradcam(network, layer, images, [0, 1, 2])
    for stage in STAGES:
        shuffled(network, stage, 1, images)
    assert np.isfinite(found.cells).all()
    assert (found.cells >= 0).all()
    assert found.cells.max() > 0
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert [p.requires_grad for p in network.parameters()] == flags
    assert [m.training for m in network.modules()] == modes
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in network.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_channels_last_and_one_slice_at_a_time_give_the_same_maps(network):
    images = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    layer, _ = last_spatial_layer(network, 64)
    together = gradcam(network, layer, images, [0, 1, 1, 2])
    other = copy.deepcopy(network)
    other.use_channels_last()
    for k, number in enumerate([0, 1, 1, 2]):
        alone = gradcam(other, layer, images[k : k + 1], [number])
        np.testing.assert_allclose(alone.cells[0], together.cells[k], rtol=1e-3, atol=1e-6)


def test_weights_are_shuffled_from_the_end(network):
    images = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    sets = [parameters_from_the_end(network, stage) for stage in STAGES]
    assert sets[0] < sets[1] < sets[2]
    before = dict(network.net.named_parameters())
    for stage, names in zip(STAGES, sets, strict=True):
        after = dict(shuffled(network, stage, 5, images).net.named_parameters())
        for name, parameter in before.items():
            assert torch.equal(parameter.flatten().sort().values, after[name].flatten().sort().values)
            if name not in names:
                assert torch.equal(parameter, after[name])
        moved = [name for name in names if not torch.equal(before[name], after[name])]
        assert any(name.endswith("weight") for name in moved)
        with torch.no_grad():
            assert torch.isfinite(shuffled(network, stage, 5, images)(images)).all()
