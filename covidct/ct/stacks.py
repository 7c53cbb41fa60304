"""What a scanner puts under one Series Instance UID, parted into what belongs together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from covidct.ct.header import Header

SAME_PLACE_MM = 0.01
"""Two slices nearer than this along the normal lie at one place. Scanners write positions to 0.1 .. 0.0001 mm."""


def place_of(header: Header, normal: tuple[float, float, float]) -> float:
    """Where a slice lies along a normal: dot(image position, normal), in mm, to 0.1 um."""
    return round(sum(a * b for a, b in zip(header.position, normal, strict=True)), 4)


def part(headers: Sequence[Header], numbers: list[int]) -> list[list[int]]:
    """Part the slices of one series: by orientation, pixel spacing, size, kernel and slice thickness, then by scan.

    Acquisition Number alone does not part anything: a step-and-shoot scanner counts up with every rotation.
    Acquisitions are different scans where they cover the same part of the body: contrast phases, a repeated scan, bolus
    tracking.

    Args:
        headers: Of different slices.
        numbers: The slices of one series, as places in `headers`.

    Returns:
        Stacks, each with its slices; nothing depends on the order of the headers.
    """
    stacks: list[list[int]] = []
    for number in sorted(numbers, key=lambda n: (describe(headers[n]), headers[n].position)):
        for stack in stacks:
            if _alike(headers[stack[0]], headers[number]):
                stack.append(number)
                break
        else:
            stacks.append([number])
    return [scan for stack in stacks for scan in _scans(headers, stack)]


def describe(header: Header) -> str:
    """Orientation, size, spacing, kernel and thickness in a few characters."""
    directions = ",".join(f"{value + 0.0:.3f}" for value in header.row + header.col)
    size = f"{header.rows}x{header.cols}x{header.row_mm:.4f}x{header.col_mm:.4f}"
    thickness = "" if header.thickness_mm is None else f";{header.thickness_mm:.3f}"
    return f"{directions};{size};{header.kernel or ''}{thickness}"


def _alike(one: Header, other: Header) -> bool:
    directions = zip(one.row + one.col, other.row + other.col, strict=True)
    return (
        (one.rows, one.cols, one.kernel) == (other.rows, other.cols, other.kernel)
        and all(abs(a - b) < 1e-3 for a, b in directions)
        and abs(one.row_mm - other.row_mm) < 1e-3 * one.row_mm
        and abs(one.col_mm - other.col_mm) < 1e-3 * one.col_mm
        and _same_thickness(one.thickness_mm, other.thickness_mm)
    )


def _same_thickness(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= 0.01 * max(abs(one), abs(other))


def _scans(headers: Sequence[Header], stack: list[int]) -> list[list[int]]:
    """Each acquisition, in order of its number, joins the first scan that has nothing yet where it lies."""
    acquisitions: dict[int | None, list[int]] = defaultdict(list)
    for number in stack:
        acquisitions[headers[number].acquisition].append(number)
    normal = headers[stack[0]].normal
    scans: list[tuple[list[tuple[float, float]], list[int]]] = []
    for acquisition in sorted(acquisitions, key=lambda one: (one is None, one or 0)):
        members = acquisitions[acquisition]
        places = [place_of(headers[number], normal) for number in members]
        low, high = min(places) - SAME_PLACE_MM, max(places) + SAME_PLACE_MM
        for covered, scan in scans:
            if all(high < start or low > end for start, end in covered):
                covered.append((low, high))
                scan += members
                break
        else:
            scans.append(([(low, high)], list(members)))
    return [scan for _, scan in scans]
