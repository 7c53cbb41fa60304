"""What a reviewer will ask, each question with one sentence from the files of the run and the place to read on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from covidct.evaluation import bias
from covidct.evaluation.record import RunRecord
from covidct.evaluation.sentences import estimate, site_name
from covidct.evaluation.wording import percent

Standing = Literal["holds", "concern", "not known", "see"]
_OF_RISK: dict[bias.Risk, Standing] = {"low": "holds", "high": "concern", "not known": "not known"}


class Answer(NamedTuple):
    """One question with its answer.

    Args:
        question: As a reviewer asks it.
        standing: "holds", "concern", "not known", or "see" where numbers need reading.
        sentence: The answer.
        anchor: Where in the report it is shown.
    """

    question: str
    standing: Standing
    sentence: str
    anchor: str


def answers(record: RunRecord, sections: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """The questions in the order in which a reviewer loses faith.

    Args:
        record: The run.
        sections: The report's further sections, as from `report_sections.sections_of`.
    """
    contents = {str(one["name"]): one["content"] for one in sections}
    found = [
        _from("Do patients lie in both training and test?", bias.leak(record), "participants"),
        _from("Was it tested at hospitals it was not trained at?", bias.external(record), "test"),
        _from("How often was the test set looked at?", bias.reuse(record), "test"),
        _from("Are there enough patients?", bias.few_patients(record), "found"),
        _from("Who chose rule and thresholds, and where?", bias.thresholds(record), "operating_point"),
        _calibration(record),
        _from("Does it look at disease, or at a shortcut?", bias.shortcuts(record), "shortcuts"),
        _explanations(contents),
        _readers(contents),
    ]
    there = {"participants", "test", "found", *contents}
    return [one if one.anchor in there else one._replace(anchor="bias") for one in found]


def _from(question: str, finding: bias.Finding, anchor: str) -> Answer:
    return Answer(question, _OF_RISK[finding.risk], finding.sentence, anchor)


def _calibration(record: RunRecord) -> Answer:
    question = "Does a probability of 90\u00a0% mean 90\u00a0%?"
    blocks = [b for b in (record.section("calibration") or {}).get("blocks") or [] if b["level"] == "patient"]
    error = blocks[-1]["raw"]["top_label"]["ece"] if blocks else None
    if not error or error.get("value") is None:
        finding = bias.calibration(record)
        return Answer(question, "not known", finding.sentence, "calibration")
    raw, ideal = blocks[-1]["raw"], blocks[-1]["raw"]["top_label"]["ideal"]
    where = "Over all test sites" if blocks[-1]["site"] == "(pooled)" else f"At {site_name(blocks[-1]['site'])}"
    text = (
        f"{where}, patients are called with a mean probability of {percent(raw['mean_confidence'])}\u00a0%, and "
        f"{percent(raw['accuracy'])}\u00a0% of the calls are right; calibration error {estimate(error)}"
    )
    if not ideal:
        return Answer(question, "see", f"{text}.", "calibration")
    text += f", where a perfectly calibrated model with as many patients shows up to {percent(ideal['high'])}\u00a0%."
    # inside the range of an ideal model an error is not shown, which is less than shown to be absent
    return Answer(question, "concern" if error["value"] > ideal["high"] else "see", text, "calibration")


def _explanations(contents: Mapping[str, Any]) -> Answer:
    question = "Where does it look?"
    found = contents.get("explanations")
    if not found:
        return Answer(
            question, "not known", "No map of its attention was made (covidct explain run=RUN).", "explanations"
        )
    if found.get("alarm"):
        return Answer(question, "concern", str(found["alarm"]), "explanations")
    sentences = found.get("sentences") or [""]
    return Answer(question, "see", str(sentences[1] if len(sentences) > 1 else sentences[0]), "explanations")


def _readers(contents: Mapping[str, Any]) -> Answer:
    question = "How does it stand beside radiologists?"
    found = contents.get("readers")
    if not found:
        return Answer(question, "not known", "No readers were compared with it (covidct readers run=RUN).", "readers")
    sentences = found.get("sentences") or [""]
    text = str(sentences[1] if len(sentences) > 1 else sentences[0])
    return Answer(question, "see", f"Simulated readers. {text}" if found.get("simulated") else text, "readers")
