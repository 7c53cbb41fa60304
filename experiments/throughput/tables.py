"""The tables of a benchmark, in Markdown, from its results; every computed figure is marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

STUDY_CELLS = 15
"""Three arms x five repeats, as in Fu et al. 2020 (L240)."""

Result = dict[str, Any]


def tables(result: Result) -> str:
    """All tables of which the results are there."""
    parts = [_head(result)]
    if result["stages"]:
        parts.append(_stages(result["stages"]))
    if result["cells"]:
        parts += [_cells(result), _ladder(result)]
    if "study" in result and result["cells"]:
        parts.append(_study(result))
    if result.get("growth"):
        parts.append(_growth(result["growth"]))
    return "\n\n".join(parts)


def _head(result: Result) -> str:
    machine, material, plan = result["machine"], result["material"], result["plan"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores{gpu}, {machine['memory_gib']} GiB, torch {machine['torch']} with "
        f"{machine['threads']} threads, {machine['date']}; load {machine['load_at_start']} at the start, "
        f"{machine.get('load_at_end')} at the end.",
        f"{material['name']}: {material['slices']['train']} training and {material['slices']['val']} validation "
        f"slices; {plan['model']}, {plan['epochs']} epochs, on {plan['accelerator']}.",
    ]
    # half of the cores busy with other things: the ratios of a run like this are doubtful, the rates are wrong
    if (machine["load_at_start"] or 0) > machine["cores"] / 2:
        lines.append("**The machine was busy with other work: read no rates from this run.**")
    return "\n".join(lines)


def _stages(rows: Sequence[Result]) -> str:
    cells = [
        [
            row["stage"],
            row["way"],
            f"{row['rate']:,.1f} {row['unit']}",
            f"{row['ratio']:.1f}",
            f"{row['slowest_over_fastest']:.1f}",
        ]
        for row in rows
    ]
    return _markdown(["stage", "way", "rate", "ratio to the first", "slowest / fastest round"], cells)


def _cells(result: Result) -> str:
    epochs = result["plan"]["epochs"]
    plain = result["cells"][0]["seconds"]
    cells = [
        [
            cell["name"],
            f"{cell['epochs']}",
            f"{cell['around']:.1f}",
            f"{cell['first']:.1f}",
            f"{cell['later']:.2f}",
            f"{cell['seconds']:,.0f}{' *' if cell['computed'] else ''}",
            f"{plain / cell['seconds']:.1f}",
            f"{cell['peak_mib']:,.0f}",
        ]
        for cell in result["cells"]
    ]
    head = [
        "cell",
        "epochs trained",
        "outside of epochs, s",
        "first epoch, s",
        "later epochs, s",
        f"{epochs} epochs, s",
    ]
    note = "\\* computed: outside + first + (epochs - 1) x later. All others: wall time of the command."
    return _markdown([*head, "times faster than the first", "peak MiB"], cells) + "\n\n" + note


def _ladder(result: Result) -> str:
    """What each thing adds, one switched on after the other."""
    named = {cell["name"]: cell for cell in result["cells"]}
    rungs = [
        ("peer", "where we start"),
        ("ours, all off, fp32", "other: decoding, loader, less bookkeeping"),
        ("+ channels-last", "other: memory layout"),
        ("+ slice store", "I/O: every slice decoded once"),
        ("+ features, fp32, cold", "arithmetic avoided: the trunk runs once"),
        ("+ features, bf16, cold", "precision"),
        ("+ features, bf16, warm", "sharing: another arm or repeat has built the features"),
    ]
    cells, before = [], None
    for name, what in rungs:
        if name not in named:
            continue
        seconds = named[name]["seconds"]
        gain = "" if before is None else f"{before / seconds:.2f}"
        cells.append([name, what, f"{seconds:,.0f}{' *' if named[name]['computed'] else ''}", gain])
        before = seconds
    return _markdown(["switched on", "what that is", "cell, s", "gain of this step"], cells)


def _study(result: Result) -> str:
    named = {cell["name"]: cell for cell in result["cells"]}
    study, epochs = result["study"], result["plan"]["epochs"]
    rows = [("peer", STUDY_CELLS * named["peer"]["seconds"], f"{STUDY_CELLS} x the cell above")]
    if kept := named.get("peer, PersistentDataset"):
        later = kept["around"] + epochs * kept["later"]
        seconds = kept["seconds"] + (STUDY_CELLS - 1) * later
        rows.append((kept["name"], seconds, f"one cell that fills the cache, {STUDY_CELLS - 1} that find it full"))
    ours, said = study["seconds"], f"measured: one command, {study['cells']} cells, features built in it"
    if missing := STUDY_CELLS - study["cells"]:
        ours += missing * named["+ features, bf16, warm"]["seconds"]
        said = f"{study['cells']} cells in one command: {study['seconds']:.0f} s; {missing} x the warm cell added"
    rows.append(("ours, bf16", ours, said))
    cells = [[name, f"{seconds / 60:,.1f}", f"{seconds / ours:.1f}", how] for name, seconds, how in rows]
    return _markdown([f"study of {STUDY_CELLS} cells", "minutes", "times as long as ours", "how it was found"], cells)


def _growth(rows: Sequence[Result]) -> str:
    cells = [
        [
            row["subject"],
            row["step"],
            f"{row['slices']:,}",
            f"{row['seconds']:,.2f}",
            f"{row['cpu_seconds']:,.2f}",
            f"{row['microseconds_per_slice']:,.1f}",
            f"{row['private_mib']:,.0f}",
            f"{row['mapped_mib']:,.0f}",
        ]
        for row in sorted(rows, key=lambda row: (row["subject"], row["step"], row["slices"]))
    ]
    return _markdown(["subject", "step", "slices", "s", "processor s", "us a slice", "own MiB", "mapped MiB"], cells)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
