"""A trained network looks at slices under several views at once; each slice is decoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from covidct.data.table import SliceTable
from covidct.data.transforms import SliceTransform
from covidct.errors import CovidctError, DataRefused, IntegrityError, ResourceError
from covidct.training.assemble import make_datamodule
from covidct.training.dataset import SliceLoader, collate
from covidct.training.features import AUTOCAST
from covidct.training.scoring import TrainedRun
from covidct.training.shortcuts.views import Viewer, has_mark, pixel_size

BATCH = 16


@dataclass(frozen=True)
class Sight:
    """What the network says of slices under one view.

    Args:
        probabilities: float64 [n, K], NaN where the view does not exist.
        features: float32 [n, D], the input of the last layer; None where the network has no single last layer.
        seen: bool [n], whether the view exists.
    """

    probabilities: np.ndarray
    features: np.ndarray | None
    seen: np.ndarray


class Looker:
    """A run's network, ready to be shown slices of its table.

    Args:
        run: The run.
        table: Its slice table.
        device: "auto", "cpu" or "gpu".
        fill: See `Viewer`.
    """

    def __init__(self, run: TrainedRun, table: SliceTable, *, device: str, fill: str) -> None:
        self.data = make_datamodule(run.settings.data, table, None, seed=0, classes=run.scheme.names)
        self.table = table
        self.viewer = Viewer(is_hu=bool(run.settings.data.windows), fill=fill)
        self._device = _device(device)
        self._net = run.module.backbone.to(self._device).eval()
        head = self._net.net.get_classifier()
        self._head = head if isinstance(head, nn.Module) and not isinstance(head, nn.Identity) else None
        dtype = AUTOCAST[run.settings.trainer.precision]
        self._dtype = None if dtype is torch.float16 and self._device.type == "cpu" else dtype

    def look(
        self, rows: np.ndarray, views: Sequence[str], say: Callable[[str], None]
    ) -> tuple[dict[str, Sight], np.ndarray]:
        """Show slices under views.

        Args:
            rows: int [n], rows of the table.
            views: Names of `views.VIEWS`.
            say: Prints a line.

        Returns:
            View -> what the network says, in the order of `rows`; and bool [n], whether a bright mark stands in a
            corner.

        Raises:
            DataRefused: A slice cannot be read any more.
        """
        say(f"showing {len(rows)} slices under {len(views)} view{'s' if len(views) > 1 else ''}: {', '.join(views)}")
        pictures = _Views(self.table, self.data.transform, self.viewer, views)
        loader = SliceLoader(
            pictures,
            batch_size=BATCH,
            sampler=[int(row) for row in rows],
            num_workers=self.data.workers,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(0),
        )
        found: dict[str, list[tuple[np.ndarray, np.ndarray | None]]] = {view: [] for view in views}
        seen, marks = [], []
        for batch in loader:
            seen.append(batch["seen"].numpy())
            marks.append(batch["mark"].numpy())
            for number, view in enumerate(views):
                found[view].append(self.show(batch["image"][:, number]))
        exists = np.concatenate(seen)
        sights = {}
        for number, view in enumerate(views):
            probabilities = np.concatenate([p for p, _ in found[view]])
            probabilities[~exists[:, number]] = np.nan
            features = None if self._head is None else np.concatenate([f for _, f in found[view] if f is not None])
            sights[view] = Sight(probabilities, features, exists[:, number])
        return sights, np.concatenate(marks)

    def show(self, image: Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """Probabilities float64 [B, K] and features float32 [B, D] of images (B, C, H, W) in [0, 1]."""
        kept: list[Tensor] = []
        hook = None
        if self._head is not None:
            hook = self._head.register_forward_pre_hook(lambda _module, given: kept.append(given[0].detach()))
        context = nullcontext() if self._dtype is None else torch.autocast(self._device.type, dtype=self._dtype)
        try:
            with torch.no_grad(), context:
                logits = self._net(image.to(self._device))
        finally:
            if hook is not None:
                hook.remove()
        probabilities = logits.float().softmax(dim=1).cpu().numpy().astype(np.float64)
        features = kept[0].float().flatten(1).cpu().numpy() if kept else None
        return probabilities, features


class _Views(Dataset[dict[str, Any]]):
    """Item: `image` float32 [views, C, size, size], `seen` bool [views], `mark` bool, of a row of the table."""

    def __init__(self, table: SliceTable, transform: SliceTransform, viewer: Viewer, views: Sequence[str]) -> None:
        frame = table.accepted
        self._root, self._paths = table.root, frame["path"].to_numpy()
        self._frames = frame["frame"].fillna(0).to_numpy(dtype=np.int64)
        self._names = frame[["slice_key", "patient_key"]].to_numpy()
        self._hashes = frame["pixel_hash"].to_numpy(dtype=object)
        self._spacing = frame[["row_mm", "col_mm"]].to_numpy(dtype=np.float64)
        self._shapes = frame[["rows", "cols"]].fillna(0).to_numpy(dtype=np.int64)
        self._transform, self._viewer, self._views = transform, viewer, tuple(views)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> dict[str, Any] | DataRefused:  # type: ignore[override]
        try:
            path, frame = self._root / self._paths[row], int(self._frames[row])
            base = self._transform.base(path, frame, pixel_hash=self._hashes[row])
        except (DataRefused, IntegrityError, OSError) as error:
            slice_key, patient_key = self._names[row]
            reason = error.what if isinstance(error, CovidctError) else f"cannot be read ({type(error).__name__})"
            return DataRefused(
                f"a slice that was accepted when the index was made is now refused: {reason}",
                where=f"slice {slice_key} of patient {patient_key}",
                remedy="restore the file; the audit needs the scans",
            )
        rows, cols = (int(side) for side in self._shapes[row])
        row_mm, col_mm = (float(length) for length in self._spacing[row])
        pixel_mm = pixel_size(row_mm, col_mm, (rows, cols), self._transform.size, self._transform.fit)
        made = [self._viewer.view(name, base, pixel_mm) for name in self._views]
        images = [self._transform.finish(base if view is None else view) for view in made]
        return {
            "image": torch.stack(images),
            "seen": torch.tensor([view is not None for view in made]),
            "mark": torch.tensor(has_mark(base, self._viewer.is_hu)),
        }


def _device(name: str) -> torch.device:
    if name in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ResourceError("no GPU is visible", where="device", remedy="use device=cpu")
    return torch.device("cuda" if name in ("gpu", "cuda") or (name == "auto" and torch.cuda.is_available()) else "cpu")
