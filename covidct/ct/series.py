"""Ordering slices: by where they lie in the body, never by InstanceNumber, SliceLocation or file name."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from covidct.ct.header import Header
from covidct.ct.stacks import SAME_PLACE_MM, describe, part, place_of

MIN_AXIAL_COSINE = 0.82
"""Normal within 35 degrees of the body axis: axial, gantry tilt (at most 30 degrees) included."""

MIN_STACK = 5
"""A smaller group with another geometry inside a series is a scout or a stray, not a stack of its own."""

GAPS = "gaps"
UNEVEN = "uneven spacing"
DUPLICATES = "duplicates"
TILTED = "tilted"
OBLIQUE = "oblique"
SHIFTED = "shifted"
SEVERAL = "several stacks under one UID"

FLAGS = {
    GAPS: "a distance of neighbouring slices above 1.5 x the median: slices are missing",
    UNEVEN: "distances differ by more than 10 % (and 0.11 mm, the rounding of positions) without a gap",
    DUPLICATES: "different slices at one place; both are refused",
    TILTED: "slices are not square to the direction in which the table moved: gantry tilt",
    OBLIQUE: "a normal more than 1 degree off the body axis, in a stack that is not sheared",
    SHIFTED: "axial slices whose corner moves across the body by more than 1 mm",
    SEVERAL: "kernels, geometries, thicknesses or scans were mixed in a series; each is a series now",
}
"""What can be odd about a series. All but the last make it irregular."""

IRREGULAR = tuple(flag for flag in FLAGS if flag != SEVERAL)

_ONE_DEGREE = math.radians(1)
_GAP = 1.5
_UNEVEN = 0.1
_ROUNDING_MM = 0.11


@dataclass(frozen=True)
class Series:
    """Slices in order along the normal.

    Args:
        name: Series Instance UID; with a suffix that describes the stack where one series held several.
        members: Numbers of the slices in the sequence that was given, in order.
        position_mm: dot(image position, normal) of each, ascending, in mm.
        head_first: Whether the first of them is the one nearest to the head.
        flags: What is odd about it, some of `FLAGS`, in their order.
    """

    name: str
    members: tuple[int, ...]
    position_mm: tuple[float, ...]
    head_first: bool
    flags: tuple[str, ...] = ()

    @property
    def evenly_spaced(self) -> bool:
        """No gap above 1.5 x the median spacing: nothing is missing in the middle."""
        return GAPS not in _spacing_flags(self.position_mm)

    @property
    def irregular(self) -> tuple[str, ...]:
        """The flags that make it irregular."""
        return tuple(flag for flag in self.flags if flag in IRREGULAR)


def arrange(headers: Sequence[Header]) -> tuple[list[Series], dict[int, str]]:
    """Sort slices into series.

    Slices of one Series Instance UID are parted by geometry, kernel, thickness and scan (`covidct.ct.stacks.part`):
    what shares a UID without belonging together becomes series of their own, and a few slices that fit nowhere are
    refused. Two different slices at one place are both refused, because neither can be called the right one. Only a
    lossy copy beside the lossless slice is no riddle.

    Args:
        headers: Of different slices; identical files are taken out before. Their order does not matter.

    Returns:
        The series, sorted by name, and a reason for every slice that is in none.
    """
    refused: dict[int, str] = {}
    by_uid: dict[str, list[int]] = defaultdict(list)
    for number, header in enumerate(headers):
        if abs(header.normal[2]) < MIN_AXIAL_COSINE:
            refused[number] = "not an axial slice"
        else:
            by_uid[header.series_uid].append(number)
    series, names = [], set[str]()
    for uid, numbers in by_uid.items():
        stacks = part(headers, numbers)
        largest = max(map(len, stacks))
        whole = [stack for stack in stacks if len(stack) >= MIN_STACK or len(stack) == largest]
        for stack in stacks:
            if stack not in whole:
                refused.update(dict.fromkeys(stack, "geometry, kernel or scan differs from the rest of its series"))
                continue
            placed, doubled = _order(headers, stack)
            refused.update(doubled)
            if placed:
                name = uid if len(stacks) == 1 else f"{uid}#{_describe_stack(headers, stack)}"
                while name in names:  # pixels of some micrometres: no scanner makes them, but a name is one series
                    name += "'"
                names.add(name)
                members = tuple(number for _, number in placed)
                positions = tuple(position for position, _ in placed)
                found = _spacing_flags(positions) | _direction_flags([headers[number] for number in members])
                found |= {DUPLICATES} if _DOUBLED in doubled.values() else set()
                found |= {SEVERAL} if len(whole) > 1 else set()
                flags = tuple(flag for flag in FLAGS if flag in found)
                series.append(Series(name, members, positions, headers[members[0]].normal[2] < 0, flags))
    return sorted(series, key=lambda one: one.name), refused


_DOUBLED = "two different slices at one place in a series"


def _describe_stack(headers: Sequence[Header], stack: list[int]) -> str:
    first = min(stack, key=lambda number: (describe(headers[number]), headers[number].position))
    acquisitions = {headers[number].acquisition for number in stack} - {None}
    scan = f";scan {min(acquisitions)}" if acquisitions else ""  # type: ignore[type-var]  # None is taken out
    return describe(headers[first]) + scan


def _order(headers: Sequence[Header], stack: list[int]) -> tuple[list[tuple[float, int]], dict[int, str]]:
    """Slices by position along the normal of the stack's first slice, and reasons for those that share a place."""
    normal = headers[stack[0]].normal
    placed = sorted((place_of(headers[number], normal), number) for number in stack)
    groups: list[list[tuple[float, int]]] = []
    for item in placed:
        if groups and item[0] - groups[-1][-1][0] < SAME_PLACE_MM:
            groups[-1].append(item)
        else:
            groups.append([item])
    kept, refused = [], {}
    for group in groups:
        lossless = [item for item in group if not headers[item[1]].lossy]
        if len(group) == 1 or len(lossless) == 1:
            kept.append((lossless or group)[0])
            refused.update(
                {n: "lossy copy of a slice that is there without loss" for _, n in group if n != kept[-1][1]}
            )
        else:
            refused.update({n: _DOUBLED for _, n in group})
    return kept, refused


def _spacing_flags(positions: Sequence[float]) -> set[str]:
    steps = sorted(b - a for a, b in pairwise(positions))
    if not steps:
        return set()
    median = steps[len(steps) // 2]
    found = {GAPS} if steps[-1] > _GAP * median else set()
    tolerance = max(_UNEVEN * median, _ROUNDING_MM)
    if any(abs(step - median) > tolerance for step in steps if step <= _GAP * median):
        found.add(UNEVEN)
    return found


def _direction_flags(slices: Sequence[Header]) -> set[str]:
    """Tilt by what the table did, not by what the header calls it (0018,1120)."""
    first, normal = slices[0], slices[0].normal
    off_axis = math.acos(min(1.0, abs(normal[2]) / math.hypot(*normal)))
    sheared = False
    for header in slices[1:]:
        way = [b - a for a, b in zip(first.position, header.position, strict=True)]
        along = sum(a * b for a, b in zip(way, normal, strict=True))
        across = math.hypot(*(a - along * b for a, b in zip(way, normal, strict=True)))
        sheared |= across > max(1.0, abs(along) * math.tan(_ONE_DEGREE))
    if off_axis <= _ONE_DEGREE:
        return {SHIFTED} if sheared else set()
    return {TILTED} if sheared else {OBLIQUE}
