"""Whether two pictures show the same slice, by their fine structure: vessels and fissures, not the outline of a chest.

Both pictures in 128 x 128, band-passed (a difference of Gaussians), and the greatest correlation over small shifts
(normalised cross-correlation; Lewis 1995, "Fast normalized cross-correlation"). Coarse shape is filtered out because
all chests share it, and the finest because compression and resampling change it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft2, rfft2
from scipy.ndimage import gaussian_filter

from covidct.ct.fingerprint import shrunk

SAME = 0.85
"""From here on two pictures are called the same. Other windows, gamma, JPEG at quality 60, half the resolution, a shift
by two pixels of 512 stay above in nine of ten pictures (docs/how-to/audit-your-data.md has the figures)."""

ALIKE = 0.75
"""From here on two pictures are shown to a person. Strangers reached 0.80: smooth slices of the upper belly."""

_SIDE = 128
_FINE, _COARSE = 0.7, 2.5  # standard deviations of the two Gaussians, in pixels of the small picture
_SHIFT = 8  # pixels of the small picture

Detail = npt.NDArray[np.float32]


def detail(pixels: npt.NDArray[np.generic]) -> Detail:
    """The fine structure of a picture.

    Args:
        pixels: `[rows, cols]`, any scale of grey; signed numbers are taken as Hounsfield values.

    Returns:
        float32 `[128, 128]`, mean 0 and length 1; all zero for a picture without structure.
    """
    small = shrunk(pixels, _SIDE)
    band = gaussian_filter(small, _FINE) - gaussian_filter(small, _COARSE)
    band -= band.mean()
    length = float(np.sqrt((band * band).sum()))
    return (band / length if length > 1e-3 else np.zeros_like(band)).astype(np.float32)


def likeness(one: Detail, other: Detail) -> float:
    """The greatest correlation of two details over shifts of up to 8 of 128 pixels: -1..1, 1 for the same picture."""
    correlation = irfft2(np.conj(rfft2(one)) * rfft2(other), s=one.shape)
    near = np.r_[0 : _SHIFT + 1, _SIDE - _SHIFT : _SIDE]
    return float(np.clip(correlation[np.ix_(near, near)].max(), -1.0, 1.0))
