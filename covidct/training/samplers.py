"""Which slice comes next, on which process.

Training visits are numbered, so that the chance of an augmentation depends on what is seen and not on who loads it:
the same picture for any number of workers, and after a resume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from covidct.errors import UsageError

Visit = tuple[int, int, int]
"""(epoch, row, how often this row was visited before in this epoch)."""


class TrainSampler(Sampler[Visit]):
    """A new random order each epoch, decided by seed and epoch alone and shared out evenly over the processes.

    Args:
        rows: Table rows of the training slices.
        seed: Seed of the order.
        labels: Class of each of `rows`, to draw all classes equally often: as many draws as there are rows, with
            replacement, each from a class drawn evenly and then from its rows drawn evenly. None: each row once.
        rank: This process.
        world: Number of processes. Where it does not divide the rows, the first rows of the epoch are visited again
            at its end, because a process without a batch would leave the others waiting for its gradients.
    """

    def __init__(
        self,
        rows: npt.NDArray[np.int64],
        seed: int,
        *,
        labels: Sequence[int] | npt.NDArray[np.int64] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not 0 <= rank < world:
            raise UsageError(f"process {rank} of {world}")
        if not len(rows):
            raise UsageError("there are no training slices")
        self.rows = np.asarray(rows, dtype=np.int64)
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0
        self._of_class: list[npt.NDArray[np.int64]] = []
        if labels is not None:
            classes = np.asarray(labels)
            self._of_class = [self.rows[classes == k] for k in np.unique(classes)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls this before each one, also after a resume."""
        self.epoch = int(epoch)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.world)

    def __iter__(self) -> Iterator[Visit]:
        order = self._order()
        order = np.resize(order, len(self) * self.world)  # repeats from the start
        before = _earlier(order)
        for place in range(self.rank, len(order), self.world):
            yield self.epoch, int(order[place]), int(before[place])

    def _order(self) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, self.epoch])
        if not self._of_class:
            return rng.permutation(self.rows)
        which = rng.integers(len(self._of_class), size=len(self.rows))
        place = rng.random(len(self.rows))
        return np.array(
            [self._of_class[k][int(u * len(self._of_class[k]))] for k, u in zip(which, place, strict=True)],
            dtype=np.int64,
        )


class EvaluationSampler(Sampler[int]):
    """Each row exactly once over all processes: nothing is repeated to even out the shares.

    The usual sampler of distributed training repeats rows, which counts some slices twice in every figure. A process
    may therefore get one row less than another, or none.

    Args:
        rows: Table rows, in the order of evaluation.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, rows: npt.NDArray[np.int64], *, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise UsageError(f"process {rank} of {world}")
        self.rows = np.asarray(rows, dtype=np.int64)[rank::world]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows.tolist())


def _earlier(order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For each place, how often its value occurs before it."""
    by_value = np.argsort(order, kind="stable")
    same = order[by_value]
    first = np.searchsorted(same, same, side="left")
    count = np.empty(len(order), dtype=np.int64)
    count[by_value] = np.arange(len(order)) - first
    return count
