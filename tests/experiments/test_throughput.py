"""The benchmark compares like with like, and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from covidct.data.table import read_table
from covidct.labels import FU2020
from covidct.models.backbone import build_backbone
from covidct.models.trainable import set_trainable
from experiments.throughput.bench import Bench, Plan, main
from experiments.throughput.cells import RESNET50, TOY
from experiments.throughput.generated import generated_rows, nowhere
from experiments.throughput.material import Material
from experiments.throughput.peer import Classifier, SliceData, read_slices
from experiments.throughput.tables import tables


@pytest.mark.parametrize(("network", "count"), [(RESNET50, 4_466_693), (TOY, 3_672_581)])
def test_both_sides_tune_the_same_weights(network, count):
    peer = Classifier(5, switch=1, model=network.model, tuned=network.tuned)
    ours = build_backbone(network.model, 5, channels=1, weights="none")
    report = set_trainable(ours, "last3conv")
    shapes = {name.removeprefix("net."): tuple(ours.get_parameter(name).shape) for name in report.names}
    assert {name: tuple(p.shape) for name, p in peer.tuned.items()} == shapes
    assert sum(p.numel() for p in peer.tuned.values()) == report.n_trainable == count


def test_the_peer_leaves_frozen_batchnorm_alone():
    import torch

    peer = Classifier(2, switch=1, model=TOY.model, tuned=TOY.tuned)
    peer.train()
    peer.on_train_epoch_start()
    before = {k: v.clone() for k, v in peer.network.state_dict().items() if "running" in k}
    peer(torch.rand(2, 1, 64, 64)).sum().backward()
    after = peer.network.state_dict()
    assert before
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_peer_sees_the_picture_that_ours_sees(workshop: Path, tmp_path: Path):
    import numpy as np

    from covidct.training.datamodule import SliceDataModule

    table = read_table(workshop / "index")
    data = SliceDataModule(table, None, classes=FU2020, size=48)
    data.setup()
    [ours] = data.evaluation_loader(np.array([3]))
    (tmp_path / "slices.csv").write_text(f"file,label,part\n{table.file(3)},1,train\n{table.file(4)},0,val\n")
    peer = SliceData(read_slices(tmp_path / "slices.csv"), 48, 4, 0, tmp_path / "cache")
    peer.setup("fit")
    for _ in range(2):  # computed, then from the cache
        [batch] = peer.train_dataloader()
        assert batch["label"].tolist() == [1]
        assert (
            abs(batch["image"] - ours["image"]).mean() < 0.02
        )  # resized a little differently, 0.008; turned over, 0.3


def test_generated_tables_split_by_patient():
    from covidct.data.splits import make_split
    from covidct.data.table import make_table

    split = make_split(make_table(generated_rows(1000), root=nowhere(), source="generated"))
    assert {part: sum(n["slices"] for n in row.values()) for part, row in split.counts.items()} == {
        "train": 750,
        "val": 250,
    }


def test_both_sides_take_the_same_number_of_steps(workshop: Path, tmp_path: Path):
    from covidct.data.splits import make_split
    from covidct.training.datamodule import SliceDataModule

    table = read_table(workshop / "index")
    data = SliceDataModule(table, make_split(table), classes=FU2020, size=48, batch_size=7)
    lines = [f"{table.file(row)},0,{part}" for part in ("train", "val") for row in data.partition(part)]
    (tmp_path / "slices.csv").write_text("\n".join(["file,label,part", *lines]))
    peer = SliceData(read_slices(tmp_path / "slices.csv"), 48, 7, 0, None)
    peer.setup("fit")
    assert len(peer.train_dataloader()) == len(data.train_dataloader()) == -(-len(data.partition("train")) // 7)
    assert len(peer.val_dataloader()) == len(data.val_dataloader())


def test_reading_is_measured_and_tabulated(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table = read_table(workshop / "index")
    material = Material("phantom", table, workshop / "index", (), tmp_path / "slices.csv", {"train": 1, "val": 1})
    bench = Bench(Plan(network=TOY, rounds=1, slices=4), material, tmp_path, tmp_path / "results.json")
    bench.reading()
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["stages"][0]["way"] == "MONAI"
    assert all(row["rate"] > 0 for row in kept["stages"])
    main(["--table", str(tmp_path / "results.json")])
    assert "ours, data.cache=disk" in capsys.readouterr().out


def test_computed_figures_are_marked():
    machine = {"cpu": "x", "cores": 2, "gpu": None, "memory_gib": 1, "torch": "2", "threads": 2, "date": "d"}
    cell = {"around": 10.0, "first": 5.0, "later": 2.0, "peak_mib": 1.0, "tuned": 1}
    result = {
        "machine": machine | {"load_at_start": 0.0},
        "material": {"name": "m", "slices": {"train": 3, "val": 1}},
        "plan": {"model": "resnet50", "epochs": 50, "accelerator": "cpu"},
        "stages": [],
        "cells": [
            cell | {"name": "peer", "epochs": 3, "seconds": 113.0, "computed": True},
            cell | {"name": "+ features, bf16, warm", "epochs": 50, "seconds": 11.3, "computed": False},
        ],
        "study": {"cells": 3, "seconds": 40.0, "epochs": 50},
    }
    text = tables(result)
    assert "| 113 * |" in text
    assert "| 11 | 10.0 |" in text  # measured, ten times faster
    # 15 x 113 s = 28.2 minutes; 40 s + 12 x 11.3 s = 2.9 minutes
    assert "| peer | 28.2 | 9.7 | 15 x the cell above |" in text
    assert "| ours, bf16 | 2.9 | 1.0 |" in text


def test_the_evaluation_is_measured_part_by_part(tmp_path: Path, monkeypatch, capsys):
    from experiments.throughput import evaluation

    arguments = ["--slices", "300", "--patients", "100", "--replicates", "20", "--json", str(tmp_path / "found.json")]
    monkeypatch.setattr("sys.argv", ["evaluation", *arguments])
    monkeypatch.setattr(evaluation, "PARTS", ("read", "summary, bootstrap"))
    evaluation.main()
    found = json.loads((tmp_path / "found.json").read_text())
    assert [part["part"] for part in found["parts"]] == ["read", "summary, bootstrap"]
    assert all(part["peak_mib"] > 50 for part in found["parts"])
    assert found["slices"].keys() == {"val", "test"}
    assert "s of CPU" in capsys.readouterr().out
