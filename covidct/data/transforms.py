"""From a file to the picture a network sees: read, fit to a square, window, augment.

Windows come after the change of size, as a scanner's thicker pixel would be windowed: so a slice that was decoded once
serves every window.

This is the only module that knows MONAI. Two things about MONAI shape it:

- `LoadImage(reader=...)` tries its built-in readers after ours has refused a file, and would then hand on raw stored
  values (or a transposed picture). The reader is therefore called directly, and a refusal stays a refusal.
- Tracking of metadata (`MetaTensor`) costs more than the transforms themselves on a 2-D slice, and seeding each
  transform costs more than a millisecond. Tracking is off while the random part runs, and all transforms share one
  random state that is seeded anew for each sample.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import ImageReader, get_track_meta, set_track_meta
from monai.transforms import (
    RandAdjustContrast,
    RandAffine,
    RandCoarseDropout,
    RandFlip,
    RandGaussianNoise,
    RandScaleCrop,
    RandScaleIntensity,
    RandShiftIntensity,
)
from monai.utils import MetaKeys, SpaceKeys
from torch.nn.functional import interpolate, pad

from covidct.ct.read import Slice, read_slice
from covidct.ct.window import GRAY8, HU, Window, apply
from covidct.errors import IntegrityError, UsageError

FITS = ("pad", "stretch", "crop")
GENERATION = 2
"""Raised when the same settings would give other pictures than before, so that nothing kept is taken for the new."""
GRAY_STEPS = 128
"""Steps of a base image per grey level of an 8-bit image; Hounsfield values are kept in whole HU, as scanners do."""
BLACK = -32768
"""What lies outside a slice that is not square: below every window."""


class HounsfieldReader(ImageReader):
    """MONAI's way to ask for a slice; the reading is `covidct.ct.read.read_slice`.

    Give it to `LoadImage` at call time (`LoadImage(dtype=None)(path, reader=HounsfieldReader())`), never to its
    constructor: from there, a file that this reader refuses would be offered to MONAI's own readers.
    """

    def verify_suffix(self, filename: Any) -> bool:  # noqa: ARG002  # MONAI's signature
        """True: files are told by their content, scanners write CT slices without any suffix."""
        return True

    def read(self, data: Any, frame: int = 0, **kwargs: Any) -> Slice:
        """Read one slice.

        Args:
            data: A path, or a sequence of exactly one.
            frame: 0-based frame of a multi-frame file.
            kwargs: None are known.

        Raises:
            DataRefused: As `read_slice`.
            UsageError: Several files, or unknown options.
        """
        paths = [data] if isinstance(data, str | Path) else list(data)
        if len(paths) != 1 or kwargs:
            raise UsageError(f"one slice is read at a time, not {len(paths)} with options {sorted(kwargs)}")
        return read_slice(paths[0], frame)

    def get_data(self, img: Slice) -> tuple[npt.NDArray[np.int16] | npt.NDArray[np.uint8], dict[str, Any]]:
        """Pixels `[rows, cols]` as they are (int16 HU or uint8 grey, never transposed), and their metadata."""
        return img.pixels, {
            "units": img.units,
            "row_mm": img.row_mm,
            "col_mm": img.col_mm,
            MetaKeys.SPATIAL_SHAPE: np.array(img.pixels.shape),
            MetaKeys.ORIGINAL_CHANNEL_DIM: "no_channel",
            MetaKeys.SPACE: SpaceKeys.LPS,
            MetaKeys.AFFINE: np.diag([img.row_mm or 1.0, img.col_mm or 1.0, 1.0, 1.0]),
        }


@dataclass(frozen=True)
class Augmentation:
    """How far a training picture may be changed; every default leaves it as it is.

    The paper states no augmentation. Values apply to pixel values in [0, 1]; results are clipped to [0, 1].

    Args:
        flip: Probability of mirroring left and right. A mirrored chest has its heart on the right: weak realism,
            which a lesion classifier bears.
        rotate_degrees: Rotation, uniform within +- this.
        scale: Zoom, uniform within +- this fraction.
        translate: Shift along each axis, uniform within +- this fraction of the side.
        affine_probability: Probability of the three above, drawn together and resampled once.
        crop_min_side: Crop of a random place and of random sides, each at least this fraction of the whole, resized
            back; 1 is off. The two sides are drawn apart, so this also stretches.
        contrast: Values are multiplied by 1 +- up to this.
        brightness: Up to +- this is added to the values.
        gamma: Exponent, uniform from 1/gamma to gamma; at least 1, 1 is off.
        intensity_probability: Probability of each of the three above.
        noise_std: Standard deviation of Gaussian noise is drawn uniformly up to this.
        noise_probability: Probability of noise.
        dropout_holes: Number of black squares.
        dropout_side: Their side as a fraction of the picture's.
        dropout_probability: Probability of the squares.
    """

    flip: float = 0.0
    rotate_degrees: float = 0.0
    scale: float = 0.0
    translate: float = 0.0
    affine_probability: float = 1.0
    crop_min_side: float = 1.0
    contrast: float = 0.0
    brightness: float = 0.0
    gamma: float = 1.0
    intensity_probability: float = 0.5
    noise_std: float = 0.0
    noise_probability: float = 0.5
    dropout_holes: int = 0
    dropout_side: float = 0.1
    dropout_probability: float = 0.5

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise UsageError(f"{spec.name} is a number from 0, not {value!r}", where="augmentation")
            if (spec.name == "flip" or spec.name.endswith("probability")) and value > 1:
                raise UsageError(f"{spec.name} is a probability, not {value!r}", where="augmentation")
        for name, low, high in (
            ("scale", 0.0, 0.9), ("translate", 0.0, 1.0), ("crop_min_side", 0.05, 1.0), ("contrast", 0.0, 1.0),
            ("brightness", 0.0, 1.0), ("gamma", 1.0, 10.0), ("noise_std", 0.0, 1.0), ("dropout_side", 0.01, 1.0),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} lies from {low} to {high}, not {getattr(self, name)}", where="augmentation")
        if self.dropout_holes != int(self.dropout_holes):
            raise UsageError(f"dropout_holes is a whole number, not {self.dropout_holes}", where="augmentation")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Augmentation:
        """From plain values; None is no augmentation. A misspelt key is a `UsageError` with the nearest name."""
        known = [spec.name for spec in fields(cls)]
        for name in values or {}:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"use one of {known}"
                raise UsageError(f"unknown augmentation {name!r}", where="augmentation", remedy=hint)
        return cls(**(values or {}))

    def transforms(self, size: int) -> list[Any]:
        """The MONAI transforms that are on, in the order they are applied, for pictures of `size` x `size`."""
        chosen: list[Any] = []
        if self.flip:
            chosen.append(RandFlip(prob=self.flip, spatial_axis=1))
        if self.affine_probability and (self.rotate_degrees or self.scale or self.translate):
            affine = RandAffine(
                prob=self.affine_probability,
                rotate_range=math.radians(self.rotate_degrees),
                scale_range=(self.scale, self.scale),
                translate_range=(self.translate * size, self.translate * size),
                spatial_size=(size, size),
                padding_mode="zeros",
                cache_grid=True,
            )
            affine.resampler.dtype = np.float32  # MONAI interpolates in float64: a third slower, 3e-5 apart
            chosen.append(affine)
        if self.crop_min_side < 1:
            chosen.append(RandScaleCrop(self.crop_min_side, max_roi_scale=1.0, random_center=True, random_size=True))
        if self.intensity_probability:
            if self.contrast:
                chosen.append(RandScaleIntensity(self.contrast, prob=self.intensity_probability))
            if self.brightness:
                chosen.append(RandShiftIntensity(self.brightness, prob=self.intensity_probability))
            if self.gamma > 1:
                chosen.append(RandAdjustContrast(self.intensity_probability, (1 / self.gamma, self.gamma)))
        if self.noise_std and self.noise_probability:
            chosen.append(RandGaussianNoise(self.noise_probability, std=self.noise_std))
        if self.dropout_holes and self.dropout_probability:
            side = max(1, round(self.dropout_side * size))
            chosen.append(
                RandCoarseDropout(int(self.dropout_holes), (side, side), fill_value=0.0, prob=self.dropout_probability)
            )
        return chosen


class SliceTransform:
    """A slice file to the tensor a network is given.

    The work has two parts: `base` is the same each time and may be kept; `finish` is random, and its chance depends
    on `seed` and on the numbers it is called with, on nothing else. Both parts run whether or not anything is kept,
    so that a cache can never change a result.

    Args:
        windows: One channel per window, in this order; empty for, and only for, 8-bit images (one channel).
        size: Side of the square result, in pixels.
        fit: What happens to a picture that is not square. "pad": its longer side becomes `size` and black is added,
            nothing is lost or distorted. "stretch": both sides become `size`. "crop": the largest central square.
        augment: Plain values of `Augmentation`, or None.
        seed: Seed of the augmentation.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        size: int,
        *,
        fit: str = "pad",
        augment: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        if size < 8:
            raise UsageError(f"size is a side in pixels from 8, not {size}")
        if fit not in FITS:
            raise UsageError(f"unknown fit {fit!r}", remedy=f"use one of {list(FITS)}")
        self.windows = tuple(windows)
        self.size = int(size)
        self.fit = fit
        self.seed = int(seed)
        self.reader = HounsfieldReader()
        self.augmentation = dict(augment or {})
        self.random = Augmentation.from_dict(augment).transforms(self.size)
        self._state = np.random.RandomState(0)
        for transform in self.random:
            transform.set_random_state(state=self._state)

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return max(1, len(self.windows))

    def about(self) -> dict[str, Any]:
        """What a picture without augmentation depends on besides the slice; plain values."""
        windows = [[window.low_hu, window.high_hu] for window in self.windows]
        return {"generation": GENERATION, "windows": windows, "size": self.size, "fit": self.fit}

    def base(self, path: Path | str, frame: int = 0, *, pixel_hash: str | None = None) -> npt.NDArray[np.int16]:
        """Read one slice and fit it to the square; windows and augmentation play no part.

        Args:
            path: The file.
            frame: Slice in the file, from 0.
            pixel_hash: What `Slice.pixel_hash` said when the index was made; None: not compared.

        Returns:
            `[size, size]`: HU, or grey levels times `GRAY_STEPS`; `BLACK` outside the slice.

        Raises:
            DataRefused: The file cannot be read.
            IntegrityError: Its pixels are not those of `pixel_hash` (fault 19).
            UsageError: A window for an 8-bit image, or none for Hounsfield values.
        """
        read = self.reader.read(path, frame=frame)
        if pixel_hash is not None and read.pixel_hash() != pixel_hash:
            raise IntegrityError("its pixels are not those that were indexed")
        pixels, meta = self.reader.get_data(read)
        for window in self.windows or (None,):
            apply(pixels[:1, :1], window, units=meta["units"])  # refuses what does not fit
        steps = GRAY_STEPS if meta["units"] == GRAY8 else 1
        square = self._square(torch.from_numpy(pixels.astype(np.float32) * steps)[None])[0]
        return np.rint(square.numpy()).astype(np.int16)

    def fitted(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """A mask of the slice, `[rows, cols]`, in the square of `base`: True from half a pixel on."""
        share = self._square(torch.from_numpy(mask.astype(np.float32))[None])[0].numpy()
        return np.asarray(share >= 0.5)

    def finish(self, base: npt.NDArray[np.int16], chance: Sequence[int] | None = None) -> torch.Tensor:
        """Turn a base image into the tensor of a batch: one channel per window, augmented.

        Args:
            base: From `base`; not changed.
            chance: Numbers (epoch, row, ...), each from 0, that decide the augmentation together with `seed`; None
                for no augmentation.

        Returns:
            float32 `[channels, size, size]` in [0, 1]: a plain tensor.
        """
        if self.windows:
            channels = np.stack([apply(base, window, units=HU) for window in self.windows])
        else:
            channels = apply(np.maximum(base, 0)[None] / np.float32(GRAY_STEPS), None, units=GRAY8)
        image = torch.from_numpy(channels)
        if chance is None or not self.random:
            return image
        self._state.seed(_words(self.seed, *chance))
        with _untracked():
            for transform in self.random:
                image = transform(image)
                if image.shape[-2:] != (self.size, self.size):
                    image = _resized(image, self.size, self.size)
        return image.clamp(0, 1).contiguous()

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Base and finish in one.

        Args:
            item: `path`, `frame`, `row`, `label`, and `chance` where the picture is to be augmented.

        Returns:
            `image` (see `finish`), `label` and `row`.
        """
        image = self.finish(self.base(item["path"], item["frame"]), item.get("chance"))
        return {"image": image, "label": item["label"], "row": item["row"]}

    def _square(self, image: torch.Tensor) -> torch.Tensor:
        rows, cols = image.shape[-2:]
        if self.fit == "crop":
            side = min(rows, cols)
            top, left = (rows - side) // 2, (cols - side) // 2
            image = image[..., top : top + side, left : left + side]
        if self.fit != "pad" or rows == cols:
            return _resized(image, self.size, self.size)
        longer = max(rows, cols)
        high, wide = (max(1, round(side * self.size / longer)) for side in (rows, cols))
        above, before = (self.size - high) // 2, (self.size - wide) // 2
        image = _resized(image, high, wide)
        return pad(image, (before, self.size - wide - before, above, self.size - high - above), value=BLACK)


def _resized(image: torch.Tensor, rows: int, cols: int) -> torch.Tensor:
    """Bilinear, and averaging over the whole footprint of a pixel when shrinking (no aliasing of fine structure)."""
    if image.shape[-2:] == (rows, cols):
        return image
    return interpolate(image[None], size=(rows, cols), mode="bilinear", align_corners=False, antialias=True)[0]


def _words(*numbers: int) -> list[int]:
    """Numbers as 32-bit words, two each: the seed array of NumPy's Mersenne Twister."""
    words = []
    for number in numbers:
        words += [number & 0xFFFFFFFF, (number >> 32) & 0xFFFFFFFF]
    return words


@contextmanager
def _untracked() -> Iterator[None]:
    """MONAI without metadata tracking, put back afterwards."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)
