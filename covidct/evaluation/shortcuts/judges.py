"""From numbers to verdicts: each probe's pass line applied, and the sentence that says what may be concluded.

A probe is quiet where its pass line holds; that is no proof that there is no shortcut, and the sentence says how large
one would have had to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from covidct.evaluation.shortcuts.chance import Chance
from covidct.evaluation.shortcuts.outcome import (
    CONFIDENT,
    DROP_FREE,
    EACH,
    LEAK,
    MARK_RATE,
    PROBES,
    TELLS,
    TELLS_CLASS,
    TELLS_SITE,
    Outcome,
    Status,
    not_done,
)
from covidct.evaluation.wording import display, percent

Bounds = tuple[float, float] | None


def _p(value: float) -> str:
    return f"P {value:.3f}" if value >= 0.001 else "P < 0.001"


def _auc(value: float, bounds: Bounds) -> str:
    return f"{value:.2f}" + (f" (95 % interval {bounds[0]:.2f} to {bounds[1]:.2f})" if bounds else "")


def _classes(names: Sequence[str], chance: Chance) -> list[dict[str, object]]:
    return [
        {"class": name, "auc": None if np.isnan(area) else float(area), "p": None if np.isnan(p) else float(p)}
        for name, area, p in zip(names, chance.per_class, chance.p_class, strict=True)
    ]


def tells(chance: Chance) -> bool:
    """Whether scores that should say nothing tell the classes: the pass line of five probes.

    Two looks, at the mean and at the strongest class, share the probability of a false alarm.
    """
    strongest = chance.strongest
    by_mean = chance.value > TELLS and chance.p < EACH / 2
    by_class = chance.per_class[strongest] > TELLS_CLASS and chance.p_class[strongest] < EACH / 2
    return bool(by_mean or by_class)


_TOLD = {
    "position": (
        "The place of a slice in its series tells the label",
        "Slices were chosen differently in the classes.",
    ),
    "background": ("With the lungs hidden the network still tells the classes", "Part of what it uses lies elsewhere."),
    "background_retrained": (
        "A classifier trained on pictures without lungs tells the classes",
        "The pictures themselves differ between the classes outside the lungs.",
    ),
    "border": ("From the border alone the network tells the classes", "Little of the lung lies there."),
}
_NOT_TOLD = {
    "position": "The place of a slice in its series does not tell the label",
    "background": "With the lungs hidden the network does not tell the classes",
    "background_retrained": "A classifier trained on pictures without lungs does not tell the classes",
    "border": "From the border alone the network does not tell the classes",
}


def judge_told(
    probe: str, chance: Chance | None, bounds: Bounds, names: Sequence[str], n_patients: int, remark: str = ""
) -> Outcome:
    """Position, background, background retrained, border: AUCs of what should say nothing.

    Args:
        probe: Which.
        chance: Of patients; None where no AUC is defined.
        bounds: 95 % interval of the mean AUC.
        names: Class names.
        n_patients: P.
        remark: Said at the end: how the pictures were made, what was left out.
    """
    if chance is None:
        return not_done(probe, "the audited patients are all of one class")
    alarmed, reach, strongest = tells(chance), chance.reach(EACH), chance.strongest
    numbers = f"mean AUC {_auc(chance.value, bounds)}, {_p(chance.p)}"
    if alarmed:
        best = f"; most clearly {display(names[strongest])}, AUC {chance.per_class[strongest]:.2f}"
        # of two classes neither is told more clearly than the other
        sentence = f"{_TOLD[probe][0]}: {numbers}{best if len(names) > 2 else ''}. {_TOLD[probe][1]}"
    else:
        sentence = f"{_NOT_TOLD[probe]} beyond the pass line: {numbers}. {_power(reach, n_patients)}"
    return Outcome(
        probe,
        "alarm" if alarmed else "quiet",
        f"{sentence} {remark}".strip(),
        value=chance.value,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        chance=reach,
        p=chance.p,
        n_patients=n_patients,
        details=_classes(names, chance),
    )


def _power(reach: float, n_patients: int) -> str:
    if reach <= TELLS:
        return f"With {n_patients} patients a mean AUC above {TELLS} would have been an alarm."
    return f"With {n_patients} patients chance alone reaches {reach:.2f}: a weaker shortcut would not show."


def judge_metadata(
    value: float, bounds: Bounds, columns: list[dict[str, object]], n_patients: int, absent: Sequence[str]
) -> Outcome:
    """Metadata-only classifier.

    Args:
        value: Mean AUC of out-of-fold predictions.
        bounds: Its 95 % interval.
        columns: [{"column", "cramers_v", "p", "values"}], strongest first.
        n_patients: P.
        absent: What a slice table does not hold or what does not vary.
    """
    alarmed = bounds is not None and bounds[0] > TELLS
    strongest = columns[0] if columns else None
    named = (
        f" The strongest single column is {strongest['column']} (Cramér's V {strongest['cramers_v']:.2f})."
        if strongest
        else ""
    )
    without = f" Not among the columns: {', '.join(absent)}." if absent else ""
    if alarmed:
        sentence = (
            f"Metadata alone tell the label: mean AUC {_auc(value, bounds)}.{named} A network that reads the scanner "
            "or the format from the picture needs no disease."
        )
    else:
        sentence = f"Metadata alone do not tell the label beyond the pass line: mean AUC {_auc(value, bounds)}.{named}"
    return Outcome(
        "metadata",
        "alarm" if alarmed else "quiet",
        sentence + without,
        value=value,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        n_patients=n_patients,
        details=columns,
    )


def judge_duplicates(between_patients: int, between_partitions: int, n_patients: int) -> Outcome:
    """Equal pictures (same pixels) of two patients, or in two partitions."""
    total = between_patients + between_partitions
    sentence = (
        f"{between_patients} pictures belong to two patients or more, {between_partitions} lie in two partitions: what "
        "is tested was partly trained on."
        if total
        else "No picture belongs to two patients or lies in two partitions (same pixels; near copies are not sought)."
    )
    return Outcome(
        "duplicates",
        "alarm" if total else "quiet",
        sentence,
        value=float(total),
        unit="pictures",
        n_patients=n_patients,
    )


def judge_marks(labels: np.ndarray, shares: np.ndarray, p_class: np.ndarray, names: Sequence[str]) -> Outcome:
    """Bright marks in corners.

    Args:
        labels: int [P].
        shares: float [P], share of each patient's slices with a mark.
        p_class: float [K], two-sided P of each class's mean share against the others', corrected for the classes.
        names: Class names.
    """
    rows: list[dict[str, Any]] = []
    for k, name in enumerate(names):
        mine, rest = shares[labels == k], shares[labels != k]
        if len(mine) and len(rest):
            rows.append(
                {"class": name, "marked": float(mine.mean()), "others": float(rest.mean()), "p": float(p_class[k])}
            )
    if not rows:
        return not_done("marks", "the patients are all of one class")
    gaps = {row["class"]: round(row["marked"] - row["others"], 9) for row in rows}
    # of two classes one is marked as much more as the other is less: named is the one that is marked
    worst = min(rows, key=lambda row: (row["p"], -abs(gaps[row["class"]]), -gaps[row["class"]]))
    apart = gaps[worst["class"]]
    if not shares.any():
        return Outcome(
            "marks", "quiet", "No slice has a small bright mark in a corner.", value=0.0, p=1.0, unit="share",
            n_patients=len(labels), details=rows,
        )  # fmt: skip
    alarmed = abs(apart) > MARK_RATE and worst["p"] < EACH
    numbers = (
        f"in {percent(worst['marked'], 0)} % of the slices of patients with {display(str(worst['class']))}, in "
        f"{percent(worst['others'], 0)} % of those of the others"
    )
    sentence = (
        f"Bright marks stand in the corners {numbers}: they go with the label, and any network can read them."
        if alarmed
        else f"Bright marks in corners do not go with the label; the widest gap: {numbers} ({_p(float(worst['p']))})."
    )
    return Outcome(
        "marks", "alarm" if alarmed else "quiet", sentence, value=float(apart), p=float(worst["p"]), unit="share",
        n_patients=len(labels), details=rows,
    )  # fmt: skip


def judge_lung_only(full: float, lungs: float, gap: Bounds, n_patients: int, remark: str) -> Outcome:
    """Lungs only: reported, never an alarm. `gap` is the interval of full minus lungs only."""
    between = f" (95 % interval of the difference {gap[0]:.2f} to {gap[1]:.2f})" if gap else ""
    lost = full - lungs
    meaning = (
        "What lies outside the lungs matters to it, or the bare lungs are too strange to it."
        if gap and gap[0] > 0
        else "It does not need what lies outside the lungs, as far as these patients can tell."
        if gap
        else "Too few patients for an interval."
    )
    return Outcome(
        "lung_only",
        "noted",
        f"Whole picture: mean AUC {full:.2f}; lungs alone: {lungs:.2f}{between}. {meaning} {remark}",
        value=lost,
        low=gap[0] if gap else None,
        high=gap[1] if gap else None,
        unit="AUC lost",
        n_patients=n_patients,
        details=[{"picture": "whole", "auc": full}, {"picture": "lungs only", "auc": lungs}],
    )


def judge_corners(before: float, after: float, bounds: Bounds, p: float, n_patients: int) -> Outcome:
    """Corners blanked: `bounds` is the interval of the fall in the patients' mean share of right slices."""
    alarmed = p < EACH and before > after
    numbers = f"{percent(before)} % of a patient's slices are called right, {percent(after)} % with the corners blanked"
    sentence = (
        f"The corners matter: {numbers} ({_p(p)}). There is no lung in a corner of a chest CT."
        if alarmed
        else f"The corners do not matter beyond chance: {numbers} ({_p(p)})."
    )
    return Outcome(
        "corners", "alarm" if alarmed else "quiet", sentence, value=before - after,
        low=bounds[0] if bounds else None, high=bounds[1] if bounds else None, p=p, unit="share",
        n_patients=n_patients,
    )  # fmt: skip


def judge_lesion_free(
    chance: Chance | None, rates: Mapping[int, tuple[float, float, int]], names: Sequence[str], n_patients: int
) -> Outcome:
    """Slices without a lesion.

    Args:
        chance: AUCs of patients from their lesion-free slices alone.
        rates: Disease column -> (sensitivity on lesion slices, on lesion-free ones, patients with both).
        names: Class names.
        n_patients: Patients with lesion-free slices.
    """
    if chance is None or not rates:
        return not_done(
            "lesion_free", "no class has patients with lesion-free and with lesion slices, or only one class has any"
        )
    rows: list[dict[str, object]] = []
    guilty = []
    for k, (lesion, free, patients) in rates.items():
        area, p = float(chance.per_class[k]), float(chance.p_class[k])
        equal = lesion - free < DROP_FREE
        told = area > TELLS_CLASS and p < EACH
        rows.append({"class": names[k], "lesion": lesion, "free": free, "patients": patients, "auc_free": area, "p": p})
        if told and equal:
            guilty.append(k)
    lesion, free = (float(np.mean([rate[i] for rate in rates.values()])) for i in (0, 1))
    if guilty:
        k = min(guilty, key=lambda k: (chance.p_class[k], -chance.per_class[k]))
        sentence = (
            f"{display(names[k])} is found on {percent(rates[k][1], 0)} % of its patients' slices without a lesion and "
            f"on {percent(rates[k][0], 0)} % of those with one: what gives it away is not the lesion."
        )
    else:
        sentence = (
            f"Sensitivity is {percent(lesion, 0)} % on slices with a lesion and {percent(free, 0)} % on slices of the "
            "same patients without (mean over diseases)"
            + (": lower, as it should be." if lesion - free >= DROP_FREE else
               "; no disease is told from its lesion-free slices beyond chance.")
        )  # fmt: skip
    return Outcome(
        "lesion_free", "alarm" if guilty else "quiet", sentence, value=lesion - free,
        p=float(np.nanmin(chance.p_class)), unit="share", n_patients=n_patients, details=rows,
    )  # fmt: skip


def judge_empty(pictures: Mapping[str, float], positive: str) -> Outcome:
    """Blank, noise and inverted pictures: picture -> mean probability of the positive class."""
    worst = max(pictures, key=lambda name: pictures[name])
    value = pictures[worst]
    alarmed = value >= CONFIDENT
    listed = ", ".join(f"{name} {probability:.2f}" for name, probability in pictures.items())
    name = display(positive)
    sentence = (
        f"The network is sure of {name} in pictures that show nothing ({listed}): its certainty proves nothing."
        if alarmed
        else f"No picture that shows nothing is a confident {name} ({listed})."
    )
    return Outcome(
        "empty", "alarm" if alarmed else "quiet", sentence, value=value, unit="probability",
        details=[{"picture": k, "probability": v} for k, v in pictures.items()],
    )  # fmt: skip


def judge_shuffle(areas: Sequence[float], n_patients: int) -> Outcome:
    """Mean AUCs on the audited patients after training on shuffled labels, one per shuffle.

    Shuffles are independent draws, so Student's t over them tests against chance.
    """
    values = np.asarray(areas, dtype=float)
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    p = float(stats.t.sf((mean - 0.5) / error, len(values) - 1)) if error > 0 else float(mean <= 0.5)
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    alarmed = mean > LEAK and p < EACH
    numbers = f"mean AUC {_auc(mean, (mean - half, mean + half))} over {len(values)} shuffles"
    sentence = (
        f"Trained on shuffled labels a classifier still does better than chance on the audited patients: {numbers}. "
        "They are not new to it: patients or pictures leak between the partitions."
        if alarmed
        else f"Trained on shuffled labels a classifier falls to chance: {numbers}."
    )
    return Outcome(
        "shuffle", "alarm" if alarmed else "quiet", sentence, value=mean, low=mean - half, high=mean + half, p=p,
        n_patients=n_patients,
    )  # fmt: skip


def judge_site(
    per_class: list[dict[str, object]], value: float, p: float, reach: float, linked: tuple[float, float] | None,
    n_patients: int,
) -> Outcome:  # fmt: skip
    """Features tell the site.

    Every network's features tell scanners apart; that becomes a shortcut where site and label went together in
    training. So the alarm asks for both, and either alone is noted.

    Args:
        per_class: [{"class", "auc", "patients"}].
        value: Mean over the classes.
        p: Against permuted sites.
        reach: What permuted sites reach.
        linked: (Cramér's V, P) of site and label in training; None where training has one site.
        n_patients: P.
    """
    told = value > TELLS_SITE and p < EACH
    together = linked is not None and linked[1] < EACH
    status: Status = "alarm" if told and together else "noted" if told else "quiet"
    if not told:
        sentence = f"Within a class the features do not tell the site beyond the pass line: AUC {value:.2f} ({_p(p)})."
    else:
        sentence = f"Within a class the features tell the site: AUC {value:.2f} ({_p(p)}). "
        if linked is None:
            sentence += (
                "Training had one site, so the label cannot have been learnt from it; but other scanners look "
                "different to this network."
            )
        elif together:
            sentence += (
                f"And in training site and label went together (Cramér's V {linked[0]:.2f}, {_p(linked[1])}): the "
                "network can answer with the hospital in place of the disease."
            )
        else:
            sentence += (
                f"In training site and label did not go together (Cramér's V {linked[0]:.2f}, {_p(linked[1])}), so "
                "there was nothing to gain from it."
            )
    return Outcome("site", status, sentence, value=value, chance=reach, p=p, n_patients=n_patients, details=per_class)


def verdict(outcomes: Sequence[Outcome], audited: str) -> str:
    """One sentence over the whole battery."""
    alarms = [PROBES[o.probe].title.lower() for o in outcomes if o.status == "alarm"]
    done = sum(o.status != "not done" for o in outcomes)
    if alarms:
        return (
            f"{len(alarms)} of {done} probes raised an alarm on {audited}: {'; '.join(alarms)}. The network's figures "
            "do not show that it recognises disease."
        )
    return (
        f"None of {done} probes raised an alarm on {audited}. That rules out the shortcuts they look for, of the sizes "
        "they can see; it does not prove that the network looks at disease."
    )
