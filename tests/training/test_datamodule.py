"""The data module through Lightning: same batches for any number of workers, exact evaluation, clear refusals."""

from __future__ import annotations

import dataclasses
import random
import warnings

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

import covidct.training.datamodule as module
from covidct.data.splits import make_split
from covidct.data.table import make_table, write_table
from covidct.errors import DataRefused, IntegrityError, UsageError
from covidct.training.datamodule import SliceDataModule
from tests.data import tiny_slices

CLASSES = ("normal", "covid19")
AUGMENT = {"flip": 0.5, "rotate_degrees": 10, "noise_std": 0.1, "crop_min_side": 0.8}


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    """Two classes, three sites, 48 slices; two sites are external."""
    folder = tmp_path_factory.mktemp("hospital")
    table = tiny_slices.write_table(folder, sites=("fifth", "wuhan", "zhongshan"))
    return table, make_split(table, external_sites=["fifth", "zhongshan"])


def data(hospital, **options) -> SliceDataModule:
    table, split = hospital
    return SliceDataModule(
        table, split, **{"classes": CLASSES, "windows": None, "size": 16, "batch_size": 5, **options}
    )


def epochs(datamodule: SliceDataModule, *numbers: int) -> list[dict[str, torch.Tensor]]:
    """All training batches of some epochs from one loader, as Lightning draws them."""
    loader = datamodule.train_dataloader()
    found = []
    for number in numbers:
        loader.sampler.set_epoch(number)
        found += list(loader)
    return found


def assert_same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a["row"], b["row"])
        assert torch.equal(a["label"], b["label"])
        assert torch.equal(a["image"], b["image"])


def test_batch_is_as_documented(hospital):
    batch = next(iter(data(hospital).train_dataloader()))
    assert sorted(batch) == ["image", "label", "row"]
    assert batch["image"].shape == (5, 1, 16, 16)
    assert batch["image"].dtype == torch.float32
    assert batch["label"].dtype == batch["row"].dtype == torch.int64
    frame = hospital[0].accepted
    for label, row in zip(batch["label"], batch["row"], strict=True):
        assert CLASSES[label] == frame["label"][int(row)]


def test_pictures_are_those_of_their_rows(hospital):
    table, _ = hospital
    batch = next(iter(data(hospital, size=24, fit="stretch").val_dataloader()))
    for image, row in zip(batch["image"], batch["row"], strict=True):
        with Image.open(table.file(int(row))) as file:
            wanted = file.convert("F").resize((24, 24), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(image[0] * 255, np.asarray(wanted), atol=0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_cache_do_not_change_batches(hospital, workers):
    """Fault 50, with persistent workers over three epochs and draws with replacement."""
    options = {"augment": AUGMENT, "balance": "sampler", "seed": 5}
    plain = epochs(data(hospital, **options), 0, 1, 2)
    assert_same(plain, epochs(data(hospital, workers=workers, **options), 0, 1, 2))
    assert_same(plain, epochs(data(hospital, workers=workers, cache="memory", **options), 0, 1, 2))


def test_a_resumed_epoch_is_the_epoch(hospital):
    straight = epochs(data(hospital, augment=AUGMENT), 0, 1, 2)
    resumed = epochs(data(hospital, augment=AUGMENT), 2)
    assert_same(straight[-len(resumed) :], resumed)
    assert not torch.equal(straight[0]["image"], resumed[0]["image"])


def test_cache_is_shared_by_workers_and_skips_the_file(tmp_path):
    table = tiny_slices.write_table(tmp_path)
    hospital = table, make_split(table)
    datamodule = data(hospital, cache="memory", workers=2)
    first = epochs(datamodule, 0)
    for path in table.accepted["path"]:
        (tmp_path / path).unlink()
    assert_same(first, epochs(datamodule, 0))  # a new loader: the workers of the first one are gone


def test_the_disk_serves_all_who_come_after(tmp_path):
    """Other windows, other seeds, no files: what was decoded once is enough. Another size is decoded anew."""
    table = tiny_slices.write_table(tmp_path)
    hospital = table, make_split(table)
    options = {"cache": "disk", "store": tmp_path / "store", "augment": AUGMENT}
    plain = epochs(data(hospital, augment=AUGMENT), 0, 1)
    assert_same(plain, epochs(data(hospital, **options, workers=1), 0, 1))
    for path in table.accepted["path"]:
        (tmp_path / path).unlink()
    assert_same(plain, epochs(data(hospital, **options), 0, 1))
    with pytest.raises(DataRefused, match="now refused"):
        epochs(data(hospital, **options, size=24), 0)


def test_views_are_drawn_again_every_few_epochs_and_for_every_seed(hospital):
    options = {"augment": AUGMENT, "views": 2}

    def pictures(datamodule, *numbers):
        batches = epochs(datamodule, *numbers)
        return {int(row): image for b in batches for row, image in zip(b["row"], b["image"], strict=True)}

    first, second, third = (pictures(data(hospital, **options), number) for number in (0, 1, 2))
    other_seed = pictures(data(hospital, **options, seed=9), 0)
    assert all(torch.equal(first[row], third[row]) for row in first)
    assert not any(torch.equal(first[row], second[row]) for row in first)
    assert all(torch.equal(first[row], other_seed[row]) for row in first)
    loader = data(hospital, **options).picture_loader(np.array(sorted(first)), 1, batch_size=3)
    assert all(torch.equal(i, second[int(r)]) for b in loader for r, i in zip(b["row"], b["image"], strict=True))


def test_evaluation_is_exact_and_never_augmented(hospital):
    table, split = hospital
    datamodule = data(hospital, augment=AUGMENT, balance="sampler")
    rows = split.rows(table)
    external = np.sort(np.concatenate([rows["test/fifth"], rows["test/zhongshan"]]))
    for loader, wanted in (
        (datamodule.val_dataloader(), rows["val"]),
        (datamodule.test_dataloader(), external),
        (datamodule.predict_dataloader(), np.arange(len(table.accepted))),
    ):
        assert torch.cat([batch["row"] for batch in loader]).tolist() == wanted.tolist()
    assert_same(list(datamodule.val_dataloader()), list(data(hospital).val_dataloader()))


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_slices(hospital, monkeypatch, world):
    table, split = hospital
    rows = split.rows(table)
    seen = {"train": [], "val": [], "test": []}
    for rank in range(world):
        monkeypatch.setattr(module, "_place", lambda rank=rank: (rank, world))
        datamodule = data(hospital)
        for name, loader in (
            ("train", datamodule.train_dataloader()),
            ("val", datamodule.val_dataloader()),
            ("test", datamodule.test_dataloader()),
        ):
            seen[name] += [row for batch in loader for row in batch["row"].tolist()]
    assert sorted(seen["val"]) == rows["val"].tolist()
    assert len(seen["test"]) == len(set(seen["test"])) == 32
    assert set(seen["train"]) == set(rows["train"].tolist())
    assert len(seen["train"]) % world == 0


class Recorder(pl.LightningModule):
    """Notes which rows and pictures it is given in which epoch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(256, 2)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch["row"], batch["image"]))
        return self.layer(batch["image"].flatten(1)).mean()

    def validation_step(self, batch, batch_idx):
        self.seen.append(("val", batch["row"], batch["image"]))

    def predict_step(self, batch, batch_idx):
        return batch["row"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, **options) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )


def test_lightning_sets_the_epoch_and_predicts_all(hospital, tmp_path):
    datamodule = data(hospital, augment=AUGMENT, workers=1)
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer(tmp_path, max_epochs=2, num_sanity_val_steps=0).fit(recorder, datamodule=datamodule)
        predicted = trainer(tmp_path).predict(recorder, datamodule=datamodule)
        chosen = trainer(tmp_path).predict(recorder, datamodule.evaluation_loader(np.array([7, 3, 9])))
    wanted = epochs(data(hospital, augment=AUGMENT), 0, 1)
    training = [entry for entry in recorder.seen if entry[0] != "val"]
    assert len(training) == len(wanted)
    for (_, row, image), batch in zip(training, wanted, strict=True):
        assert torch.equal(row, batch["row"])
        assert torch.equal(image, batch["image"])
    assert torch.cat(predicted).tolist() == list(range(48))
    assert torch.cat(chosen).tolist() == [7, 3, 9]


def test_global_random_state_does_not_move(hospital):
    before = random.getstate(), np.random.get_state()[1:], torch.get_rng_state()  # noqa: NPY002
    for workers in (0, 1):
        datamodule = data(hospital, augment=AUGMENT, balance="sampler", workers=workers)
        list(datamodule.train_dataloader())
        list(datamodule.val_dataloader())
    assert random.getstate() == before[0]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state()[1:], before[1], strict=True))  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_broken_file_names_slice_and_patient_but_no_path(tmp_path, workers, damage):
    """Fault 41."""
    table = tiny_slices.write_table(tmp_path)
    split = make_split(table)
    row = int(split.rows(table)["val"][2])
    entry = table.accepted.iloc[row]
    if damage == "gone":
        table.file(row).unlink()
    else:
        table.file(row).write_bytes(table.file(row).read_bytes()[:60])
    with pytest.raises(DataRefused) as caught:
        list(data((table, split), workers=workers).val_dataloader())
    text = str(caught.value)
    assert f"slice {entry['slice_key']} of patient {entry['patient_key']}" in text
    assert caught.value.remedy
    assert str(tmp_path) not in text
    assert "Traceback" not in text
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_holds_other_pixels_than_were_indexed_is_refused(tmp_path, workers):
    """Fault 19: nobody indexed again, so the digests of index and split still agree."""
    table = tiny_slices.write_table(tmp_path)
    split = make_split(table)
    row, other = (int(found[2]) for found in (split.rows(table)["val"], split.rows(table)["train"]))
    table.file(row).write_bytes(table.file(other).read_bytes())
    with pytest.raises(IntegrityError, match="not those that were indexed") as caught:
        list(data((table, split), workers=workers).val_dataloader())
    assert f"slice {table.accepted['slice_key'][row]} of patient" in str(caught.value)
    assert len(list(data((table, split), workers=workers).train_dataloader())) > 1


def test_hounsfield_slices_and_windows(tmp_path):
    table = tiny_slices.write_table(tmp_path, units="HU")
    split = make_split(table)
    batch = next(iter(data((table, split), windows=["lung", "mediastinal"]).train_dataloader()))
    assert batch["image"].shape == (5, 2, 16, 16)
    with pytest.raises(UsageError, match="HU and 0 windows"):
        data((table, split)).setup()


def test_windows_for_grey_images_are_refused(hospital):
    with pytest.raises(UsageError, match="gray8 and 1 windows"):
        data(hospital, windows="lung").setup()


def test_class_weights_against_scikit_learn(tmp_path):
    table = tiny_slices.write_table(tmp_path, patients=8)
    rows = table.frame.to_dict("records")
    thinned = [r for r in rows if r["label"] == "normal" or r["slice_number"] == 0]  # 16 against 8 slices
    table = make_table(thinned, root=tmp_path, source="tiny")
    datamodule = data((table, make_split(table)))
    frame = table.accepted.iloc[datamodule.partition("train")]
    wanted = compute_class_weight("balanced", classes=np.array(CLASSES), y=frame["label"])
    np.testing.assert_allclose(datamodule.class_weights(), wanted, rtol=1e-6)
    assert wanted[1] > 1.5 * wanted[0]
    np.testing.assert_allclose(datamodule.class_weights("patient"), [1, 1])


def test_balance_changes_the_draws(tmp_path):
    table = tiny_slices.write_table(tmp_path, patients=8)
    rows = [r for r in table.frame.to_dict("records") if r["label"] == "normal" or int(r["patient_key"][-1]) < 2]
    table = make_table(rows, root=tmp_path, source="tiny")
    hospital = table, make_split(table)
    shares = {
        balance: torch.cat([b["label"] for b in epochs(data(hospital, balance=balance), *range(30))]).float().mean()
        for balance in ("none", "loss", "sampler")
    }
    assert shares["none"] == shares["loss"] == pytest.approx(1 / 7, abs=1e-6)
    assert shares["sampler"] == pytest.approx(0.5, abs=0.07)


def test_setup_refuses_what_does_not_belong(hospital, tmp_path):
    table, split = hospital
    with pytest.raises(IntegrityError, match="made for index"):
        data((table, dataclasses.replace(split, index_digest="0" * 64))).setup()
    with pytest.raises(DataRefused, match=r"\['covid19'\]"):
        data(hospital, classes=("normal", "viral")).setup()
    with pytest.raises(DataRefused, match=r"no training slice of \['viral'\]"):
        data(hospital, classes=(*CLASSES, "viral")).setup()
    for wrong in ({"balance": "yes"}, {"cache": "disk"}, {"batch_size": 0}, {"workers": -1}, {"views": 0}):
        with pytest.raises(UsageError):
            data(hospital, **wrong)


def test_from_files(hospital, tmp_path):
    table, split = hospital
    index = write_table(table, tmp_path)
    split.write(tmp_path / "split.json")
    from_files = SliceDataModule(index, tmp_path / "split.json", classes=CLASSES, windows=None, size=16, batch_size=5)
    assert_same(epochs(from_files, 0), epochs(data(hospital), 0))


def test_without_a_split_any_rows_can_be_predicted(hospital):
    table, _ = hospital
    frame = table.frame.copy()
    frame.loc[0, "label"] = None
    table = dataclasses.replace(table, frame=frame)
    batches = list(data((table, None)).predict_dataloader())
    labels = torch.cat([batch["label"] for batch in batches])
    assert len(labels) == 48
    assert (labels == -1).sum() == 1
