"""What the numbers on calibration allow one to say, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covidct.evaluation.sentences import estimate
from covidct.evaluation.wording import display, percent

Block = Mapping[str, Any]
POOLED = "(pooled)"
REFERRED = 0.1
RARE = 0.01
NBSP = "\u00a0"


def sentences(found: Mapping[str, Any]) -> list[str]:
    """The findings in reading order: temperature, agreement, referral, sets, decisions, rarer disease."""
    single = [block for block in found["blocks"] if block["site"] != POOLED and block["level"] == "patient"]
    positive = found["classes"].get("positive")
    said = temperature_sentences(found["temperature"])
    if not single:
        return [*said, "No test site was evaluated: whether the probabilities hold for new patients is not known."]
    said += [agreement_sentence(block) for block in single]
    said += [text for block in single if (text := referral_sentence(block))]
    said.append(conformal_sentence(found["conformal"]["patient"], single))
    if positive:
        said += [text for block in single if (text := decision_sentence(block, display(positive)))]
        said += [text for block in single if (text := prevalence_sentence(block, display(positive)))]
    return said


def bent(low: float | None, high: float | None) -> str:
    """What an interval of a temperature says."""
    if low is not None and low > 1:
        return "too confident"
    if high is not None and high < 1:
        return "too modest"
    return "not shown to be too confident or too modest"


def temperature_sentences(temperatures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One for each level."""
    said = []
    for level, unit in (("slice", "slice probabilities"), ("patient", "patient probabilities (means over slices)")):
        found = temperatures[level]
        if found["value"] is None:
            said.append(f"No temperature for the {unit}: {found['reason']}.")
            continue
        bounds = (
            "no interval: too few patients"
            if found["low"] is None
            else f"95{NBSP}% interval {found['low']:.2f}–{found['high']:.2f}"
        )
        said.append(
            f"On {_count(found['n_patients'], 'validation patient')} the {unit} were "
            f"{bent(found['low'], found['high'])}: temperature {found['value']:.2f} ({bounds}; 1 changes nothing)."
        )
    return said


def agreement_sentence(block: Block) -> str:
    """Stated against observed at one site, and the calibration error against that of an ideal model."""
    raw, after = block["raw"], block["scaled"]
    error, ideal = raw["top_label"]["ece"], raw["top_label"]["ideal"]
    text = (
        f"At {block['site']} the called class was given {percent(raw['mean_confidence'])}{NBSP}% on average and was "
        f"right for {percent(raw['accuracy'])}{NBSP}% of {_count(block['n_patients'], 'patient')}. Calibration error "
        f"(ECE) {estimate(error)}, where a perfectly calibrated model of this size would show "
        f"{percent(ideal['mean'])}{NBSP}% ({percent(ideal['low'])}–{percent(ideal['high'])})"
    )
    if after is not None:
        scaled = after["top_label"]
        text += (
            f"; after scaling with the validation temperature {percent(scaled['ece']['value'])}{NBSP}%, where a "
            f"perfectly calibrated one would show {percent(scaled['ideal']['mean'])}{NBSP}%"
        )
    if error["value"] > ideal["high"]:
        direction = "more than" if raw["accuracy"] > raw["mean_confidence"] else "less than"
        return f"{text}. The probabilities cannot be taken at their word here: they come true {direction} they say."
    return f"{text}. That they are wrong cannot be shown with so many patients; that they are right, neither."


def referral_sentence(block: Block) -> str | None:
    """What referring the least certain tenth would do at one site; None without a threshold."""
    choice = next((choice for choice in block["referral"]["choices"] if choice["share"] == REFERRED), None)
    if choice is None or choice["referred"] is None or choice["error_kept"]["value"] is None:
        return None
    return (
        f"With a limit that refers the least certain {percent(REFERRED, 0)}{NBSP}% of validation patients to a "
        f"radiologist, {percent(choice['referred']['value'])}{NBSP}% would be referred at {block['site']}; among those "
        f"kept {estimate(choice['error_kept'])} would be called wrong, instead of "
        f"{percent(block['referral']['error']['value'])}{NBSP}% of all."
    )


def conformal_sentence(chosen: Mapping[str, Any], blocks: Sequence[Block]) -> str:
    """Whether the promise of the sets held, site by site."""
    promise = f"{percent(1 - chosen['alpha'], 0)}{NBSP}%"
    if "refused" in chosen["marginal"]:
        return f"No prediction sets at patient level: {chosen['marginal']['refused']}."
    parts, broken = [], []
    for block in blocks:
        share = block["conformal"]["marginal"]["coverage"]
        parts.append(f"{estimate(share)} at {block['site']}")
        if share["high"] is not None and share["high"] < 1 - chosen["alpha"]:
            broken.append(block["site"])
    text = f"Sets of classes that promise to hold the true one for {promise} of patients held it for {_listed(parts)}."
    if broken:
        return f"{text} The promise did not carry over to {_listed(broken)}: patients there are unlike validation's."
    return text


def decision_sentence(block: Block, name: str) -> str | None:
    """Where acting on the model does more good than acting on nothing."""
    curve = block["decision"]
    if curve is None:
        return None
    if curve["useful"] is None:
        return (
            f"At {block['site']}, calling {name} by the model's probability does no more good than calling all or "
            "nobody, at any threshold."
        )
    text = (
        f"At {block['site']}, calling {name} by the model's probability does more good than calling all or nobody "
        f"{_thresholds(curve['useful'])}"
    )
    if curve["sure"] is not None:
        return f"{text}; the interval agrees {_thresholds(curve['sure'])}."
    if curve["gain_low"] is None:
        return f"{text}; too few patients for an interval."
    return f"{text}; by the interval this may be chance."


def prevalence_sentence(block: Block, name: str) -> str | None:
    """What a positive call means where the disease is rare; None where it is undefined."""
    found = block["prevalence"]
    if found is None or not found["rows"]:
        return None
    row = min(found["rows"], key=lambda row: abs(row["prevalence"] - RARE))
    if row["ppv"]["value"] is None:
        return None
    return (
        f"Where {percent(row['prevalence'])}{NBSP}% of patients have {name}, a call of {name} with the sensitivity and "
        f"specificity found at {block['site']} would be right for {estimate(row['ppv'])} of those called."
    )


def _thresholds(run: Mapping[str, float]) -> str:
    low, high = (percent(run[end], 0) for end in ("from", "to"))
    return f"at a threshold of {low}{NBSP}%" if low == high else f"at thresholds from {low} to {high}{NBSP}%"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
