"""Which of several processes this one is."""

from __future__ import annotations

import os
import sys

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Where launchers say it, in the order in which Lightning asks them."""


def is_first_process() -> bool:
    """Whether this process speaks and writes for all (rank zero); true when there is only one.

    Lightning is asked where it is loaded already, and not loaded for the question: what is finished is said at once.
    """
    lightning = sys.modules.get("pytorch_lightning.utilities.rank_zero")
    if lightning is not None:
        return bool(getattr(lightning.rank_zero_only, "rank", 0) == 0)
    given = [os.environ[name] for name in RANK_VARIABLES if name in os.environ]
    return not given or given[0] == "0"
