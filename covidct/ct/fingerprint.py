"""A short fingerprint of a picture that survives re-export, rescaling and noise: what looks alike has one alike.

The discrete cosine transform hash: the picture in 32 x 32, its 8 x 8 lowest frequencies, each against their median
(Zauner 2010, "Implementation and benchmarking of perceptual image hash functions"). CT slices of different people
collide, because all chests look alike at this size: a small distance is a reason to compare pixels, never a finding.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

BITS = 64
_SIDE = 32
_FREQUENCIES = 8


def fingerprint(pixels: npt.NDArray[np.generic]) -> str:
    """The fingerprint of a picture.

    Args:
        pixels: `[rows, cols]`, any scale of grey.

    Returns:
        16 hexadecimal characters: 64 bits.
    """
    small = _shrunk(np.asarray(pixels, dtype=np.float32))
    low = dctn(small, norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].ravel()
    bits = low > np.median(low[1:])  # the first is the mean grey: it says nothing about the shape
    return np.packbits(bits).tobytes().hex()


def _shrunk(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over 32 x 32 cells as equal in size as whole pixels allow; small pictures repeat pixels."""
    for axis in (0, 1):
        size = pixels.shape[axis]
        if size < _SIDE:
            pixels = np.take(pixels, np.arange(_SIDE) * size // _SIDE, axis=axis)
        else:
            edges = np.arange(_SIDE) * size // _SIDE
            widths = np.diff(np.append(edges, size)).astype(np.float32)
            sums = np.add.reduceat(pixels, edges, axis=axis)
            pixels = (sums / (widths[:, None] if axis == 0 else widths[None, :])).astype(np.float32)
    return pixels
