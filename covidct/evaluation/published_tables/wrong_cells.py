"""The fewest printed figures that must be wrong for the others to be possible together, and which they may be.

If some figures cannot be true together, one of them at least is wrong. The smallest sets that take one from each such
group are the candidates; a candidate is an answer when all other figures fit one matrix, and otherwise the others hold
a further group. This is the implicit hitting set method (Reiter, Artificial Intelligence 1987;32:57), and each of its
steps is exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from covidct.evaluation.published_tables.joint import Cell, Joint
from covidct.evaluation.published_tables.printed import METRICS
from covidct.evaluation.published_tables.rows import conflicts

MOST = 8
"""Larger sets are not looked for: such a table is not one of a few slips."""


def smallest_wrong_sets(joint: Joint, most: int = MOST) -> list[tuple[Cell, ...]] | None:
    """All sets of the smallest number of figures without which the table is possible.

    Returns:
        The sets, each in table order; [()] for a possible table; None if more than `most` figures must be wrong.
    """
    order = sorted(joint.cells, key=lambda cell: (cell[0] < 0, cell[0], METRICS.index(cell[1])))
    groups = _row_conflicts(joint)
    for size in range(most + 1):
        answers: list[frozenset[Cell]] = []
        refused = True
        while refused:
            refused = False
            for candidate in _hitting_sets(groups, size):
                if candidate in answers:
                    continue
                if joint.matrix(without=candidate) is not None:
                    answers.append(candidate)
                    continue
                groups.append(_shrunk(joint, [cell for cell in order if cell not in candidate]))
                refused = True
                break
        if answers:
            sets = [tuple(cell for cell in order if cell in answer) for answer in answers]
            return sorted(sets, key=lambda cells: [order.index(cell) for cell in cells])
    return None


def _row_conflicts(joint: Joint) -> list[frozenset[Cell]]:
    total = sum(joint.counts)
    found = []
    for row, positives in enumerate(joint.counts):
        figures = {metric: bounds for (place, metric), bounds in joint.cells.items() if place == row}
        for group in conflicts(positives, total - positives, figures):
            found.append(frozenset((row, metric) for metric in group))
    return found


def _shrunk(joint: Joint, cells: Sequence[Cell]) -> frozenset[Cell]:
    """A smallest-by-deletion group among figures that cannot be true together."""
    kept = list(cells)
    for cell in cells:
        trial = [other for other in kept if other != cell]
        if joint.matrix(without=set(joint.cells) - set(trial)) is None:
            kept = trial
    return frozenset(kept)


def _hitting_sets(groups: Sequence[Collection[Cell]], size: int) -> Iterator[frozenset[Cell]]:
    """All sets of at most `size` figures that take one from each group, each once."""
    seen: set[frozenset[Cell]] = set()

    def grow(chosen: frozenset[Cell]) -> Iterator[frozenset[Cell]]:
        missing = next((group for group in groups if not chosen & frozenset(group)), None)
        if missing is None:
            if chosen not in seen:
                seen.add(chosen)
                yield chosen
        elif len(chosen) < size:
            for cell in sorted(missing):
                yield from grow(chosen | {cell})

    yield from grow(frozenset())
