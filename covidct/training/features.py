"""Trunk features: what the frozen part of the network says of a slice, computed once and kept on disk.

Under the paper's recipe 95 % of ResNet-50 never changes. Its activations at the cut are computed in the precision of
the training and kept in the type they come in, so a training on features sees the very numbers it would have computed.
They lie beside the index, in a folder named after everything they depend on; every epoch, arm, repeat and run that
needs the same numbers reads the same file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from covidct.data.store import RowStore
from covidct.errors import Interrupted, UsageError
from covidct.models.cut import NoCut, TrunkAndTail
from covidct.provenance import digest_json
from covidct.training.assemble import beside
from covidct.training.datamodule import SliceDataModule
from covidct.training.module import SliceClassifier
from covidct.training.settings import TrainSettings

Say = Callable[[str], None]
Rows = Mapping[int | None, npt.NDArray[np.int64]]
"""View (None: not augmented) -> rows of the slice table."""

GENERATION = 1
"""Raised when the same settings would give other numbers than an earlier version kept."""
AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
BATCH = 32
"""Slices the trunk is given at a time, always: the last bits of an activation depend on the size of its batch, and
must not depend on who computed it or on where a killed builder went on."""
SAY_SECONDS = 15.0
GPU_SHARE = 0.5
"""Features are held in GPU memory when they take at most this share of what is free."""


class TrunkFeatures:
    """Activations at the cut for rows of one slice table, on disk.

    Args:
        parts: The network, cut.
        data: Its pictures; one row of features for each row of its table.
        folder: Where features are kept; each set in a folder of its own below it.
        precision: Lightning's name of the precision the network runs in.
        device: Where the trunk runs.
    """

    def __init__(
        self, parts: TrunkAndTail, data: SliceDataModule, folder: Path, *, precision: str, device: torch.device
    ) -> None:
        self._parts, self._data, self._folder, self._device = parts, data, Path(folder), device
        self._dtype = AUTOCAST[precision]
        self._stores: dict[int | None, RowStore] = {}
        self._resident: dict[int | None, tuple[npt.NDArray[np.int64], Tensor]] = {}
        data.setup()
        sample = self._compute(torch.zeros(1, data.transform.channels, data.transform.size, data.transform.size))
        # torch's bfloat16 has no NumPy type: its 16 bits are kept as they are
        self._torch_type, self._stored_type = sample.dtype, "float32" if sample.dtype == torch.float32 else "uint16"
        self._is_picture = sample.ndim == 4
        self._shape = tuple(self._stored(sample).shape[1:])
        self._about = {
            "generation": GENERATION,
            "trunk": parts.digest(),
            "cut": parts.cut.node,
            "index": data.table.digest,
            "picture": data.transform.about(),
            "type": str(self._torch_type),
            "device": device.type,
            "torch": torch.__version__,
        }

    def ensure(self, wanted: Rows, say: Say, remedy: str) -> None:
        """Compute what is missing of the wanted rows, after saying how much that is; verifies what is there.

        A kill loses nothing that was computed; a second process with the same wish waits and then finds all.

        Raises:
            ResourceError: The disk cannot hold them.
            Interrupted: By the keyboard.
        """
        for view, rows in wanted.items():
            store = self._store(view)
            with store.building(lambda: say("trunk features: another process computes them; waiting for it")):
                missing = store.missing(rows)
                say(self._plan(store, view, len(rows), len(missing)))
                if len(missing):
                    store.require_space(len(missing), remedy)
                    self._fill(store, view, missing, say)
        self._hold(wanted, say)

    def batch(self, view: int | None, rows: npt.NDArray[np.int64]) -> Tensor:
        """Activations (B, ...) of rows that were ensured, in the order of `rows`."""
        if view in self._resident:
            place, bank = self._resident[view]
            return self._read(bank[torch.from_numpy(place[rows]).to(bank.device)])
        return self._read(torch.from_numpy(self._store(view).array[rows]))

    @property
    def in_gpu_memory(self) -> bool:
        """Whether batches come from GPU memory."""
        return bool(self._resident)

    def _store(self, view: int | None) -> RowStore:
        if view not in self._stores:
            about = {
                **self._about,
                "view": view,
                "augment": None if view is None else self._data.transform.augmentation,
            }
            folder = self._folder / digest_json(about)[:16]
            self._stores[view] = RowStore(folder, len(self._data.labels), self._shape, self._stored_type, about)
        return self._stores[view]

    def _plan(self, store: RowStore, view: int | None, n_rows: int, n_missing: int) -> str:
        kind = "trunk features" if view is None else f"trunk features, augmented view {view}"
        size = f"{n_rows} slices x {store.row_bytes / 2**10:.0f} KiB = {n_rows * store.row_bytes / 2**20:,.0f} MiB"
        return f"{kind}: {size} in {'' if store.folder is None else store.folder.name}, {n_missing} to compute"

    def _fill(self, store: RowStore, view: int | None, rows: npt.NDArray[np.int64], say: Say) -> None:
        began = said = time.monotonic()
        done = 0
        try:
            for batch in self._data.picture_loader(rows, view, batch_size=BATCH):
                image = batch["image"]
                filled = image.repeat(-(-BATCH // len(image)), 1, 1, 1)[:BATCH]
                found = self._stored(self._compute(filled)[: len(image)]).cpu().numpy()
                for row, values in zip(batch["row"].tolist(), found, strict=True):
                    store.put(row, values)
                done += len(found)
                if time.monotonic() - said > SAY_SECONDS:
                    said = time.monotonic()
                    left = (said - began) / done * (len(rows) - done)
                    say(f"trunk features: {done} of {len(rows)}, about {left:.0f} s left")
        except KeyboardInterrupt:
            raise Interrupted("stopped while computing trunk features", remedy="the same command goes on") from None

    def _compute(self, image: Tensor) -> Tensor:
        with self._context():
            return self._parts.trunk(image.to(self._device))

    def _context(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, dtype=self._dtype)

    def _stored(self, activation: Tensor) -> Tensor:
        """As the file has it: channels last, which a batch is wanted in; types that NumPy does not know as bits."""
        found = activation.permute(0, 2, 3, 1).contiguous() if activation.ndim == 4 else activation.contiguous()
        return found if found.dtype == torch.float32 else found.view(torch.uint16)

    def _read(self, stored: Tensor) -> Tensor:
        found = stored if stored.dtype == self._torch_type else stored.view(self._torch_type)
        return found.permute(0, 3, 1, 2) if self._is_picture else found

    def _hold(self, wanted: Rows, say: Say) -> None:
        if self._device.type != "cuda":
            return  # the operating system keeps what is read often
        needed = sum(len(rows) * self._store(view).row_bytes for view, rows in wanted.items())
        free, _ = torch.cuda.mem_get_info(self._device)
        if needed > GPU_SHARE * free:
            return
        for view, rows in wanted.items():
            place = np.full(len(self._data.labels), -1, dtype=np.int64)
            place[rows] = np.arange(len(rows))
            held = torch.from_numpy(self._store(view).array[rows])
            # under its own type, because few operations know unsigned 16-bit numbers
            self._resident[view] = place, held.view(self._torch_type).to(self._device)
        say(f"trunk features: held in GPU memory ({needed / 2**30:.2f} GiB)")


def training_rows(data: SliceDataModule) -> Rows | None:
    """The rows that training and validation of a split ask for; None when pictures are never the same twice."""
    data.setup()
    train, val = data.partition("train"), data.partition("val")
    if not data.transform.random:
        return {None: np.union1d(train, val)}
    if data.views is None:
        return None
    return {None: val} | dict.fromkeys(range(data.views), train)


def use_features(
    settings: TrainSettings,
    module: SliceClassifier,
    data: SliceDataModule,
    wanted: Rows | None,
    *,
    precision: str,
    device: torch.device,
    say: Say,
) -> dict[str, Any]:
    """Let module and data work on trunk features where that gives the same answer; else say why not.

    Args:
        settings: Of the run; `features.use` decides.
        module: The network, on any device; moved to `device`.
        data: Its batches.
        wanted: Rows that will be asked for; None when pictures are never the same twice.
        precision: Lightning's name of the precision.
        device: Where the network will run.
        say: Prints a line.

    Returns:
        For the record: {"used": False, "reason": ...} or {"used": True, "cut": ..., "frozen_share": ...}.

    Raises:
        UsageError: `features.use=on` where features would change the answer.
        ResourceError: The disk cannot hold them.
    """
    if settings.features.use == "off":
        return {"used": False, "reason": "features.use=off"}
    try:
        if wanted is None:
            raise NoCut("data.augment draws another picture in every epoch (data.views=K would keep K of them)")
        module.to(device)
        parts = TrunkAndTail(module.backbone, data.transform.size)
        folder = Path(settings.features.folder or beside(settings.data.index, "features"))
        features = TrunkFeatures(parts, data, folder, precision=precision, device=device)
    except NoCut as reason:
        if settings.features.use == "on":
            raise UsageError(
                f"trunk features cannot be used: {reason}", where="features.use", remedy="use features.use=auto or off"
            ) from None
        say(f"no trunk features: {reason}")
        return {"used": False, "reason": str(reason)}
    features.ensure(wanted, say, "use features.folder on another disk, or features.use=off")
    data.features, module.parts = features, parts
    return {"used": True, "cut": parts.cut.node, "frozen_share": round(parts.cut.frozen_share, 4)}
