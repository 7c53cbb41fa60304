"""A shortcut planted on purpose: a small white tag in a corner of the pictures of one class.

Burned-in marks are how real networks have learnt the hospital in place of the disease (Zech et al., PLoS Med
2018;15:e1002683). A phantom with a known one shows whether an audit finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidct.errors import UsageError

TAG_HU = 2500
"""Far above bone, and what every encoding of the phantom can store."""


@dataclass(frozen=True)
class Shortcut:
    """Which patients carry the tag.

    Args:
        tag: The class that is tagged.
        share: Share of its patients at each site, 0..1; all slices of a tagged patient carry it.
    """

    tag: str
    share: float = 0.9

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 <= self.share <= 1:
            raise UsageError(f"share={self.share!r} is not in 0..1", where="shortcut")

    @classmethod
    def of(cls, given: Mapping[str, Any] | Shortcut | None) -> Shortcut | None:
        """From plain values, {"tag": class, "share": 0..1}; None is no shortcut."""
        if given is None or isinstance(given, cls):
            return given
        if not isinstance(given, Mapping) or "tag" not in given or set(given) - {"tag", "share"}:
            raise UsageError(
                f"a shortcut is tag and share, not {given!r}", remedy="shortcut='{tag: covid19, share: 0.9}'"
            )
        return cls(**given)

    def tagged(self, label: str, number: int, of: int, entropy: list[int]) -> bool:
        """Whether patient `number` of `of` patients of a class at a site is tagged; `entropy` decides which are."""
        if label != self.tag:
            return False
        order = np.random.default_rng(np.random.SeedSequence(entropy)).permutation(of)
        return bool(number in order[: round(self.share * of)])


def tag_mask(size: int) -> NDArray[np.bool_]:
    """The pixels of the tag in a picture of `size` x `size`: an L near the upper left corner, outside the patient."""
    side, gap = max(4, size // 14), max(1, size // 40)
    stroke = max(2, side // 3)
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[gap : gap + side, gap : gap + stroke] = True
    mask[gap + side - stroke : gap + side, gap : gap + side] = True
    return mask
