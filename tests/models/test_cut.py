"""A network cut in two is the same network: bitwise, in both modes, with its gradients."""

from __future__ import annotations

import pytest
import torch

from covidct.models.backbone import build_backbone
from covidct.models.cut import NoCut, TrunkAndTail
from covidct.models.trainable import set_trainable
from covidct.models.weights import digest_state

SIZE = 64


def network(name: str, choice: str, *, drop_rate: float = 0.3, channels_last: bool = True):
    torch.manual_seed(0)
    backbone = build_backbone(name, 3, channels=1, weights="none", drop_rate=drop_rate)
    set_trainable(backbone, choice)
    if channels_last:
        backbone.use_channels_last()
    return backbone


def images(size: int = SIZE):
    return torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(1))


CASES = [
    ("resnet10t", "last3conv", SIZE), ("resnet10t", "last_stage", SIZE), ("resnet10t", "head", SIZE),
    ("tf_efficientnet_lite0", "last3conv", SIZE), ("mobilenetv3_small_050", "last_stage", SIZE),
    ("test_convnext", "last3conv", SIZE), ("test_vit", "last_stage", 160), ("test_vit", "head", 160),
    ("regnety_002", "last3conv", SIZE),
]  # fmt: skip


@pytest.mark.parametrize(("name", "choice", "size"), CASES)
def test_trunk_and_tail_are_the_network(name, choice, size):
    backbone = network(name, choice)
    parts = TrunkAndTail(backbone, size)
    assert 0 < parts.cut.frozen_share <= 1
    image = images(size)
    backbone.eval()
    with torch.no_grad():
        activation = parts.trunk(image)
        assert tuple(activation.shape[1:]) == parts.cut.shape
        assert torch.equal(parts.tail(activation), backbone(image))
    backbone.train()
    assert torch.equal(parts.trunk(image), activation)  # frozen parts do not know about training
    tuned = [p for p in backbone.parameters() if p.requires_grad]
    logits, gradients = [], []
    start = {key: value.clone() for key, value in backbone.state_dict().items()}
    for forward in (lambda: parts.tail(activation), lambda: backbone(image)):
        backbone.load_state_dict(start)  # tuned BatchNorm layers move
        torch.manual_seed(5)  # the same dropout
        logits.append(forward())
        gradients.append(torch.autograd.grad(logits[-1].square().sum(), tuned))
    assert torch.equal(*logits)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_papers_cut():
    """Fu et al.: all but the last bottleneck of ResNet-50 is constant, 94.7 % of the multiply-adds at 224 x 224."""
    backbone = network("resnet50", "last3conv", drop_rate=0)
    cut = TrunkAndTail(backbone, 224).cut
    assert cut.shape == (2048, 7, 7)
    assert cut.frozen_share == pytest.approx(0.947, abs=0.0005)


def test_a_smaller_tensor_a_little_earlier_is_preferred():
    """The last three convolutions of lite0 begin inside an inverted bottleneck, six times as wide as its input."""
    assert TrunkAndTail(network("tf_efficientnet_lite0", "last3conv"), 224).cut.shape == (192, 7, 7)


def test_random_layers_stay_behind_the_cut():
    with_dropout = TrunkAndTail(network("tf_efficientnet_lite0", "head", drop_rate=0.5), SIZE)
    image = images()
    assert torch.equal(with_dropout.trunk(image), with_dropout.trunk(image))
    with_dropout._backbone.train()
    activation = with_dropout.trunk(image)
    assert not torch.equal(with_dropout.tail(activation), with_dropout.tail(activation))


def test_cutting_changes_nothing():
    backbone = network("resnet10t", "last_stage")
    backbone.train()
    before, generator = digest_state(backbone), torch.get_rng_state()
    TrunkAndTail(backbone, SIZE)
    assert digest_state(backbone) == before  # running statistics of tuned BatchNorm layers included
    assert torch.equal(torch.get_rng_state(), generator)
    assert backbone.training


@pytest.mark.parametrize(("name", "choice", "said"), [("resnet10t", "all", "nothing of the network is frozen")])
def test_what_cannot_be_cut_is_said(name, choice, said):
    with pytest.raises(NoCut, match=said):
        TrunkAndTail(network(name, choice), SIZE)


def test_a_tuned_first_layer_leaves_nothing_to_keep():
    backbone = network("resnet10t", "head")
    backbone.net.conv1[0].weight.requires_grad_(True)
    with pytest.raises(NoCut, match="before the first tuned layer"):
        TrunkAndTail(backbone, SIZE)


def test_the_digest_names_the_trunk_and_nothing_else():
    backbone = network("resnet10t", "last3conv")
    parts = TrunkAndTail(backbone, SIZE)
    digest = parts.digest()
    backbone.train()
    assert parts.digest() == digest
    with torch.no_grad():
        backbone.net.layer4[0].conv2.weight.mul_(2)  # tuned
    assert parts.digest() == digest
    with torch.no_grad():
        backbone.net.layer1[0].bn1.running_mean.add_(1e-3)  # frozen
    assert parts.digest() != digest
    assert TrunkAndTail(network("resnet10t", "last3conv", channels_last=False), SIZE).digest() != digest
