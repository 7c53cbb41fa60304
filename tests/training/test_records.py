"""metrics.csv against uninterrupted runs, numpy and pandas."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidct.errors import IntegrityError
from covidct.training.records import EPOCH_COLUMNS, read_epochs
from tests.training import tracked_fit


def without_seconds(path: Path) -> list[dict[str, str]]:
    return [{**row, "seconds": ""} for row in read_epochs(path)]


class KilledAt(tracked_fit.pl.Callback):
    """Ends the training as a kill would: in the middle of an epoch, or after its row and before its checkpoint."""

    def __init__(self, epoch: int, *, after_the_row: bool) -> None:
        self.epoch = epoch
        self.after_the_row = after_the_row

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == self.epoch and not self.after_the_row:
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == self.epoch and self.after_the_row:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after_the_row", [False, True])
def test_a_resumed_table_is_the_table_of_an_uninterrupted_run(tmp_path: Path, after_the_row: bool) -> None:
    tracked_fit.fit(tmp_path / "straight", [], epochs=4)
    broken = tmp_path / "broken"
    with pytest.raises(SystemExit):  # Lightning's end of a KeyboardInterrupt
        tracked_fit.fit(broken, [], epochs=4, callbacks=[KilledAt(2, after_the_row=after_the_row)])
    assert len(read_epochs(broken / "metrics.csv")) == (3 if after_the_row else 2)
    tracked_fit.fit(broken, [], epochs=4, resume=True)
    assert without_seconds(broken / "metrics.csv") == without_seconds(tmp_path / "straight" / "metrics.csv")


def test_a_new_training_in_the_same_folder_begins_a_new_table(tmp_path: Path) -> None:
    tracked_fit.fit(tmp_path, [], epochs=3)
    tracked_fit.fit(tmp_path, [], epochs=1)
    assert [row["epoch"] for row in read_epochs(tmp_path / "metrics.csv")] == ["0"]


def test_the_table_is_what_the_network_did(tmp_path: Path) -> None:
    """The last row against the trained weights and plain numpy."""
    trainer = tracked_fit.fit(tmp_path, [], epochs=2)
    weight, bias = (value.detach().numpy().astype(float) for value in trainer.model.layer.parameters())
    images, labels = (tensor.numpy() for tensor in tracked_fit.loader(1).dataset.tensors)
    logits = images @ weight.T + bias
    loss = -(logits - np.log(np.exp(logits).sum(1, keepdims=True)))[np.arange(len(labels)), labels].mean()
    last = read_epochs(tmp_path / "metrics.csv")[-1]
    assert float(last["val_loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(last["val_accuracy"]) == pytest.approx((logits.argmax(1) == labels).mean(), rel=1e-6)


def test_an_epoch_without_validation_does_not_repeat_the_last_one(tmp_path: Path) -> None:
    tracked_fit.fit(tmp_path, [], epochs=4, validate_every=2)
    rows = read_epochs(tmp_path / "metrics.csv")
    assert [row["val_loss"] != "" for row in rows] == [False, True, False, True]
    assert all(row["train_loss"] for row in rows)


def test_pandas_reads_undefined_as_missing(tmp_path: Path) -> None:
    import pandas as pd

    tracked_fit.fit(tmp_path, [], epochs=1)
    frame = pd.read_csv(tmp_path / "metrics.csv")
    assert frame["val_macro_auc"].isna().all()
    assert frame["train_loss"].notna().all()


@pytest.mark.parametrize(
    ("text", "message"), [("epoch,loss\n0,1\n", "columns"), (",".join(EPOCH_COLUMNS) + "\n1\n0\n", "not in order")]
)
def test_a_table_of_another_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(IntegrityError, match=message):
        read_epochs(tmp_path / "metrics.csv")


def test_metrics_csv_is_plain_csv(tmp_path: Path) -> None:
    tracked_fit.fit(tmp_path, [], epochs=1)
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        head, row = csv.reader(stream)
    assert head == list(EPOCH_COLUMNS)
    assert len(row) == len(head)
