"""Which of several processes this one is."""

from __future__ import annotations

from pytorch_lightning.utilities.rank_zero import rank_zero_only


def is_first_process() -> bool:
    """Whether this process speaks and writes for all (rank zero); true when there is only one."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)
