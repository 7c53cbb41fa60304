"""Weights are what they claim to be, frozen parts do not move, tuned ones do."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from covidct.errors import DataRefused, ResourceError, UsageError
from covidct.models import weights as door
from covidct.models.backbone import build_backbone
from covidct.models.trainable import set_trainable
from covidct.models.weights import digest_state

SHARED = Path(__file__).parents[3] / "shared" / "weights" / "tf_efficientnet_lite0.safetensors"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "Published" weights of test_resnet: a thousand classes, three channels."""
    torch.manual_seed(1)
    state = timm.create_model("test_resnet", num_classes=1000).state_dict()
    file = tmp_path_factory.mktemp("weights") / "some.safetensors"
    save_file({key: value + torch.tensor(0.25).to(value.dtype) for key, value in state.items()}, file)
    return file


class TestBuild:
    def test_logits_of_normalised_images(self, weights: Path) -> None:
        """One channel is the same as three equal ones; the mean and spread are those of the weights."""
        image = torch.rand(2, 1, 32, 32)
        torch.manual_seed(0)
        one = build_backbone("test_resnet", 5, channels=1, weights=str(weights)).eval()
        torch.manual_seed(0)
        three = build_backbone("test_resnet", 5, channels=3, weights=str(weights)).eval()
        by_hand = one.net((image.repeat(1, 3, 1, 1) - 0.5) / 0.5)  # timm's page of test_resnet: mean 0.5, std 0.5
        assert one(image).shape == (2, 5)
        torch.testing.assert_close(one(image), by_hand)
        torch.testing.assert_close(three(image.repeat(1, 3, 1, 1)), by_hand)

    def test_each_channel_of_a_colour_network_has_its_own_mean(self) -> None:
        built = build_backbone("resnet18", 2, channels=1, weights="none")
        torch.testing.assert_close(built.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
        torch.testing.assert_close(built.std.flatten(), torch.tensor([0.229, 0.224, 0.225]))

    def test_other_numbers_of_channels(self, weights: Path) -> None:
        built = build_backbone("test_resnet", 5, channels=2, weights=str(weights)).eval()
        assert built(torch.rand(1, 2, 32, 32)).shape == (1, 5)
        given = load_file(weights)["conv1.0.weight"]
        torch.testing.assert_close(built.net.conv1[0].weight, given[:, :2] * 1.5)  # timm keeps the sum's scale
        with pytest.raises(UsageError, match="2 channel"):
            built(torch.rand(1, 3, 32, 32))

    @pytest.mark.parametrize(
        ("name", "changes", "says"),
        [
            ("resnet5", {}, "resnet50"),
            ("test_resnet", {"n_classes": 1}, "two or more classes"),
            ("test_resnet", {"channels": 0}, "channel"),
            ("test_resnet", {"drop_rate": 1.5}, "dropout"),
            ("test_resnet", {"weights": "imagnet"}, "none of imagenet"),
        ],
    )
    def test_wrong_wishes(self, name: str, changes: dict[str, object], says: str) -> None:
        wishes = {"n_classes": 3, "channels": 1, "weights": "none", **changes}
        with pytest.raises(UsageError, match=says):
            build_backbone(name, wishes.pop("n_classes"), **wishes)  # type: ignore[arg-type]


class TestWeights:
    def test_none_is_random_and_says_so(self) -> None:
        torch.manual_seed(3)
        first = build_backbone("test_resnet", 3, channels=1, weights="none")
        second = build_backbone("test_resnet", 3, channels=1, weights="none")
        assert (first.weights.source, first.weights.sha256) == ("none", None)
        assert "random" in first.weights.note
        assert first.weights.state_sha256 == digest_state(first.net) != second.weights.state_sha256

    def test_a_file_is_loaded_and_recorded(self, weights: Path) -> None:
        built = build_backbone("test_resnet", 3, channels=1, weights=str(weights))
        given = load_file(weights)
        for key, value in built.net.state_dict().items():
            if not key.startswith("fc."):
                assert torch.equal(value, given[key]), key
        assert built.net.fc.weight.shape == (3, 96)
        record = built.weights
        assert (record.source, record.name) == ("file", "some.safetensors")  # no folder: records travel
        assert record.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()

    @pytest.mark.parametrize("damage", ["missing", "extra", "shape", "torn", "empty", "other model", "no file"])
    def test_wrong_files(self, weights: Path, tmp_path: Path, damage: str) -> None:
        file = tmp_path / "w.safetensors"
        state = load_file(weights)
        if damage == "missing":
            state.pop("layer3.0.conv1.weight")
        if damage == "extra":
            state["layer9.weight"] = torch.zeros(3)
        if damage == "shape":
            state["layer3.0.conv1.weight"] = torch.zeros(3, 3)
        if damage == "other model":
            state = timm.create_model("test_vit").state_dict()
        save_file(state, file)
        if damage == "torn":
            file.write_bytes(file.read_bytes()[:-1000])
        if damage == "empty":
            file.write_bytes(b"")
        if damage == "no file":
            file.unlink()
        with pytest.raises(DataRefused):
            build_backbone("test_resnet", 3, channels=1, weights=str(file))

    def test_pickles_are_refused_unread(self, tmp_path: Path) -> None:
        for name in ("w.pth", "w.pt", "w.bin"):
            with pytest.raises(DataRefused, match="pickle"):
                build_backbone("test_resnet", 3, channels=1, weights=str(tmp_path / name))

    def test_a_loader_that_loads_nothing_is_caught(self, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        make = timm.create_model
        monkeypatch.setattr(
            timm, "create_model", lambda name, pretrained, pretrained_cfg_overlay=None, **kw: make(name, **kw)
        )
        with pytest.raises(DataRefused, match="still random"):
            build_backbone("test_resnet", 3, channels=1, weights=str(weights))

    def test_offline_is_said_at_once(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        before = time.monotonic()
        with pytest.raises(ResourceError, match="HF_HUB_OFFLINE") as caught:
            build_backbone("test_resnet", 3, channels=1, weights="imagenet")
        assert "safetensors" in str(caught.value.remedy)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
        with pytest.raises(ResourceError, match="does not answer"):
            build_backbone("test_resnet", 3, channels=1, weights="imagenet")
        assert time.monotonic() - before < 10

    def test_if_available_is_loud_about_a_random_start(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        built = build_backbone("test_resnet", 3, channels=1, weights="if_available")
        assert built.weights.source == "none"
        assert built.weights.note.startswith("RANDOM START")
        assert "RANDOM START" in caplog.text

    @pytest.mark.parametrize("choice", ["imagenet", "if_available"])
    def test_the_hub_cache_serves(self, weights: Path, monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
        asked = []
        monkeypatch.setattr(
            huggingface_hub, "try_to_load_from_cache", lambda repo, name: asked.append((repo, name)) or str(weights)
        )
        built = build_backbone("test_resnet", 3, channels=1, weights=choice)
        assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
        assert (built.weights.source, built.weights.name) == ("hub", "test_resnet.r160_in1k")
        assert torch.equal(built.net.conv1[0].weight, load_file(weights)["conv1.0.weight"])

    @pytest.mark.skipif(not SHARED.exists(), reason="the shared ImageNet weights are not on this machine")
    def test_real_weights(self) -> None:
        built = build_backbone("tf_efficientnet_lite0", 2, channels=3, weights=str(SHARED)).eval()
        given = load_file(SHARED)
        assert torch.equal(built.net.conv_stem.weight, given["conv_stem.weight"])
        whole = timm.create_model("tf_efficientnet_lite0")
        whole.load_state_dict(given, strict=True)
        image = torch.rand(1, 3, 224, 224)
        torch.testing.assert_close(
            built.net.forward_features((image - 0.5) / 0.5), whole.eval().forward_features(image * 2 - 1)
        )


def test_digest_is_of_values_not_of_layout() -> None:
    built = build_backbone("test_resnet", 3, channels=1, weights="none")
    before = digest_state(built)
    built.use_channels_last()
    assert built.net.layer3[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    assert digest_state(built) == before
    with torch.no_grad():
        flat = built.net.fc.bias
        flat[0] = torch.nextafter(flat[0], torch.tensor(torch.inf))
    assert digest_state(built) != before


class TestTrainable:
    def test_the_papers_number_on_resnet50(self) -> None:
        built = build_backbone("resnet50", 5, channels=1, weights="none")
        report = set_trainable(built, "last3conv")
        assert report.names == (
            "net.layer4.2.conv1.weight",
            "net.layer4.2.conv2.weight",
            "net.layer4.2.conv3.weight",
            "net.fc.weight",
            "net.fc.bias",
        )
        assert report.n_trainable == 4_466_693 == 4_456_448 + 10_245
        assert report.n_total == 23_518_277
        assert set_trainable(built, "last_stage").n_trainable == 14_964_736 + 10_245
        assert set_trainable(built, "head").n_trainable == 10_245
        assert set_trainable(built, "all").n_trainable == 23_518_277

    @pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "densenet121", "mobilenetv3_small_050"])
    def test_three_convolutions_elsewhere(self, name: str) -> None:
        built = build_backbone(name, 5, channels=1, weights="none")
        names = set_trainable(built, "last3conv").names
        modules = dict(built.named_modules())
        layers = {n.rpartition(".")[0] for n in names}
        assert sum(isinstance(modules[n], nn.Conv2d) for n in layers) == 3
        assert not any(".se." in n for n in names)

    def test_no_meaning_for_transformers(self) -> None:
        built = build_backbone("vit_tiny_patch16_224", 5, channels=1, weights="none")
        with pytest.raises(UsageError, match="last3conv has no meaning"):
            set_trainable(built, "last3conv")
        names = set_trainable(built, "last_stage").names
        assert {n.split(".")[1] for n in names} == {"blocks", "norm", "head"}
        assert {n.split(".")[2] for n in names if ".blocks." in n} == {"11"}

    def test_unknown_choice(self) -> None:
        with pytest.raises(UsageError, match="unknown") as caught:
            set_trainable(build_backbone("test_resnet", 3, channels=1, weights="none"), "last3convs")
        assert "'last3conv'" in str(caught.value.remedy)

    @pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
    @pytest.mark.parametrize("choice", ["last3conv", "last_stage", "head", "all"])
    def test_what_moves(self, name: str, choice: str) -> None:
        """After some steps: every tuned tensor moved, every other, buffers included, is the same bit for bit."""
        if (name, choice) == ("test_vit", "last3conv"):
            pytest.skip("refused, see above")
        torch.manual_seed(0)
        built = build_backbone(name, 3, channels=1, weights="none", drop_rate=0.1)
        tuned = set(set_trainable(built, choice).names)
        side = 160 if name == "test_vit" else 64
        before = {key: value.clone() for key, value in built.state_dict().items()}
        optimizer = torch.optim.SGD([p for p in built.parameters() if p.requires_grad], lr=0.1)
        for _ in range(2):
            built.eval()
            built.train()  # as the trainer does after validation
            loss = nn.functional.cross_entropy(built(torch.rand(4, 1, side, side)), torch.tensor([0, 1, 2, 0]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        after = built.state_dict()
        moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
        statistics = {  # of BatchNorm layers whose own weights train
            f"{key.rpartition('.')[0]}.{buffer}"
            for key in tuned
            for buffer in ("running_mean", "running_var", "num_batches_tracked")
            if f"{key.rpartition('.')[0]}.{buffer}" in after
        }
        if choice in ("head", "last3conv"):
            assert not statistics
        if name != "test_vit" and choice in ("last_stage", "all"):
            assert statistics
        assert moved == tuned | statistics

    def test_chance_is_off_in_frozen_parts(self) -> None:
        built = build_backbone("test_vit", 3, channels=1, weights="none", drop_rate=0.5)
        built.net.blocks[0].drop_path1 = nn.Dropout(0.9)
        built.net.blocks[-1].drop_path1 = nn.Dropout(0.9)
        set_trainable(built, "last_stage")
        built.train()
        assert not built.net.blocks[0].training
        assert not built.net.blocks[0].drop_path1.training
        assert built.net.blocks[-1].drop_path1.training
        assert built.net.head_drop.training
        built.eval()
        assert not any(module.training for module in built.modules())


def test_probing_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PROBE_SECONDS", 0.2)
    assert not door._answers("http://127.0.0.1:9")
    assert not door._answers("not an address")
