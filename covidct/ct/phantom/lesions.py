"""Which lesions a patient of a class gets.

Findings after the usual radiological descriptions (Fleischner Society glossary, Hansell et al. 2008,
doi 10.1148/radiol.2462070712): ground glass leaves vessels visible, consolidation hides them and shows air
bronchograms, tree-in-bud nodules sit on the ends of airways.
"""

from __future__ import annotations

import numpy as np

from covidct.ct.phantom.body import Body
from covidct.ct.phantom.consolidation import LOBES, LobarConsolidation
from covidct.ct.phantom.disease import Disease, Extent
from covidct.ct.phantom.ground_glass import DiffuseGroundGlass, PeripheralGroundGlass
from covidct.ct.phantom.tuberculosis import Tuberculosis
from covidct.ct.phantom.vessels import Tree
from covidct.errors import UsageError
from covidct.labels import FU2020


def sample_disease(
    name: str, body: Body, trees: list[Tree], generator: np.random.Generator, *, difficulty: float,
    slice_fraction: float, levels: tuple[float, float],
) -> Disease | None:  # fmt: skip
    """Lesions of one patient.

    Args:
        name: A class of `covidct.labels.FU2020`.
        body: The measures of the person.
        trees: Arterial trees of the right and the left lung.
        generator: Source of randomness.
        difficulty: 0..1; 1 gives the smallest and faintest lesions.
        slice_fraction: Wanted share of slices with lesions.
        levels: First and last level that is scanned.

    Raises:
        UsageError: The class is unknown.
    """
    if name not in FU2020:
        raise UsageError(f"the phantom has no class {name!r}", remedy=f"use some of {list(FU2020)}")
    if name == "normal":
        return None
    span = (levels[1] - levels[0]) * float(np.clip(slice_fraction * generator.uniform(0.85, 1.15), 0.02, 1.0))
    centre = {"covid19": 0.66, "viral": 0.50, "bacterial": 0.50, "tuberculosis": 0.21}[name]
    lobe = int(generator.integers(5))
    if name == "bacterial":
        centre = LOBES[lobe].level
    centre += float(generator.normal(0, 0.03))
    first, last = max(levels[0], 0.02), min(levels[1], 0.93)
    low = float(np.clip(centre - span / 2, first, max(first, last - span)))
    extent = Extent(low, min(low + span, levels[1]), 1 - 0.62 * difficulty, 1 - 0.40 * difficulty)
    if name == "covid19":
        return PeripheralGroundGlass.sample(body, extent, generator)
    if name == "viral":
        return DiffuseGroundGlass.sample(body, trees, extent, generator)
    if name == "bacterial":
        return LobarConsolidation.sample(body, trees, extent, generator, LOBES[lobe])
    return Tuberculosis.sample(body, trees, extent, generator)
