"""A reader study from its two tables: known readers give known figures, and the analysis keeps its level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import cochrans_q

from covidct.errors import DataRefused, UsageError
from covidct.evaluation.metrics import auc
from covidct.evaluation.patient import patient_table
from covidct.evaluation.readers.cases import all_cases, matched, target_of
from covidct.evaluation.readers.mrmc import average_covariances, compare_modalities
from covidct.evaluation.readers.raters import raters_of
from covidct.evaluation.readers.reads import read_reads
from covidct.evaluation.readers.simulator import ReaderPopulation, simulate
from covidct.evaluation.readers.study import analyse
from covidct.evaluation.readers.words import sentences
from covidct.evaluation.rule_spec import RuleSpec
from covidct.evaluation.significance.delong import areas
from covidct.labels import ClassScheme
from tests.evaluation.factories import FIVE, simulated
from tests.evaluation.readers.tables import perfect, write


@pytest.fixture(scope="module")
def predictions():
    return simulated(patients=10, slices=3, skill=2.0, icc=0.6, seed=4)


@pytest.fixture(scope="module")
def reads(predictions, tmp_path_factory):
    """Three simulated readers of every patient, without and with AI."""
    path = tmp_path_factory.mktemp("reads") / "reads.csv"
    simulate(all_cases(predictions, split="test", unit="patient"), 3, seed=2).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def found(predictions, reads):
    return analyse(predictions, reads, replicates=200)


def of(rows, **wanted):
    [row] = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_the_model_is_what_its_patient_table_says(found, predictions):
    table = patient_table(predictions)
    model = of(found["raters"], name="model")
    ill = table["label"] == "covid19"
    assert model["accuracy"]["value"] == pytest.approx((table["any_slice"] == table["label"]).mean())
    assert model["target"]["sensitivity"]["value"] == pytest.approx((table["any_slice"][ill] == "covid19").mean())
    assert model["target"]["auc"]["value"] == pytest.approx(roc_auc_score(ill, table["any_slice_covid19"]))
    assert model["per_class"][0]["class"] == "covid19"  # the positive class first
    assert {row["class"] for row in model["per_class"]} == set(FIVE.names)


def test_the_model_calls_by_the_rule_that_was_frozen(predictions, reads):
    frozen = RuleSpec("k_of_n", {"count": 2})
    found = analyse(predictions, reads, frozen=frozen, replicates=100)
    table = patient_table(predictions, validation_rule=frozen)
    assert found["raters"][0]["accuracy"]["value"] == pytest.approx((table["validation_rule"] == table["label"]).mean())
    assert (table["validation_rule"] != table["any_slice"]).any()
    assert found["source"]["rule"] == f"the rule chosen on validation: {frozen.words()}"
    assert found["raters"][0]["n_conflict"] == (table["validation_rule"] == "conflict").sum()


def test_a_reader_is_what_the_table_of_reads_says(found, predictions, reads):
    rows = pd.read_csv(reads, dtype=str, keep_default_na=False)
    labels = predictions.frame.drop_duplicates(["site", "patient_key"]).set_index(["site", "patient_key"])["label"]
    mine = rows[(rows["reader"] == "simulated-02") & (rows["with_ai"] == "no")]
    truth = np.array([labels[site, case] for site, case in zip(mine["site"], mine["case"], strict=True)])
    called, ill = mine["class"].to_numpy(), truth == "covid19"
    reader = of(found["raters"], name="simulated-02", with_ai=False)
    assert reader["target"]["sensitivity"]["value"] == pytest.approx((called[ill] == "covid19").mean())
    right = (called[~ill] != "covid19") & (called[~ill] != "")  # a failed read is not to the reader's credit
    assert reader["target"]["specificity"]["value"] == pytest.approx(right.mean())
    ends = stats.binomtest(int((called[ill] == "covid19").sum()), int(ill.sum())).proportion_ci(method="exact")
    sensitivity = reader["target"]["sensitivity"]
    assert (sensitivity["low"], sensitivity["high"]) == pytest.approx((ends.low, ends.high))
    known = called != ""
    sure = np.where(known, mine["confidence"], "0").astype(float)
    score = np.where(called == "covid19", sure, -sure)
    assert reader["target"]["auc"]["value"] == pytest.approx(roc_auc_score(ill[known], score[known]))


def test_each_reader_is_tested_against_the_model(found, predictions, reads):
    cases = all_cases(predictions, split="test", unit="patient")
    cases, position = matched(cases, read_reads(reads, FIVE))
    readers = [rater for rater in raters_of(cases, read_reads(reads, FIVE), position) if not rater.with_ai]
    target = target_of(FIVE)
    ill = cases.positive(target)
    entry = of(found["against_model"], merit="sensitivity", with_ai=False)
    model = cases.correct(cases.model, target)[ill]
    p_values = []
    for rater in readers:
        right, row = cases.correct(rater, target)[ill], of(entry["rows"], reader=rater.name)
        b, c = int((model & ~right).sum()), int((right & ~model).sum())
        assert (row["model_only"], row["reader_only"]) == (b, c)
        assert row["difference"] == pytest.approx(model.mean() - right.mean())
        if b + c:
            assert row["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
        p_values.append(row["p"])
    known = sorted(p for p in p_values if p is not None)
    assert min(row["p_holm"] for row in entry["rows"] if row["p"] is not None) == pytest.approx(min(1, 3 * known[0]))
    table = np.stack([cases.correct(rater, target)[ill] for rater in readers], axis=1).astype(int)
    assert entry["cochran"]["statistic"] == pytest.approx(cochrans_q(table).statistic)


def test_the_group_is_tested_on_the_cases_that_all_rated(found):
    test = of(found["groups"], merit="auc", contrast="with AI - without AI")
    assert test["n_readers"] == 3
    assert [entry["readers"] for entry in test["tests"]] == ["random readers", "fixed readers"]
    assert test["n_cases"] + test["dropped"] == 100
    assert test["tests"][0]["difference"] == pytest.approx(test["first"] - test["second"])
    # the jackknife is another estimate of the same covariances
    assert test["jackknife"][0]["se"] == pytest.approx(test["tests"][0]["se"], rel=0.05)
    against = of(found["groups"], merit="sensitivity", contrast="readers - model", with_ai=False)
    rows = [r["target"]["sensitivity"]["value"] for r in found["raters"] if r["with_ai"] is False]
    assert against["first"] == pytest.approx(np.mean(rows))


def test_times_are_paired_and_the_model_reads_its_files(predictions, reads):
    found = analyse(predictions, reads, replicates=100, model={"io": 0.5, "inference": 1.5})["time"]
    rows = pd.read_csv(reads, dtype={"case": str})
    mine = rows[rows["reader"] == "simulated-01"]
    wide = mine.pivot_table(index=["site", "case"], columns="with_ai", values="seconds")
    one = of(found["with_ai"]["each"], reader="simulated-01")
    assert one["ratio"] == pytest.approx(stats.gmean(wide["yes"] / wide["no"]))
    assert found["model"]["a_case"]["whole"]["median"] == pytest.approx(6)  # three slices of two seconds
    assert found["model"]["a_case"]["inference"]["median"] == pytest.approx(4.5)
    alone = rows[rows["with_ai"] == "no"]["seconds"]
    whole = of(found["model"]["readers_over_model"], of="whole", with_ai=False)
    assert whole["ratio"] == pytest.approx(stats.gmean(alone / 6))


def test_simulated_readers_are_called_so_wherever_they_appear(found):
    assert found["source"]["simulated"] is True
    assert all(name.startswith("simulated") for name in found["design"]["readers"])
    assert sentences(found)[0].startswith("SIMULATED")
    assert "simulated readers" in sentences(found)[1]


def test_a_perfect_reader_who_fails_once(predictions, tmp_path):
    rows = perfect(predictions, seconds=20)
    fails = next(row for row in rows if row["class"] == "covid19")
    fails["class"] = ""
    found = analyse(predictions, write(tmp_path / "r.csv", rows), replicates=100)
    reader = of(found["raters"], name="01")
    assert (reader["n_no_result"], reader["n_cases"]) == (1, 100)
    assert reader["target"]["sensitivity"]["value"] == pytest.approx(19 / 20)
    assert reader["target"]["specificity"]["value"] == 1
    assert found["time"]["readers"][0] | {"q1": 0, "q3": 0} == {
        "reader": "01", "with_ai": False, "n": 100, "median": 20, "q1": 0, "q3": 0, "reads": 100, "failed": 1,
        "untimed": 0,
    }  # fmt: skip
    assert found["design"]["rating"] == "call alone"
    # one reader is no sample of readers: the tests speak of this one
    assert {len(entry.get("tests", [0])) for entry in found["groups"]} == {1}
    assert any("One reader" in warning for warning in found["warnings"])


def test_a_second_read_does_not_count_but_shows_agreement_with_oneself(predictions, tmp_path):
    first, second = perfect(predictions, session=1), perfect(predictions, session=2)
    for row in second[::2]:
        row["class"] = "normal"
    found = analyse(predictions, write(tmp_path / "r.csv", [*second, *first]), replicates=100)
    assert of(found["raters"], name="01")["accuracy"]["value"] == 1
    [itself] = found["agreement"]["same_reader"]
    assert itself["n_cases"] == 100
    assert itself["agreed"] < 0.7
    assert any("washout" in warning for warning in found["warnings"])


def test_readers_of_other_cases_are_compared_on_what_they_share(predictions, tmp_path):
    one, two = perfect(predictions, "01")[:80], perfect(predictions, "02")[20:]
    found = analyse(predictions, write(tmp_path / "r.csv", [*one, *two]), replicates=100)
    assert [row["n_cases"] for row in found["raters"]] == [100, 80, 80]
    entry = of(found["against_model"], merit="sensitivity", with_ai=False)
    assert sum(row["n_cases"] for row in entry["rows"]) < 40
    group = of(found["groups"], merit="auc", contrast="readers - model")
    assert (group["n_cases"], group["dropped"]) == (60, 40)
    assert any("Not every reader" in warning for warning in found["warnings"])


def test_slices_are_never_counted_as_independent(predictions, tmp_path):
    frame = predictions.frame
    rows = [{"reader": r, "case": row.slice_key, "site": row.site, "class": row.label, "unit": "slice"}
            for r in ("01", "02") for row in frame.itertuples()]  # fmt: skip
    for row in rows[::7]:
        row["class"] = "normal"
    found = analyse(predictions, write(tmp_path / "r.csv", rows), replicates=100)
    assert found["cases"]["n"] == 300
    assert found["cases"]["n_patients"] == 100
    reader = of(found["raters"], name="01")
    assert reader["target"]["sensitivity"]["method"] == "korn_graubard"
    assert reader["target"]["sensitivity"]["n_patients"] == 20
    for entry in found["against_model"]:
        assert {row["test"] for row in entry["rows"]} == {"sign flips of patients"}
        assert "not" in entry["cochran"]["omitted"]


@pytest.mark.parametrize("normal", ["normal", None])
def test_a_run_without_a_positive_class(normal, tmp_path):
    scheme = ClassScheme(("normal", "viral", "bacterial"), normal=normal)
    predictions = simulated(scheme=scheme, patients=12, slices=2, seed=1)
    path = tmp_path / "r.csv"
    simulate(all_cases(predictions, split="test", unit="patient"), 2, seed=0).to_csv(path, index=False)
    found = analyse(predictions, path, replicates=100)
    assert len(found["raters"][0]["per_class"]) == 3
    if normal:
        assert found["target"] == {"name": "diseased", "classes": ["viral", "bacterial"]}
        table = patient_table(predictions)
        ill = (table["label"] != "normal").to_numpy()
        model = found["raters"][0]["target"]
        assert model["auc"]["value"] == pytest.approx(auc(ill, -table["any_slice_normal"].to_numpy()))
        assert model["sensitivity"]["value"] == pytest.approx((table["any_slice"] != "normal")[ill].mean())
    else:
        assert (found["target"], found["curve"]) == (None, None)
        assert {entry["merit"] for entry in found["groups"]} == {"accuracy"}
        assert any("positive=CLASS" in warning for warning in found["warnings"])
        named = analyse(predictions, path, positive="viral", replicates=100)
        assert named["target"] == {"name": "viral", "classes": ["viral"]}
    assert sentences(found)


def test_what_cannot_be_analysed_is_said(predictions, reads):
    with pytest.raises(UsageError, match="unknown class"):
        analyse(predictions, reads, positive="flu")
    with pytest.raises(UsageError, match="partition"):
        analyse(predictions, reads, split="train")
    with pytest.raises(DataRefused, match="no predictions of its val"):
        analyse(predictions, reads, split="val")


def test_few_patients_are_counted_and_not_tested(tmp_path):
    predictions = simulated(patients=2, sites=("north",))
    path = tmp_path / "r.csv"
    simulate(all_cases(predictions, split="test", unit="patient"), 2, seed=0).to_csv(path, index=False)
    found = analyse(predictions, path, replicates=100)
    assert all("5 patients" in entry["omitted"] for entry in found["groups"] if entry["merit"] != "specificity")


# --- the simulator ----------------------------------------------------------------------------------------------------


def test_a_simulated_study_is_the_same_again_and_touches_no_global_state(predictions):
    cases = all_cases(predictions, split="test", unit="patient")
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    pd.testing.assert_frame_equal(simulate(cases, 2, seed=5), simulate(cases, 2, seed=5))
    assert (before == np.random.get_state()[1]).all()  # noqa: NPY002
    assert not simulate(cases, 2, seed=5).equals(simulate(cases, 2, seed=6))
    for wrong in (0, 51, 2.5, True):
        with pytest.raises(UsageError, match="1 to 50"):
            simulate(cases, wrong)


def test_a_simulated_study_is_crossed_with_a_washout(predictions):
    table = simulate(all_cases(predictions, split="test", unit="patient"), 2, seed=5)
    assert len(table) == 2 * 2 * 100
    first = table[table["session"] == 1]
    assert (first.groupby("reader")["with_ai"].value_counts() == 50).all()  # half of the cases with AI first
    assert (table[table["session"] == 2]["washout_days"] == "30").all()
    assert (first["washout_days"] == "").all()
    assert (table["simulated"] == "yes").all()
    for _, rows in table.groupby(["reader", "session"]):
        assert rows["order"].tolist() == list(range(1, 101))


def test_skill_time_and_trust_do_what_they_say(predictions):
    cases = all_cases(predictions, split="test", unit="patient")
    truth = dict(zip(zip(cases.sites, cases.keys, strict=True), cases.truth, strict=True))

    def right(population):
        table = simulate(cases, 6, seed=1, population=population)
        labels = [FIVE.names[truth[site, case]] for site, case in zip(table["site"], table["case"], strict=True)]
        return table.assign(right=table["class"] == labels)

    able, poor = right(ReaderPopulation(skill=3.0)), right(ReaderPopulation(skill=1.0))
    assert able["right"].mean() > poor["right"].mean() + 0.2
    quick = right(ReaderPopulation(ai_seconds=0.5)).groupby("with_ai")["seconds"].median()
    assert quick["yes"] / quick["no"] == pytest.approx(0.5, rel=0.1)
    silent = right(ReaderPopulation(failures=0.3))
    assert (silent["class"] == "").mean() == pytest.approx(0.3, abs=0.05)


def test_readers_whom_ai_does_not_help_are_seldom_said_to_be_helped(tmp_path):
    """40 studies of four readers with AI ignored: the AUC test at 5 % fires in few; with strong AI in nearly all."""
    predictions = simulated(patients=15, slices=1, sites=("north",), skill=4.0, seed=8)
    everything, target = all_cases(predictions, split="test", unit="patient"), target_of(FIVE)
    path, rejected = tmp_path / "r.csv", {0.0: 0, 1.5: 0}
    for trust, studies in ((0.0, 40), (1.5, 8)):
        for seed in range(studies):
            who = ReaderPopulation(skill=1.0, trust=trust, failures=0)
            simulate(everything, 4, seed=seed, population=who).to_csv(path, index=False)
            table = read_reads(path, FIVE)
            cases, position = matched(everything, table)
            readers = raters_of(cases, table, position)
            scores = [cases.score(rater, target) for ai in (True, False) for rater in readers if rater.with_ai is ai]
            found = areas(np.stack(scores), cases.positive(target))
            test = compare_modalities(found.values.reshape(2, 4), average_covariances(found.covariance, 2, 4))
            rejected[trust] += test.p < 0.05
    assert rejected[0.0] <= 6
    assert rejected[1.5] >= 6
