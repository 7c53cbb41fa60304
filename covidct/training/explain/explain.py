"""`covidct explain`: Grad-CAM of a run's slices, scored and drawn; writes explanations.json and all beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from covidct.ct.lungs import body_mask, lung_mask
from covidct.ct.window import HU
from covidct.data.lesions import LesionMasks
from covidct.data.table import SliceTable
from covidct.errors import CovidctError, DataRefused, IntegrityError, UsageError
from covidct.evaluation.explanations.attribution import BLOB_SIGMA, BORDER, border_mask, scores
from covidct.evaluation.explanations.drawing import save_cases
from covidct.evaluation.explanations.estimates import regions_summary
from covidct.evaluation.explanations.sanity import STAGES, compared, judged
from covidct.evaluation.explanations.writing import write_explanations
from covidct.evaluation.predictions import Predictions, read_predictions
from covidct.provenance import digest_file
from covidct.training.assemble import make_datamodule
from covidct.training.explain.gradcam import Maps, gradcam, last_spatial_layer, loose_copy
from covidct.training.explain.selection import Chosen, choose
from covidct.training.explain.shuffled import shuffled
from covidct.training.scoring import TrainedRun, check_table
from covidct.training.shortcuts.views import pixel_size


@dataclass(frozen=True)
class ExplainSettings:
    """What is asked of `covidct explain`.

    Args:
        partition: "auto" (test slices where there are any, else validation), "test" or "val".
        slices: Slices that are counted.
        cases: Pictures of the worst mistakes and of the best right calls; of each class half as many.
        sanity: Slices of the sanity check; 0 leaves it out.
        draws: Draws of random weights for each stage of it.
        device: "auto", "cpu" or "gpu".
        seed: Of sample and random weights.
    """

    partition: str
    slices: int
    cases: int
    sanity: int
    draws: int
    device: str
    seed: int

    def __post_init__(self) -> None:
        if self.partition not in ("auto", "test", "val"):
            raise UsageError(f"partition={self.partition} is not a choice", remedy="use one of auto, test, val")
        if self.device not in ("auto", "cpu", "gpu"):
            raise UsageError(f"device={self.device} is not a choice", remedy="use one of auto, cpu, gpu")
        for name, least in (("slices", 1), ("cases", 0), ("sanity", 0), ("draws", 1), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(f"{name} counts from {least}, not {value!r}", where=name)


@dataclass(frozen=True)
class Looked:
    """Slices as the network sees them, with what is known of their places; all [n, size, size].

    Args:
        images: float32 [n, C, size, size] in [0, 1].
        regions: For each slice region -> mask, None where it cannot be known.
    """

    images: torch.Tensor
    regions: list[dict[str, np.ndarray | None]]


def explain(
    run: TrainedRun, table: SliceTable, settings: ExplainSettings, say: Callable[[str], None]
) -> dict[str, Any]:
    """Explain a run's calls and write the results into its folder.

    Args:
        run: An evaluated run.
        table: The slice table the run was made with.
        settings: What to do.
        say: Prints a line.

    Returns:
        The content of explanations.json.

    Raises:
        UsageError: The network has no layer Grad-CAM can explain.
        DataRefused: The run was not evaluated, or none of its predictions belongs to the table.
    """
    check_table(run, table)
    device = _device(settings.device)
    backbone = loose_copy(run.module.backbone, device)
    size = run.settings.data.size
    layer, grid = last_spatial_layer(backbone, size)
    predictions = _partition(run, settings.partition)
    place = {key: row for row, key in enumerate(table.accepted["slice_key"])}
    chosen = choose(predictions, place, slices=settings.slices, cases=settings.cases, seed=settings.seed)
    if chosen.frame.empty:
        raise DataRefused(
            "none of the predicted slices is in the run's own index",
            remedy="evaluate the run on its own index first: covidct evaluate run=RUN",
        )
    say(f"explaining {len(chosen.frame)} slices: Grad-CAM of {layer}, {grid[0]} x {grid[1]} cells")
    looked = look(run, table, chosen.frame["row"].to_numpy())
    classes = [run.scheme.index(name) for name in chosen.frame["called"]]
    maps = gradcam(backbone, layer, looked.images, classes)
    rows = [scores(maps.pictures[k], looked.regions[k]) for k in range(len(chosen.frame))]
    columns = ["slice_key", "patient_key", "site", "label", "called", "probability", "slice_label"]
    scored = pd.concat([chosen.frame[columns], pd.DataFrame(rows)], axis=1)
    sample = scored.iloc[chosen.sample].reset_index(drop=True)
    verdict, comparisons = None, None
    if settings.sanity:
        verdict, comparisons = _sanity(backbone, layer, looked.images, classes, maps, chosen, settings, say)
    called = [float(maps.pictures[k].max()) > 0 for k in chosen.sample]
    record: dict[str, Any] = {
        "schema": 1,
        "predictions_sha256": digest_file(run.folder.predictions),
        "partition": str(chosen.frame["split"].iloc[0]),
        "layer": layer,
        "grid": list(grid),
        "size": size,
        "units": "HU" if run.settings.data.windows else "gray8",
        "border": BORDER,
        "blob_sigma": BLOB_SIGMA,
        "seed": settings.seed,
        "n_slices": len(sample),
        "n_patients": len(sample.groupby(["site", "patient_key"])),
        "n_available": len(predictions.frame),
        "n_empty_maps": len(called) - sum(called),
        "has_lesion_masks": LesionMasks(table).exist,
        "regions": regions_summary(sample),
        "right": _right_and_wrong(sample),
        "sanity": verdict,
        "alarm": bool(verdict and verdict["alarm"]),
    }
    record["cases"] = save_cases(run.folder.path, _pictures(looked, maps, scored, chosen))
    write_explanations(run.folder.path, record, sample, comparisons)
    return record


def look(run: TrainedRun, table: SliceTable, rows: np.ndarray) -> Looked:
    """Read slices, and find their body, lungs and lesions in the square the network sees."""
    data = make_datamodule(run.settings.data, table, None, seed=0, classes=run.scheme.names)
    transform, frame, lesions = data.transform, table.accepted, LesionMasks(table)
    images, regions = [], []
    border = border_mask(transform.size)
    for row in rows.tolist():
        entry = frame.iloc[row]
        try:
            slice_in_file = int(entry["frame"]) if pd.notna(entry["frame"]) else 0
            base = transform.base(table.file(row), slice_in_file, pixel_hash=entry["pixel_hash"])
        except (DataRefused, IntegrityError, OSError) as error:
            reason = error.what if isinstance(error, CovidctError) else f"cannot be read ({type(error).__name__})"
            raise DataRefused(
                f"a slice that was accepted when the index was made is now refused: {reason}",
                where=f"slice {entry['slice_key']} of patient {entry['patient_key']}",
                remedy="restore the file, or run `covidct index` again",
            ) from None
        found: dict[str, np.ndarray | None] = {"lung": None, "outside_body": None, "border": border, "lesion": None}
        if entry["units"] == HU:
            shape = (int(entry["rows"]), int(entry["cols"]))
            spacing = pixel_size(entry["row_mm"], entry["col_mm"], shape, transform.size, transform.fit)
            body, lung = body_mask(base, spacing), lung_mask(base, spacing)
            found["outside_body"] = ~body if body.any() else None
            found["lung"] = lung if lung.any() else None
        lesion = lesions.of(row)
        if lesion is not None and lesion.any():
            fitted = transform.fitted(lesion)
            found["lesion"] = fitted if fitted.any() else None
        images.append(transform.finish(base))
        regions.append(found)
    return Looked(torch.stack(images), regions)


def _device(device: str) -> torch.device:
    use = torch.cuda.is_available() if device == "auto" else device == "gpu"
    if use and not torch.cuda.is_available():
        raise UsageError("no GPU is visible", where="device", remedy="use device=cpu; see covidct doctor")
    return torch.device("cuda" if use else "cpu")


def _partition(run: TrainedRun, wanted: str) -> Predictions:
    if not run.folder.predictions.is_file():
        raise DataRefused(
            "the run was not evaluated",
            where=str(run.folder.path),
            remedy=f"covidct evaluate run={run.folder.path}",
        )
    found = read_predictions(run.folder.predictions, scheme=run.scheme)
    name = wanted if wanted != "auto" else "test" if (found.frame["split"] == "test").any() else "val"
    frame = found.frame[found.frame["split"] == name].reset_index(drop=True)
    if frame.empty:
        raise DataRefused(f"the run has no predictions of partition {name}", remedy="choose another: partition=val")
    return Predictions(frame, found.scheme, found.meta)


def _sanity(
    backbone: Any, layer: str, images: torch.Tensor, classes: list[int], maps: Maps, chosen: Chosen,
    settings: ExplainSettings, say: Callable[[str], None],
) -> tuple[dict[str, Any], pd.DataFrame]:  # fmt: skip
    part = chosen.sample[: settings.sanity]
    given, wanted = images[part], [classes[k] for k in part]
    say(f"sanity check: {len(part)} slices, weights shuffled in {len(STAGES)} stages, {settings.draws} draws each")
    randomised = {}
    for stage in STAGES:
        draws = []
        for draw in range(settings.draws):
            changed = gradcam(shuffled(backbone, stage, settings.seed + draw, given), layer, given, wanted)
            draws.append((changed.cells, changed.pictures))
        randomised[stage] = draws
    comparisons = compared((maps.cells[part], maps.pictures[part]), randomised)
    slices = chosen.frame.iloc[part].reset_index(drop=True)
    keys = slices["slice_key"].to_numpy()[comparisons["slice"].to_numpy()]
    return judged(comparisons, slices), comparisons.assign(slice_key=keys)


def _right_and_wrong(sample: pd.DataFrame) -> dict[str, Any]:
    """The same summary for right and for wrong calls: do mistakes look elsewhere?"""
    right = sample["called"] == sample["label"]
    parts = {"right": sample[right], "wrong": sample[~right]}
    return {name: regions_summary(part.reset_index(drop=True)) for name, part in parts.items() if len(part)}


def _pictures(
    looked: Looked, maps: Maps, scored: pd.DataFrame, chosen: Chosen
) -> list[tuple[dict[str, Any], np.ndarray, np.ndarray, dict[str, np.ndarray | None]]]:
    found = []
    for group, k in chosen.cases:
        entry = scored.iloc[k]
        number = chosen.frame["slice_number"].iloc[k]
        caption = {
            "group": group,
            "patient_key": str(entry["patient_key"]),
            "site": str(entry["site"]),
            "slice_number": None if pd.isna(number) else int(number),
            "true": str(entry["label"]),
            "called": str(entry["called"]),
            "probability": float(entry["probability"]),
            **{
                key: None if pd.isna(entry[key]) else float(entry[key])
                for key in ("lung_map", "lung_area", "outside_body_map", "lesion_map", "lesion_area")
            },
        }
        found.append((caption, looked.images[k, 0].numpy(), maps.pictures[k], looked.regions[k]))
    return found
