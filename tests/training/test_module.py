"""The classifier: figures against scikit-learn, what training moves, what a checkpoint gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import covidct  # noqa: F401 (first: it lets torchvision import)  # isort: skip

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from torch.utils.data import DataLoader

from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.labels import ClassScheme
from covidct.training import module as under_test
from covidct.training.module import SliceClassifier, load_classifier, predict_slices
from covidct.training.slice_predictions import SlicePredictions, slice_figures
from tests.training import toy


def predictions(labels: list[int], classes: int = 3, seed: int = 0) -> SlicePredictions:
    rng = np.random.default_rng(seed)
    scores = rng.random((len(labels), classes), dtype=np.float32)
    return SlicePredictions(
        np.arange(len(labels)), scores / scores.sum(1, keepdims=True), np.array(labels, dtype=np.int64)
    )


class TestFigures:
    def test_against_scikit_learn(self) -> None:
        found = predictions([0, 1, 2, 2, 1, 0, 0, 2, 1, 1] * 4)
        figures = slice_figures(found)
        assert figures["accuracy"] == accuracy_score(found.labels, found.probabilities.argmax(1))
        assert figures["loss"] == pytest.approx(log_loss(found.labels, found.probabilities.astype(np.float64)), 1e-6)
        oracle = roc_auc_score(found.labels, found.probabilities.astype(np.float64), multi_class="ovr")
        assert figures["macro_auc"] == pytest.approx(oracle, rel=1e-5)

    def test_an_absent_class_does_not_count(self) -> None:
        found = predictions([0, 1, 1, 0, 1, 0])
        oracle = np.mean([roc_auc_score(found.labels == k, found.probabilities[:, k]) for k in (0, 1)])
        assert slice_figures(found)["macro_auc"] == pytest.approx(oracle, rel=1e-5)

    def test_undefined_is_nan(self) -> None:
        assert np.isnan(slice_figures(predictions([1, 1, 1]))["macro_auc"])
        assert np.isnan(list(slice_figures(predictions([])).values())).all()
        assert np.isnan(list(slice_figures(predictions([-1, -1])).values())).all()

    def test_unlabelled_slices_are_left_out(self) -> None:
        found = predictions([0, 1, 2, -1, -1, 1])
        known = found.labels >= 0
        assert slice_figures(found) == slice_figures(
            SlicePredictions(found.rows[known], found.probabilities[known], found.labels[known])
        )

    def test_a_hopeless_slice_costs_a_finite_loss(self) -> None:
        found = SlicePredictions(np.arange(1), np.array([[0.0, 1.0]], np.float32), np.array([0]))
        assert 80 < slice_figures(found)["loss"] < 100


class TestTraining:
    @pytest.mark.parametrize("choice", ["last3conv", "last_stage", "head", "all"])
    def test_what_moves_in_a_real_run(self, choice: str) -> None:
        """Two phases, validation in between: frozen tensors and buffers are bit-identical, tuned ones all moved."""
        module = toy.classifier(trainable=choice)
        before = {key: value.clone() for key, value in module.state_dict().items()}
        toy.trainer(None).fit(module, toy.Toy())
        after = module.state_dict()
        assert after.keys() == before.keys()
        moved = {key for key in after if not torch.equal(after[key], before[key])}
        tuned = {f"backbone.{name}" for name in module.trainable.names}
        assert tuned <= moved
        assert all(key.rpartition(".")[0] + ".weight" in tuned for key in moved - tuned)  # only their statistics
        assert not (moved - tuned and choice in ("head", "last3conv"))

    def test_figures_of_the_validation_set(self) -> None:
        module = toy.classifier()
        trainer = toy.trainer(None, max_epochs=1)
        trainer.fit(module, toy.Toy(val=13))
        found = module.predictions
        assert found is not None
        assert found.rows.tolist() == list(range(1000, 1013))
        assert found.rows.dtype == np.int64
        assert found.probabilities.dtype == np.float32
        images = torch.stack([toy.Slices(13, 1000)[i]["image"] for i in range(13)])
        module.eval()
        with torch.no_grad():
            by_hand = torch.softmax(module(images), 1).numpy()
        np.testing.assert_allclose(found.probabilities, by_hand, rtol=1e-4)
        truth = np.arange(1000, 1013) % 3
        logged = trainer.callback_metrics
        assert float(logged["val_loss"]) == pytest.approx(log_loss(truth, by_hand.astype(np.float64)), rel=1e-4)
        assert float(logged["val_accuracy"]) == pytest.approx(accuracy_score(truth, by_hand.argmax(1)))
        assert float(logged["val_macro_auc"]) == pytest.approx(
            roc_auc_score(truth, by_hand / by_hand.sum(1, keepdims=True), multi_class="ovr"), rel=1e-5
        )
        assert 0 < float(logged["train_accuracy"]) <= 1

    def test_epoch_means_weigh_the_last_short_batch_rightly(self) -> None:
        """7 slices in batches of 6: a plain mean of batch means would count the last slice six times."""
        steps: list[tuple[float, int]] = []

        class Note(pl.Callback):
            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
                steps.append((float(outputs["loss"]), len(batch["row"])))

        trainer = toy.trainer(None, max_epochs=1, callbacks=[Note()])
        trainer.fit(toy.classifier(trainable="head"), toy.Toy(train=7))
        assert [n for _, n in steps] == [6, 1]
        assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(
            sum(loss * n for loss, n in steps) / 7, rel=1e-5
        )

    def test_class_weights_and_smoothing_reach_the_loss(self) -> None:
        module = toy.classifier(class_weights=[0.2, 1.0, 3.0], label_smoothing=0.1).eval()
        toy.trainer(None, max_epochs=1).fit(module, toy.Toy(train=6))
        batch = torch.utils.data.default_collate([toy.Slices(6)[i] for i in range(6)])
        module.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
        loss = module.eval().training_step(batch, 0)
        logits, label = module(batch["image"]), batch["label"]
        weight = torch.tensor([0.2, 1.0, 3.0])
        # torch's definition, written out: smoothed targets, weighted per class, divided by the weights of the labels
        target = torch.nn.functional.one_hot(label, 3) * 0.9 + 0.1 / 3
        by_hand = -(target * weight * torch.log_softmax(logits, 1)).sum() / weight[label].sum()
        torch.testing.assert_close(loss, by_hand)

    def test_the_global_generator_before_a_step_does_not_matter(self) -> None:
        digests = []
        for stir in (False, True):
            module = toy.classifier(drop_rate=0.5)
            if stir:
                torch.rand(17)
            toy.trainer(None, max_epochs=1).fit(module, toy.Toy())
            digests.append(module.digest())
        assert digests[0] == digests[1]
        other = toy.classifier(drop_rate=0.5, seed=4)
        toy.trainer(None, max_epochs=1).fit(other, toy.Toy())
        assert other.digest() != digests[0]

    def test_channels_last_agrees(self) -> None:
        image = torch.rand(2, 1, 32, 32)
        plain, last = toy.classifier().eval(), toy.classifier(channels_last=True).eval()
        torch.testing.assert_close(plain(image), last(image))
        assert plain.digest() == last.digest()


class TestNotFinite:
    def test_a_bad_slice_in_training_stops_at_once(self, tmp_path: Path) -> None:
        good = toy.classifier()
        toy.trainer(tmp_path, max_epochs=1).fit(good, toy.Toy())
        kept = (tmp_path / "last.ckpt").read_bytes()
        with pytest.raises(DataRefused) as caught:
            toy.trainer(tmp_path).fit(toy.classifier(), toy.Toy(spoilt=7), ckpt_path=str(tmp_path / "last.ckpt"))
        assert "1 image(s) hold NaN" in str(caught.value)
        assert "rows 7" in str(caught.value)
        assert "epoch 1" in str(caught.value)
        assert (tmp_path / "last.ckpt").read_bytes() == kept

    def test_a_diverged_run(self) -> None:
        module = toy.classifier(trainable="all")
        with pytest.raises(DataRefused, match=r"images are finite|no probabilities"):
            toy.trainer(None, [{"optimizer": "sgd", "lr": 1e20, "epochs": 9}]).fit(module, toy.Toy())

    def test_in_validation(self, tmp_path: Path) -> None:
        """The weights broke in the last step of an epoch: that epoch leaves no checkpoint."""

        class Break(pl.Callback):
            def on_validation_start(self, trainer: Any, module: Any) -> None:
                with torch.no_grad():
                    module.backbone.net.fc.bias.fill_(torch.nan)

        with pytest.raises(DataRefused, match="13 of 13 slices"):
            toy.trainer(tmp_path, callbacks=[Break()]).fit(toy.classifier(), toy.Toy())
        assert not (tmp_path / "last.ckpt").exists()


class TestPredict:
    def test_unlabelled_slices(self) -> None:
        module = toy.classifier()
        trainer = toy.trainer(None)
        found = predict_slices(trainer, module, DataLoader(toy.Slices(5, 40, labelled=False), 2))
        assert found.rows.tolist() == [40, 41, 42, 43, 44]
        assert found.labels.tolist() == [-1] * 5
        np.testing.assert_allclose(found.probabilities.sum(1), 1, rtol=1e-5)

    def test_repeated_slices_count_once_and_order_is_by_row(self) -> None:
        module = toy.classifier()
        loader = DataLoader(toy.Slices(6), 4, sampler=[5, 3, 3, 0, 5, 1])
        found = predict_slices(toy.trainer(None), module, loader)
        assert found.rows.tolist() == [0, 1, 3, 5]
        alone = predict_slices(toy.trainer(None), module, DataLoader(toy.Slices(6), 1))
        np.testing.assert_allclose(found.probabilities, alone.probabilities[[0, 1, 3, 5]], rtol=1e-4)

    def test_nothing_to_predict(self) -> None:
        found = predict_slices(toy.trainer(None), toy.classifier(), DataLoader(toy.Slices(0), 2))
        assert found.probabilities.shape == (0, 3)

    def test_a_test_pass_leaves_the_same(self) -> None:
        module = toy.classifier()
        toy.trainer(None).test(module, DataLoader(toy.Slices(5), 2), verbose=False)
        tested = module.predictions
        predicted = predict_slices(toy.trainer(None), module, DataLoader(toy.Slices(5), 2))
        assert tested is not None
        np.testing.assert_array_equal(tested.probabilities, predicted.probabilities)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[SliceClassifier, Path]:
    folder = tmp_path_factory.mktemp("secret-folder-name")
    module = toy.classifier(weights="none", class_weights=[1, 2, 3])
    toy.trainer(folder, max_epochs=1).fit(module, toy.Toy())
    return module, folder / "last.ckpt"


class TestLoad:
    def test_the_same_network_comes_back(
        self, run: tuple[SliceClassifier, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_weights(name: str, n: int, *, weights: str, **rest: Any) -> Any:
            assert weights == "none"  # nothing is looked for
            return under_test_build(name, n, weights=weights, **rest)

        under_test_build = under_test.build_backbone
        monkeypatch.setattr(under_test, "build_backbone", no_weights)
        module, path = run
        loaded = load_classifier(path, toy.SCHEME)
        assert loaded.digest() == module.digest()
        assert loaded.weights == module.weights
        assert loaded.hparams == module.hparams
        assert not loaded.training
        assert not loaded.backbone.training

    def test_class_order_is_checked(self, run: tuple[SliceClassifier, Path]) -> None:
        shuffled = ClassScheme(("covid19", "normal", "viral"), normal="normal", positive="covid19")
        with pytest.raises(IntegrityError, match="classes"):
            load_classifier(run[1], shuffled)
        other = toy.classifier(classes=shuffled.as_dict())
        with pytest.raises(IntegrityError, match="classes"):
            toy.trainer(None).fit(other, toy.Toy(), ckpt_path=str(run[1]), weights_only=True)

    def test_nothing_of_the_machine_is_in_a_checkpoint(self, run: tuple[SliceClassifier, Path]) -> None:
        content = run[1].read_bytes()
        for word in (b"secret-folder-name", str(Path.home()).encode(), str(Path.cwd()).encode()):
            assert word not in content

    def test_a_weights_folder_does_not_travel(self, tmp_path: Path) -> None:
        from safetensors.torch import save_file

        file = tmp_path / "w.safetensors"
        save_file(toy.classifier().backbone.net.state_dict(), file)
        torch.manual_seed(99)
        values = {**toy.classifier().hparams, "weights": str(file)}
        torch.manual_seed(99)
        module = SliceClassifier(**values)
        assert module.hparams["weights"] == "w.safetensors"
        assert module.weights.source == "file"

    def test_wrong_values(self) -> None:
        with pytest.raises(UsageError, match="label_smoothing"):
            toy.classifier(label_smoothing=1.0)
        with pytest.raises(UsageError, match="class_weights"):
            toy.classifier(class_weights=[1.0, 2.0])
