"""The audit of Fu et al. 2020: every number worked out independently (integer programs of another solver)."""

import json

import pytest

from covidct.evaluation.published_tables.audit import audit_publication
from covidct.evaluation.published_tables.hypotheses import CONSISTENT, INCONSISTENT, ONLY_IF
from covidct.evaluation.published_tables.page import view, write_audit
from covidct.evaluation.published_tables.publication import find_publication
from covidct.evaluation.published_tables.reader import read_publication


@pytest.fixture(scope="module")
def found():
    return audit_publication(read_publication(find_publication("fu2020")))


@pytest.fixture(scope="module")
def validation(found):
    return found["tables"][0]


@pytest.fixture(scope="module")
def external(found):
    return found["tables"][1]


def _row(table, name):
    return next(row for row in table["rows"] if row["class"] == name)


def _figure(table, name, metric):
    return next(figure for figure in _row(table, name)["figures"] if figure["metric"] == metric)


def test_validation_is_consistent(validation):
    assert validation["counts"] == [4994, 2514, 2507, 2527, 2565]
    assert validation["verdict"] == CONSISTENT
    assert validation["alternatives"] == []
    assert validation["wrong"] == {"least": 0, "sets": [[]]}
    assert validation["fixed"]["right"] == [14698, 14704]
    assert [round(end, 2) for end in validation["fixed"]["top1_percent"]] == [97.29, 97.33]
    assert validation["readings"][0]["half_width"] == pytest.approx(0.040, abs=0.0005)


def test_test_table_is_not(found, external):
    assert sum(external["counts"]) == 29201
    assert external["verdict"] == found["verdict"] == INCONSISTENT
    assert [finding["verdict"] for finding in external["readings"]] == [INCONSISTENT] * 3
    assert external["readings"][0]["half_width"] == pytest.approx(0.089, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "fn", "fp", "accuracy", "ppv", "npv", "impossible"),
    [
        ("normal", (76, 84), (92, 111), (99.33, 99.42), (98.76, 98.97), (99.59, 99.63), {"ppv", "npv"}),
        ("covid19", (86, 90), (256, 279), (98.74, 98.83), (94.50, 94.94), (99.63, 99.64), {"npv"}),
        ("viral", (253, 257), (181, 204), (98.42, 98.51), (95.96, 96.40), (98.94, 98.95), {"ppv"}),
    ],
)
def test_what_sensitivity_and_specificity_allow(external, name, fn, fp, accuracy, ppv, npv, impossible):
    row = _row(external, name)
    assert (tuple(row["from_rates"]["fn"]), tuple(row["from_rates"]["fp"])) == (fn, fp)
    for metric, ends in (("accuracy", accuracy), ("ppv", ppv), ("npv", npv)):
        assert tuple(round(end, 2) for end in _figure(external, name, metric)["attainable_percent"]) == ends
    assert {figure["metric"] for figure in row["figures"] if not figure["possible"]} == impossible
    assert row["verdict"] == INCONSISTENT
    assert row["errors"] is None


def test_rows_that_hold(external, validation):
    bacterial, tuberculosis = _row(external, "bacterial"), _row(external, "tuberculosis")
    assert bacterial["errors"] | {"pairs": 0} == {"fn": [299, 302], "fp": [188, 192], "pairs": 0}
    assert tuberculosis["errors"] == {"fn": [227, 228], "fp": [178, 179], "pairs": 4}
    assert all(row["verdict"] == CONSISTENT for row in validation["rows"])


def test_which_figures_contradict_each_other(external):
    normal = _row(external, "normal")
    assert ["specificity", "ppv"] in normal["conflicts"]
    assert normal["together"] == 3
    assert _row(external, "covid19")["conflicts"] == [["sensitivity", "npv"]]
    assert _row(external, "covid19")["roundings"] == ["ceil"]  # the row fits if all five were rounded up
    assert _row(external, "normal")["roundings"] == _row(external, "viral")["roundings"] == []
    assert all("ppv" in group for group in _row(external, "viral")["conflicts"])


def test_four_figures_must_be_wrong_in_one_of_five_ways(external):
    wrong = external["wrong"]
    assert wrong["least"] == 4
    sets = [{(figure["class"], figure["metric"]) for figure in figures} for figures in wrong["sets"]]
    assert len(sets) == len({frozenset(figures) for figures in sets}) == 5
    for figures in sets:
        assert ("viral", "ppv") in figures
        assert sum(name == "normal" for name, _ in figures) == 2
        assert len(figures & {("covid19", "sensitivity"), ("covid19", "npv")}) == 1
    kept = {("normal", "ppv"), ("normal", "npv"), ("covid19", "npv"), ("viral", "ppv")}
    assert kept in sets
    assert {(figure["class"], figure["metric"]) for figure in external["fixed"]["without"]} == kept


def test_what_the_table_fixes(external):
    fixed = external["fixed"]
    assert fixed["figures"] == 21
    assert [fixed["entries"][k][k] for k in range(5)] == [
        [8813, 8821], [4799, 4801], [4852, 4852], [4803, 4806], [4979, 4980],
    ]  # fmt: skip
    assert fixed["right"] == [28248, 28260]
    assert [round(end, 2) for end in fixed["top1_percent"]] == [96.74, 96.78]
    assert (fixed["missed"][1], fixed["false"][1]) == ([86, 88], [277, 279])
    assert {round(value, 3) for value in fixed["scores"][1]["mcc"]} == {0.956}
    assert fixed["scores"][1]["f1"] == pytest.approx([0.963, 0.963], abs=0.0006)
    assert fixed["false"][0] == [92, 111]  # diseases called normal
    assert fixed["errors"] == [941, 953]
    assert fixed["disease_for_disease"] == [754, 773]
    assert fixed["entries"][1][4] == [0, 88]  # COVID-19 called tuberculosis: the table does not say
    assert (fixed["entries"][3][1], fixed["entries"][3][2]) == ([0, 279], [0, 199])


def test_other_readings(external):
    readings = {finding["name"]: finding for finding in external["alternatives"]}
    widths = {name: finding["half_width"] for name, finding in readings.items()}
    assert widths["Zhongshan Hospital Xiamen University only"] == pytest.approx(0.431, abs=0.0006)
    assert widths["The Fifth Hospital of Wuhan only"] == pytest.approx(0.411, abs=0.0006)
    assert widths["mix of Wuhan Jin Yin-Tan Hospital"] == pytest.approx(0.069, abs=0.0006)
    assert widths["mix of the patients of the table"] == pytest.approx(0.053, abs=0.0006)
    impossible = {name for name, finding in readings.items() if finding["verdict"] == INCONSISTENT}
    assert impossible == {
        "Zhongshan Hospital Xiamen University only", "The Fifth Hospital of Wuhan only", "patients", "mean of 5 models",
        "mix of Wuhan Jin Yin-Tan Hospital", "mix of the patients of the table",
    }  # fmt: skip
    others = [finding["verdict"] for name, finding in readings.items() if name not in impossible]
    assert len(others) == 3
    assert all(verdict.startswith(ONLY_IF) for verdict in others)
    assert any("98.2 % of 50 patients" in why and "96.0, 98.0, 100.0" in why for why in readings["patients"]["why"])
    assert "Normal: a mean PPV is at most 99.02, printed is 99.1" in readings["mean of 5 models"]["why"]
    [mix] = readings["any class mix"]["why"]
    for text in (
        "Normal 32.1–34.8",
        "COVID-19 15.4–16.6",
        "viral pneumonia 15.9–16.8",
        "Bacterial pneumonia 17.0–17.7",
    ):
        assert text in mix


def test_what_should_stand_beside_it(external):
    context = external["context"]
    covid = context["rows"][1]
    assert covid["sensitivity_naive"]["successes"] == 4799
    assert [round(100 * end, 1) for end in covid["sensitivity_naive"]["interval"]] == [97.8, 98.5]
    whole = [[round(100 * end, 1) for end in entry["interval"]] for entry in covid["sensitivity_patients"]]
    assert whole == [[89.4, 99.9], [92.9, 100.0]]
    assert [(round(e["effect"], 1), round(e["effective"])) for e in covid["design"]["effects"]] == [
        (5.8, 837), (10.7, 458), (30.0, 163),
    ]  # fmt: skip
    assert [round(100 * value, 1) for value in covid["ppv_at"].values()] == [82.5, 47.4, 8.2]
    assert round(100 * covid["never_accuracy"], 1) == 83.3
    auc = covid["auc"]
    assert (round(auc["low"], 3), round(auc["high"], 4), auc["concave_low"]) == (0.971, 0.9998, pytest.approx(0.9855))
    assert auc["admissible"]
    link = context["site_association"]
    assert (round(link["chi2"], 2), link["df"], round(link["p"], 4), round(link["cramers_v"], 2)) == (
        20.52,
        4,
        0.0004,
        0.26,
    )
    rule = context["patient_rule"]
    assert (rule["wrong_images_fewest"], rule["wrong_images_most"]) == (76, 84)
    assert (rule["least_right"], rule["most_right"]) == (16, 99)
    assert round(100 * rule["right_if_independent"], 1) == 44.7


def test_sentences_and_page_speak_of_numbers_not_of_people(found, tmp_path):
    page = write_audit(found, tmp_path / "new")
    text = page.read_text()
    assert json.loads((tmp_path / "new" / "table_audit.json").read_text()) == json.loads(json.dumps(found))
    said = " ".join(sentence for table in found["tables"] for sentence in table["sentences"])
    for word in ("misconduct", "fraud", "fabricat", "manipulat", "dishonest"):
        assert word not in (text + said).lower()
    assert "At least 4 of the 25 figures must be wrong" in said
    assert "96.74–96.78 %" in said
    assert said.count(INCONSISTENT) == 1
    assert "http" not in text.replace("http-equiv", "")
    assert text == write_audit(found, tmp_path / "again").read_text()
    assert len(view(found)["tables"]) == 2


def test_the_yaml_and_the_paper_agree():
    """Every printed figure and count stands in the paper's text on the line that the file names."""
    from tests.conftest import shared

    lines = shared("paper", "fu2020.txt").read_text(encoding="utf-8").split("\n")
    publication = read_publication(find_publication("fu2020"))
    for table in publication.tables.values():
        for row in table.rows:
            printed = [row.figures[metric].text for metric in ("accuracy", "sensitivity", "specificity", "ppv", "npv")]
            assert lines[row.line - 1].split("\t")[1:6] == printed
    for place, name in enumerate(publication.classes):
        cells = [str(counts[unit][place]) for counts in publication.counts.values() for unit in ("patients", "images")]
        assert lines[publication.count_lines[name] - 1].split("\t")[1:] == cells
