"""All probes of a run, in order, each on what it needs; the record is `shortcuts.json` of the run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from covidct.data.table import SliceTable
from covidct.errors import UsageError
from covidct.evaluation.shortcuts.judges import verdict
from covidct.evaluation.shortcuts.outcome import EACH, FAMILY, PROBES, Outcome, not_done
from covidct.files import write_json
from covidct.training.scoring import TrainedRun
from covidct.training.shortcuts import probes_features, probes_pictures, probes_table
from covidct.training.shortcuts.looking import Looker, Sight
from covidct.training.shortcuts.material import Material
from covidct.training.shortcuts.probes_pictures import Seen
from covidct.training.shortcuts.views import BORDER, CORNER, MARGIN_MM

RECORD = "shortcuts.json"
FILLS = {"air": "-1000 HU (air)", "mean": "the mean of the slice"}
_NO_HU = "8-bit pictures have no Hounsfield units, so lungs cannot be found by density"
_VIEWS = {
    "background": ("background",),
    "background_retrained": ("background",),
    "lung_only": ("whole", "lung_only"),
    "border": ("border",),
    "corners": ("whole", "no_corners"),
    "lesion_free": ("whole",),
    "empty": ("inverted",),
    "shuffle": ("whole",),
    "site": ("whole",),
    "marks": ("whole",),
}
"""Probe -> what must be shown of the audited slices."""


@dataclass(frozen=True)
class AuditSettings:
    """How the battery is run.

    Args:
        probes: "all", or names of `PROBES`.
        partition: Who is audited: "val", "test", or "all" for both.
        retrain: Also fit a classifier on pictures without lungs, which shows all training slices once more.
        slices: At most this many slices of a patient are shown, evenly spaced.
        fill: What is put in place of what is taken away: "air" or "mean".
        replicates: Permutations and bootstrap replicates.
        device: "auto", "cpu" or "gpu".
        seed: Of all that is random.
    """

    probes: str | Sequence[str] = "all"
    partition: str = "val"
    retrain: bool = False
    slices: int = 16
    fill: str = "air"
    replicates: int = 2000
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise UsageError(f"fill={self.fill} is not a choice", remedy=f"use one of {list(FILLS)}")
        if self.replicates < 2 / EACH:
            raise UsageError(f"replicates={self.replicates} cannot show P < {EACH:g}", remedy="use 1000 or more")
        if unknown := sorted(set(self.names) - set(PROBES)):
            raise UsageError(f"unknown probes {unknown}", where="probes", remedy=f"use some of {list(PROBES)}")

    @property
    def names(self) -> list[str]:
        """The probes to run, in the order they are printed."""
        asked = [self.probes] if isinstance(self.probes, str) else list(self.probes)
        return list(PROBES) if asked == ["all"] else sorted(set(asked), key=[*PROBES, *asked].index)


def audit(run: TrainedRun, table: SliceTable, settings: AuditSettings, say: Callable[[str], None]) -> dict[str, Any]:
    """Run the battery and write `shortcuts.json`.

    Args:
        run: The run.
        table: The slice table it was trained on; its scans must be there.
        settings: What to do.
        say: Prints a line.

    Returns:
        The record: {"verdict", "alarms", "outcomes": [...], ...}.

    Raises:
        DataRefused: The partition has no slice, or a scan cannot be read.
        IntegrityError: The table is not the run's.
    """
    material = Material(run, table, settings.partition, settings.slices)
    outcomes = _outcomes(material, settings, say)
    record = {
        "schema": 1,
        "verdict": verdict(outcomes, material.audited_name),
        "alarms": [outcome.probe for outcome in outcomes if outcome.status == "alarm"],
        "partition": settings.partition,
        "audited": material.audited_name,
        "n_patients": len(material.people(material.audited)),
        "n_slices": len(material.audited),
        "slices_per_patient": settings.slices,
        "family": FAMILY,
        "each": EACH,
        "fill": FILLS[settings.fill] if run.settings.data.windows or settings.fill == "mean" else "black",
        "border": BORDER,
        "corner": CORNER,
        "margin_mm": MARGIN_MM,
        "retrain": settings.retrain,
        "replicates": settings.replicates,
        "seed": settings.seed,
        "index_digest": table.digest,
        "weights_digest": run.module.digest(),
        "outcomes": [outcome.as_dict() for outcome in outcomes],
    }
    with run.folder.lock(say):
        write_json(run.folder.path / RECORD, record)
    return record


def _outcomes(material: Material, settings: AuditSettings, say: Callable[[str], None]) -> list[Outcome]:
    wanted = settings.names
    refused = _refused(material, settings)
    todo = [name for name in wanted if name not in refused]
    found = {name: outcome for name, outcome in refused.items() if name in wanted}
    seed, replicates = settings.seed, settings.replicates
    if "metadata" in todo:
        found["metadata"] = probes_table.metadata(material, seed, replicates)
    if "duplicates" in todo:
        found["duplicates"] = probes_table.duplicates(material)
    if "position" in todo:
        found["position"] = probes_table.position(material, seed, replicates)
    views = list(dict.fromkeys(view for name in todo for view in _VIEWS.get(name, ())))
    if views:
        found |= _shown(material, settings, todo, views, say)
    return [found[name] for name in wanted]


def _shown(
    material: Material, settings: AuditSettings, todo: list[str], views: list[str], say: Callable[[str], None]
) -> dict[str, Outcome]:
    seed, replicates = settings.seed, settings.replicates
    looker = Looker(material.run, material.table, device=settings.device, fill=settings.fill)
    sights, marked = looker.look(material.audited, views, say)
    seen = Seen(material, material.people(material.audited), sights, replicates, seed)
    hidden = f"Hidden: the lungs' convex hull with {MARGIN_MM:g} mm around, filled with {FILLS[settings.fill]}."
    found: dict[str, Outcome] = {}
    if "background" in todo:
        found["background"] = probes_pictures.told(seen, "background", hidden)
    if "lung_only" in todo:
        found["lung_only"] = probes_pictures.lung_only(seen, f"All but the hull is {FILLS[settings.fill]}.")
    if "border" in todo:
        crops = "" if looker.viewer.is_hu else "In pictures cropped to the chest, lung lies at the border too."
        found["border"] = probes_pictures.told(seen, "border", crops)
    if "corners" in todo:
        found["corners"] = probes_pictures.corners(seen)
    if "lesion_free" in todo:
        found["lesion_free"] = probes_pictures.lesion_free(seen)
    if "empty" in todo:
        found["empty"] = probes_pictures.empty(seen, looker)
    of_training = [
        view
        for view, probes in (("whole", ("marks", "shuffle", "site")), ("background", ("background_retrained",)))
        if set(probes) & set(todo)
    ]
    if of_training:
        trained, trained_marks = looker.look(material.train, of_training, say)
        every = material.people(np.concatenate([material.audited, material.train]))
        if "marks" in todo:
            both = np.concatenate([marked, trained_marks])
            found["marks"] = probes_pictures.marks(every, both, seen.names, replicates, seed)
        if "background_retrained" in todo:
            found["background_retrained"] = probes_features.retrained(seen, trained["background"], hidden)
        if "shuffle" in todo:
            found["shuffle"] = probes_features.shuffle(seen, trained["whole"])
        if "site" in todo:
            found["site"] = probes_features.site(
                material, every, _joined(sights["whole"], trained["whole"]), replicates, seed
            )
    return found


def _joined(one: Sight, two: Sight) -> Sight:
    features = None
    if one.features is not None and two.features is not None:
        features = np.concatenate([one.features, two.features])
    return Sight(np.concatenate([one.probabilities, two.probabilities]), features, np.concatenate([one.seen, two.seen]))


def _refused(material: Material, settings: AuditSettings) -> dict[str, Outcome]:
    """Probes that cannot be done, known before anything is shown."""
    refused: dict[str, Outcome] = {}
    if not material.run.settings.data.windows:
        refused |= {name: not_done(name, _NO_HU) for name in ("background", "background_retrained", "lung_only")}
    if not settings.retrain:
        refused["background_retrained"] = not_done("background_retrained", "it was not asked for (retrain=true)")
    return refused
