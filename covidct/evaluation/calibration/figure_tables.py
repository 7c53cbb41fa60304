"""The numbers behind the figures on calibration, as long tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

Block = Mapping[str, Any]


def reliability_table(blocks: Sequence[Block]) -> pd.DataFrame:
    """Bins: site, level, probabilities ("raw", "scaled"), class ("(top)" for the highest probability), and the bin."""
    rows = []
    for block in blocks:
        for kind in ("raw", "scaled"):
            for name, part in _parts(block[kind]).items():
                rows += [
                    {"site": block["site"], "level": block["level"], "probabilities": kind, "class": name, **place}
                    for place in part["bins"]
                ]
    return pd.DataFrame(rows)


def histogram_table(blocks: Sequence[Block]) -> pd.DataFrame:
    """How many cases have which raw probability, in 20 bins of equal width: site, level, class, bin (from 0), n."""
    rows = [
        (block["site"], block["level"], name, number, n)
        for block in blocks
        for name, part in _parts(block["raw"]).items()
        for number, n in enumerate(part["histogram"])
    ]
    return pd.DataFrame(rows, columns=["site", "level", "class", "bin", "n"])


def _parts(found: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if found is None else {"(top)": found["top_label"], **found["per_class"]}


def referral_table(blocks: Sequence[Block]) -> pd.DataFrame:
    """Risk-coverage curves and the chosen thresholds: site, level, point ("curve" or "choice"), kept, error."""
    rows: list[tuple[str, str, str, float, float]] = []
    for block in blocks:
        found, place = block["referral"], (block["site"], block["level"])
        curve = zip(found["curve"]["coverage"], found["curve"]["risk"], strict=True)
        rows += [(*place, "curve", kept, error) for kept, error in curve]
        for choice in found["choices"]:
            if choice["referred"] is not None and choice["error_kept"]["value"] is not None:
                rows.append((*place, "choice", 1 - choice["referred"]["value"], choice["error_kept"]["value"]))
    return pd.DataFrame(rows, columns=["site", "level", "point", "kept", "error"])


def decision_table(blocks: Sequence[Block]) -> pd.DataFrame:
    """Decision curves: site, level, threshold, model, treat_all, gain_low, gain_high."""
    rows = []
    for block in blocks:
        found = block["decision"]
        for place, threshold in enumerate(found["threshold"] if found else ()):
            columns = {key: found[key][place] if found[key] else None
                       for key in ("model", "treat_all", "gain_low", "gain_high")}  # fmt: skip
            rows.append({"site": block["site"], "level": block["level"], "threshold": threshold, **columns})
    return pd.DataFrame(rows)


def conformal_table(blocks: Sequence[Block]) -> pd.DataFrame:
    """Coverage of sets: site, level, sets ("marginal", "by_class"), class ("(all)" or a name), value, low, high."""
    rows = []
    for block in blocks:
        for kind, result in block["conformal"].items():
            if result is None:
                continue
            for name, share in {"(all)": result["coverage"], **result["per_class"]}.items():
                rows.append((block["site"], block["level"], kind, name,
                             *(share[key] for key in ("value", "low", "high", "n_patients"))))  # fmt: skip
    columns = ["site", "level", "sets", "class", "value", "low", "high", "n_patients"]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"value": float, "low": float, "high": float})
