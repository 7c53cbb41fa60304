"""The branching of vessels and airways inside the lung.

Each tree joins random points of the lung volume to its root with short wires, trading wire length against path
length (Cuntz et al. 2010, doi 10.1371/journal.pcbi.1000877), and takes its radii from Murray's law: the cube of a
branch's radius is the sum of that power of its daughters'; the power is 3 in theory and a little less in real lungs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covidct.ct.phantom.geometry import Beads

_BEAD_MM = 0.9
_MURRAY = 2.75


@dataclass(frozen=True)
class Tree:
    """A tree of straight branches.

    Attributes:
        nodes: [n, 3] x, y, depth in mm; the first `roots` of them lie on the stem it grew from.
        parent: [n] index of the node towards the root; -1 at a root.
        radii: [n] radius of the branch that ends in the node, mm.
    """

    nodes: NDArray
    parent: NDArray[np.intp]
    radii: NDArray

    @property
    def tips(self) -> NDArray[np.intp]:
        """Nodes that no branch leaves."""
        inner = np.zeros(len(self.nodes), bool)
        inner[self.parent[self.parent >= 0]] = True
        return np.flatnonzero(~inner & (self.parent >= 0))


def grow(stem: NDArray, targets: NDArray, *, tip_mm: float, stem_mm: float, path_weight: float = 0.7) -> Tree:
    """Connect points to a stem.

    Args:
        stem: [m, 3] nodes that exist already, ordered from the root.
        targets: [n, 3] points to reach.
        tip_mm: Radius of the last branches.
        stem_mm: Radius that no branch exceeds.
        path_weight: 0 gives the shortest total wire, larger values straighter ways from the root.
    """
    m, n = len(stem), len(targets)
    nodes = np.concatenate([stem, targets]).astype(np.float32)
    parent = np.full(m + n, -1, np.intp)
    path = np.zeros(m + n, np.float32)
    path[1:m] = np.cumsum(np.linalg.norm(np.diff(stem, axis=0), axis=1))
    x, y, z = (np.ascontiguousarray(targets[:, i], dtype=np.float32) for i in range(3))
    best = np.full(n, np.inf, np.float32)
    source = np.zeros(n, np.intp)
    length = np.zeros(n, np.float32)

    def offer(node: int) -> None:
        px, py, pz = nodes[node]
        distance = np.sqrt((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2)
        cost = distance + np.float32(path_weight) * (path[node] + distance)
        better = cost < best
        np.copyto(best, cost, where=better & ~done)
        np.copyto(length, distance, where=better & ~done)
        source[better & ~done] = node

    done = np.zeros(n, bool)
    for node in range(m):
        offer(node)
    order = []
    for _ in range(n):
        k = int(np.argmin(best))
        parent[m + k] = source[k]
        path[m + k] = path[source[k]] + length[k]
        done[k] = True
        best[k] = np.inf
        order.append(m + k)
        offer(m + k)
    flow = np.zeros(m + n)
    for node in reversed(order):
        flow[node] = max(flow[node], tip_mm**_MURRAY)
        flow[parent[node]] += flow[node]
    return Tree(nodes, parent, np.minimum(flow ** (1 / _MURRAY), stem_mm).astype(np.float32))


def beads(tree: Tree, generator: np.random.Generator, bow: float = 0.07) -> Beads:
    """Beads along the branches, each branch slightly bowed.

    Args:
        tree: The tree.
        generator: Source of randomness for the bows.
        bow: Sideways deviation relative to branch length.
    """
    child = np.flatnonzero(tree.parent >= 0)
    a, b = tree.nodes[tree.parent[child]], tree.nodes[child]
    r1 = tree.radii[child]
    r0 = np.minimum(np.maximum(tree.radii[tree.parent[child]], r1), 1.35 * r1)
    span = np.linalg.norm(b - a, axis=1)
    count = np.maximum(2, np.ceil(span / _BEAD_MM)).astype(int)
    side = generator.normal(0, bow, (len(child), 3)).astype(np.float32) * span[:, None]
    which = np.repeat(np.arange(len(child)), count)
    first = np.repeat(np.cumsum(count) - count, count)
    t = ((np.arange(len(which)) - first + 1) / count[which]).astype(np.float32)
    points = a[which] + t[:, None] * (b - a)[which] + (4 * t * (1 - t))[:, None] * side[which]
    radii = r0[which] + t * (r1 - r0)[which]
    upright = (np.abs(b - a)[:, 2] / np.maximum(span, 1e-3))[which]
    return Beads.sorted(points, radii, upright)
