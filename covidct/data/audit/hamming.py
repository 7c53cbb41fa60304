"""Which of many fingerprints differ in few bits, without looking at all pairs.

Banded search: of 256 bits cut into 32 bands of 8, two fingerprints that differ in at most 31 bits agree in at least one
whole band (pigeonhole; Norouzi, Punjani, Fleet 2012, "Fast search in Hamming space with multi-index hashing"). Only
fingerprints that share a band are compared: nothing within 31 bits is missed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from covidct.ct.fingerprint import BITS

RADIUS = 31
"""Bits that may differ."""

_BANDS = 32
_BLOCK = 1024  # fingerprints compared with as many at once: 8 MiB of differences, whatever the number in all


def near_pairs(
    fingerprints: Sequence[str], groups: npt.NDArray[np.int64], radius: int = RADIUS
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs of fingerprints of different groups that differ in at most `radius` bits.

    Args:
        fingerprints: Hexadecimal, n of them, each as long as `covidct.ct.fingerprint` makes it.
        groups: int64 [n]; pairs within a group (a patient) are not asked for.
        radius: At most 31.

    Returns:
        int64 [pairs, 2], the first smaller than the second, ascending; and int64 [pairs], the differing bits.
    """
    if not 0 <= radius < _BANDS:  # beyond, the pigeonhole promises nothing
        raise ValueError(f"radius {radius}")
    if len(fingerprints) < 2:
        return np.empty((0, 2), np.int64), np.empty(0, np.int64)
    octets = np.frombuffer(bytes.fromhex("".join(fingerprints)), np.uint8).reshape(len(fingerprints), BITS // 8)
    bands = _dealt(octets)
    words = octets.view(np.uint64)
    found: list[npt.NDArray[np.int64]] = []
    for band in range(_BANDS):
        order = np.argsort(bands[:, band], kind="stable").astype(np.int64)
        ends = np.cumsum(np.bincount(bands[:, band], minlength=256))
        for bucket in np.split(order, ends[:-1]):
            if len(bucket) > 1:
                found += _within(words, groups, bucket, radius, bands, band)
    if not found:
        return np.empty((0, 2), np.int64), np.empty(0, np.int64)
    pairs = np.unique(np.concatenate(found), axis=0)
    distance = np.bitwise_count(words[pairs[:, 0]] ^ words[pairs[:, 1]]).sum(axis=1).astype(np.int64)
    return pairs, distance


def _dealt(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Bands of 8 bits, bits that say much and bits that say little in each.

    Low frequencies are nearly the same in all chests; a band of such bits alone would put everybody into one bucket.
    """
    bits = np.unpackbits(octets, axis=1)
    order = np.argsort(np.abs(bits.mean(axis=0) - 0.5), kind="stable")
    return np.packbits(bits[:, order.reshape(8, _BANDS).T.reshape(-1)], axis=1)


def _within(
    words: npt.NDArray[np.uint64],
    groups: npt.NDArray[np.int64],
    bucket: npt.NDArray[np.int64],
    radius: int,
    bands: npt.NDArray[np.uint8],
    band: int,
) -> list[npt.NDArray[np.int64]]:
    """Near pairs of one bucket that no earlier band has put together."""
    found = []
    for start in range(0, len(bucket), _BLOCK):
        left = bucket[start : start + _BLOCK]
        for second in range(start, len(bucket), _BLOCK):
            right = bucket[second : second + _BLOCK]
            bits = np.zeros((len(left), len(right)), np.uint16)
            for word in range(words.shape[1]):
                bits += np.bitwise_count(words[left, word][:, None] ^ words[right, word][None, :])
            rows, cols = np.nonzero(bits <= radius)
            one, other = left[rows], right[cols]
            kept = (one < other) & (groups[one] != groups[other])
            one, other = one[kept], other[kept]
            new = ~(bands[one, :band] == bands[other, :band]).any(axis=1)
            if new.any():
                found.append(np.column_stack([one[new], other[new]]))
    return found
