"""Ordering slices: by where they lie in the body, never by InstanceNumber, SliceLocation or file name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from covidct.ct.ingest import Header

SAME_PLACE_MM = 0.01
"""Two slices nearer than this along the normal lie at one place. Scanners write positions to 0.1 .. 0.0001 mm."""

MIN_AXIAL_COSINE = 0.82
"""Normal within 35 degrees of the body axis: axial, gantry tilt (at most 30 degrees) included."""

MIN_STACK = 5
"""A smaller group with another geometry inside a series is a scout or a stray, not a stack of its own."""


@dataclass(frozen=True)
class Series:
    """Slices in order along the normal.

    Args:
        name: Series Instance UID; with a suffix that describes the geometry where one series held several stacks.
        members: Numbers of the slices in the sequence that was given, in order.
        position_mm: dot(image position, normal) of each, ascending, in mm.
        head_first: Whether the first of them is the one nearest to the head.
    """

    name: str
    members: tuple[int, ...]
    position_mm: tuple[float, ...]
    head_first: bool

    @property
    def evenly_spaced(self) -> bool:
        """No gap above 1.5 x the median spacing: nothing is missing in the middle."""
        steps = sorted(b - a for a, b in zip(self.position_mm, self.position_mm[1:], strict=False))
        return not steps or steps[-1] <= 1.5 * steps[len(steps) // 2]


def arrange(headers: Sequence[Header]) -> tuple[list[Series], dict[int, str]]:
    """Sort slices into series.

    Slices of one Series Instance UID are parted by orientation, pixel spacing, size and kernel: reconstructions that
    share a UID become series of their own, and a few slices with another geometry are refused. Two different slices at
    one place are both refused, because neither can be called the right one (contrast phases or a second scan under one
    UID: then nothing of it is left, and the reason says so). Only a lossy copy beside the lossless slice is no riddle.

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
    series = []
    for uid, numbers in by_uid.items():
        stacks = _stacks(headers, numbers)
        for stack in stacks:
            if len(stacks) > 1 and len(stack) < MIN_STACK and len(stack) < max(map(len, stacks)):
                refused.update(dict.fromkeys(stack, "geometry or kernel differs from the rest of its series"))
                continue
            placed, doubled = _order(headers, stack)
            refused.update(doubled)
            if placed:
                name = uid if len(stacks) == 1 else f"{uid}#{_geometry(headers[placed[0][1]])}"
                members = tuple(number for _, number in placed)
                positions = tuple(position for position, _ in placed)
                series.append(Series(name, members, positions, headers[members[0]].normal[2] < 0))
    return sorted(series, key=lambda one: one.name), refused


def _stacks(headers: Sequence[Header], numbers: list[int]) -> list[list[int]]:
    stacks: list[list[int]] = []
    for number in sorted(numbers, key=lambda n: (_geometry(headers[n]), headers[n].position)):
        for stack in stacks:
            if _alike(headers[stack[0]], headers[number]):
                stack.append(number)
                break
        else:
            stacks.append([number])
    return stacks


def _alike(one: Header, other: Header) -> bool:
    directions = zip(one.row + one.col, other.row + other.col, strict=True)
    return (
        (one.rows, one.cols, one.kernel) == (other.rows, other.cols, other.kernel)
        and all(abs(a - b) < 1e-3 for a, b in directions)
        and abs(one.row_mm - other.row_mm) < 1e-3 * one.row_mm
        and abs(one.col_mm - other.col_mm) < 1e-3 * one.col_mm
    )


def _geometry(header: Header) -> str:
    directions = ",".join(f"{value + 0.0:.3f}" for value in header.row + header.col)
    size = f"{header.rows}x{header.cols}x{header.row_mm:.4f}x{header.col_mm:.4f}"
    return f"{directions};{size};{header.kernel or ''}"


def _order(headers: Sequence[Header], stack: list[int]) -> tuple[list[tuple[float, int]], dict[int, str]]:
    """Slices by position along the normal of the stack's first slice, and reasons for those that share a place."""
    normal = headers[stack[0]].normal
    placed = sorted(
        (round(sum(a * b for a, b in zip(headers[number].position, normal, strict=True)), 4), number)
        for number in stack
    )
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
            refused.update({n: "two different slices at one place in a series" for _, n in group})
    return kept, refused
