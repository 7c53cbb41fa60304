"""The report: every number is there, nothing is fetched, nothing identifies, what is missing is said."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources
from itertools import pairwise

import pandas as pd
import pytest

from covidct.errors import DataRefused, IntegrityError
from covidct.evaluation import published
from covidct.evaluation.figures import save_mistakes
from covidct.evaluation.record import cleaned, without_folders
from covidct.evaluation.report import write_report
from covidct.evaluation.wording import interval_text, percent
from covidct.files import read_json, write_json
from covidct.labels import DISPLAY_NAMES
from tests.evaluation.fabricated_run import make_run, mistakes

METRICS = ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv")


class Page(HTMLParser):
    """Tags with their attributes, tables as rows of cell texts under the nearest headings, and all text."""

    VOID = ("meta", "img", "br", "link", "hr", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[dict] = []
        self.stack: list[str] = []
        self.headings = {"h2": "", "h3": "", "h4": ""}
        self.text: list[str] = []
        self.feed(html)
        assert self.stack == [], "an element is not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in self.VOID:
            return
        self.stack.append(tag)
        if tag == "table":
            self.tables.append({**self.headings, "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("td", "th"):
            self.tables[-1]["rows"][-1].append([])
        elif tag in self.headings:
            for later in ("h2", "h3", "h4")[("h2", "h3", "h4").index(tag) :]:
                self.headings[later] = ""

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if "style" in self.stack:
            return
        self.text.append(data)
        if self.stack and self.stack[-1] in self.headings:
            self.headings[self.stack[-1]] += data
        if {"td", "th"} & set(self.stack) and data.strip():
            self.tables[-1]["rows"][-1][-1].append(data.strip())

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("report") / "run", per_patient=3, missing="covid19", replicates=10)
    save_mistakes(folder, mistakes(3))
    html = write_report(folder).read_text(encoding="utf-8")
    return folder, html, Page(html)


@pytest.fixture
def copy(paper, tmp_path, monkeypatch):
    """A run of one's own to spoil; its figures are already drawn."""
    shutil.copytree(paper[0], tmp_path / "run")
    monkeypatch.setattr("covidct.evaluation.report.save_figures", lambda folder: [])
    return tmp_path / "run"


def _again(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def _tables(page, section, site):
    return [t for t in page.tables if t["h2"] == section and t["h3"].startswith(site)]


def test_every_number_of_every_block_stands_in_its_row(paper):
    folder, _, page = paper
    order = [("patient", "any_slice"), ("patient", "mean_probability"), ("slice", "argmax")]
    sections = {"test": "Test", "val": "Validation"}
    blocks = read_json(folder / "metrics.json")["blocks"]
    assert len(blocks) == 12
    for block in blocks:
        site = "All sites pooled" if block["site"] == "(pooled)" else block["site"]
        table = _tables(page, sections[block["split"]], site)[order.index((block["level"], block["aggregation"]))]
        for (name, figures), row in zip(block["per_class"].items(), table["rows"][1:], strict=True):
            assert row[0][0].startswith(DISPLAY_NAMES[name])
            assert row[1][0] == f"{figures['n_positive_' + block['level'] + 's']:,}"
            for metric, cell in zip(METRICS, row[2:], strict=True):
                assert cell[0] == percent(figures[metric]["value"])
                if figures[metric]["value"] is not None:
                    assert interval_text(figures[metric]) in cell
        assert percent(block["accuracy"]["value"]) in page.words


def test_sites_come_before_the_pool(paper):
    places = [paper[1].index(f'id="test-{name}"') for name in ("fifth", "zhongshan", "pooled")]
    assert places == sorted(places)


def test_undefined_is_a_dash_and_never_a_number(paper):
    row = _tables(paper[2], "Test", "zhongshan")[0]["rows"][2]
    assert row[0] == ["COVID-19"]
    assert row[2][0] == row[4][0] == "–"  # AUC and sensitivity without a case
    assert row[5][0] not in ("–", "0.0")  # specificity exists
    assert "“–” is undefined" in paper[2].words
    assert "No patient there had COVID-19: its sensitivity is undefined." in paper[2].words


def test_published_values_stand_beside_pooled_slices_only(paper):
    _, _, page = paper
    for section, site, rows in (
        ("Test", "All sites pooled", published.TEST),
        ("Validation", "jinyintan", published.VALIDATION),
    ):
        tables = _tables(page, section, site)
        for printed, row in zip(rows, tables[2]["rows"][1:], strict=True):
            shown = [cell[-1] for cell in row[3:]]
            assert shown == [f"{getattr(printed, metric):.1f}" for metric in published.METRICS]
    pooled = _tables(page, "Test", "All sites pooled")
    assert pooled[2]["rows"][2][2][-1] == "99.0"  # the one AUC of the paper
    spans = [attributes for tag, attributes in page.tags if attributes.get("class") == "pub"]
    assert len(spans) == 25 + 25 + 1  # not at patient level, not at single sites
    assert ["†" in "".join(row[0]) for row in pooled[2]["rows"][1:]] == [True, True, True, False, False]


def test_nothing_is_fetched_and_nothing_runs(paper):
    _, html, page = paper
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset"):
            if name in attributes:
                assert attributes[name].startswith("#" if tag == "a" else "data:")
    assert "url(" not in html
    assert "@import" not in html
    for match in re.finditer(r"data:image/svg\+xml;base64,([^\"]+)", html):
        assert b"<script" not in base64.b64decode(match[1])


def test_every_picture_has_words_and_is_the_file_of_the_run(paper):
    folder, _, page = paper
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1 + 2 + 24 + 3  # training, sites, two for each of 12 blocks, mistakes
    assert all(image["alt"] and len(image["alt"]) > 20 for image in images)
    data = base64.b64decode(images[0]["src"].partition(",")[2])
    assert data in {path.read_bytes() for path in (folder / "figures").glob("sites*.svg")} | {
        (folder / "figures" / "training.svg").read_bytes()
    }


def test_headings_go_down_one_at_a_time(paper):
    levels = [int(tag[1]) for tag, _ in paper[2].tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_links_lead_somewhere(paper):
    ids = [attributes["id"] for _, attributes in paper[2].tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for tag, a in paper[2].tags if tag == "a"} <= set(ids)


def test_no_path_host_or_user_gets_in(paper):
    folder, html, _ = paper
    for word in ("/srv", "/home", "alice", "machine-of", str(folder), str(folder.parent)):
        assert word not in html
    assert "resnet50.safetensors" in html


def test_banners_and_facts(paper):
    words = paper[2].words
    assert "Not a medical device" in words
    assert "Profile “paper”" in words
    assert "its flaws included" in words
    assert "Synthetic patients." in words
    assert "Random start" not in words
    for fact in ("resnet50", "4,466,693 of 23,518,277 (19.0 %)", "Adam 1e-4, then SGD 1e-3", "cd" * 32, "0a1b2c3d" * 5,
                 "single images (patients may leak)", "uncommitted changes", "2.13.0", "5 min 12 s"):  # fmt: skip
        assert fact in words
    assert "152 patients with slices in more than one partition" in words
    assert "152 patients have slices in more than one partition." in words


def test_flow_of_participants(paper):
    folder, _, page = paper
    found = read_json(folder / "participants.json")
    assert f"{found['files_read']:,}" in page.words
    assert "41 refused" in page.words
    assert "18 not a CT image" in page.words
    sums = next(t for t in page.tables if t["h2"] == "Participants")["rows"][-1]
    assert [cell[0] for cell in sums[1:3]] == ["152", "456"]


def test_findings_and_warnings_are_made_from_the_numbers(paper):
    folder, _, page = paper
    blocks = read_json(folder / "metrics.json")["blocks"]
    block = next(b for b in blocks if (b["site"], b["aggregation"]) == ("fifth", "any_slice"))
    value = block["accuracy"]
    assert f"At fifth, {block['n_patients']} patients ({block['n_slices']} slices)" in page.words
    assert f"for {percent(value['value'])} % (95 % interval {interval_text(value)}) of patients" in page.words
    assert "1 was left without a verdict because no slice could be used" in page.words
    assert "zhongshan: no patient with COVID-19" in page.words
    assert "fifth: fewer than 30 patients with" in page.words


def test_mistakes_are_shown_with_pseudonyms(paper):
    for _, caption in mistakes(3):
        assert caption["patient_key"] in paper[1]
    assert "(99 %)" in paper[2].words


def test_results_csv_holds_every_estimate(paper):
    folder, _, _ = paper
    table = pd.read_csv(folder / "tables" / "results.csv").set_index(
        ["split", "site", "level", "aggregation", "class", "metric"]
    )
    for block in read_json(folder / "metrics.json")["blocks"]:
        for name, figures in block["per_class"].items():
            for metric in METRICS:
                row = table.loc[(block["split"], block["site"], block["level"], block["aggregation"], name, metric)]
                value = figures[metric]["value"]
                assert pd.isna(row["value"]) if value is None else row["value"] == pytest.approx(value, abs=1e-12)


def test_same_run_same_bytes(copy):
    first = write_report(copy).read_bytes()
    assert write_report(copy).read_bytes() == first


def test_a_bare_run_is_reported_with_its_gaps(copy):
    for name in ("metrics.csv", "participants.json", "provenance.json", "run.json", "split.json"):
        (copy / name).unlink()
    shutil.rmtree(copy / "figures")
    page = _again(copy)
    for sentence in ("No training history was recorded", "flow of participants was not recorded",
                     "No provenance was recorded", "pictures of mistakes were not drawn", "no record of its split",
                     "profile (paper or rigorous) is not recorded", "not recorded"):  # fmt: skip
        assert sentence in page.words
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_config_speaks_where_run_json_is_silent(copy):
    (copy / "run.json").unlink()
    (copy / "config.yaml").write_text(
        "name: demo\nprofile: rigorous\n"
        "model: {name: tf_efficientnet_lite0, trainable: head, weights: /srv/alice/w.safetensors}\n"
        "recipe: {phases: [{optimizer: adamw, lr: 0.0003}]}\n"
    )
    page = _again(copy)
    assert "Profile “rigorous”" in page.words
    assert "AdamW 3e-4" in page.words
    assert "tf_efficientnet_lite0" in page.words
    assert "alice" not in page.words


def test_a_rigorous_profile_is_not_praised_for_a_split_of_single_images(copy):
    write_json(copy / "run.json", read_json(copy / "run.json") | {"profile": "rigorous"})
    split, sound = read_json(copy / "split.json"), "no patient is divided between partitions"
    page = _again(copy)
    assert "152 patients lie in several partitions: these figures are not about new patients" in page.words
    assert sound not in page.words
    write_json(copy / "split.json", split | {"name": "image_level", "leaked_patients": None})
    page = _again(copy)
    for sentence in ("People lie in several partitions, and nobody can count them", "Patients are not known"):
        assert sentence in page.words
    assert sound not in page.words
    write_json(copy / "split.json", split | {"name": "patient", "unit": "patient", "leaked_patients": 0})
    assert sound in _again(copy).words


def test_a_run_that_is_only_trained_has_no_test(copy):
    summary = read_json(copy / "metrics.json")
    summary["blocks"] = [block for block in summary["blocks"] if block["split"] == "val"]
    write_json(copy / "metrics.json", summary)
    page = _again(copy)
    assert "there is nothing to say about new patients" in page.words
    assert "No test partition was evaluated." in page.words
    assert _tables(page, "Validation", "jinyintan")


def test_resumed_with_other_code_is_said(copy):
    write_json(copy / "run.json", read_json(copy / "run.json") | {"drift": [{"version": "0.0.9", "commit": None}]})
    assert "begun with another version of the code" in _again(copy).words


def test_random_start_is_loud(copy):
    record = read_json(copy / "run.json")
    note = "The hub could not be reached & weights=if_available allows it <b>."
    write_json(copy / "run.json", record | {"weights": {"source": "random", "random_start": True, "note": note}})
    page = _again(copy)
    assert "Random start: no pretrained weights were used." in page.words
    assert note in page.words
    assert ("b", {}) not in page.tags[-5:]


def test_text_from_the_run_cannot_become_markup(copy):
    record = read_json(copy / "run.json")
    write_json(copy / "run.json", record | {"name": "<script>alert(1)</script>", "notes": ["<img src=x onerror=y>"]})
    page = _again(copy)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.words
    assert "<img src=x onerror=y>" in page.words


def test_no_mistakes_is_not_the_same_as_not_looked(copy):
    save_mistakes(copy, [])
    assert "No mistake was made" in _again(copy).words


def test_refusals(copy, tmp_path):
    with pytest.raises(DataRefused, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    write_json(copy / "metrics.json", {"schema": 1})
    with pytest.raises(DataRefused, match="lacks its classes"):
        write_report(copy)
    (copy / "predictions.parquet").unlink()
    with pytest.raises(DataRefused, match=r"predictions\.parquet"):
        write_report(copy)


def test_metrics_of_other_classes_are_refused(copy):
    summary = read_json(copy / "metrics.json")
    summary["classes"]["names"] = summary["classes"]["names"][::-1]
    write_json(copy / "metrics.json", summary)
    with pytest.raises(IntegrityError, match="about the classes"):
        write_report(copy)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("/home/alice/w.pt", "w.pt"),
        ("file:///srv/alice/w.pt", "w.pt"),
        ("read ../alice/scans/w.pt twice", "read w.pt twice"),
        ("~/alice/w.pt", "w.pt"),
        (r"C:\Users\alice\w.pt", "w.pt"),
        ("timm/resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
        ("https://huggingface.co/timm/x", "https://huggingface.co/timm/x"),
        ("PNG/JPEG, 3/4, n/a", "PNG/JPEG, 3/4, n/a"),
    ],
)
def test_without_folders(text, clean):
    assert without_folders(text) == clean


def test_cleaned_leaves_out_who_and_where():
    record = {"host": "h", "user": "u", "seeds": {"run": 0, "root": "/x"}, "files": ["/a/b.txt", 3, None, True]}
    assert cleaned(record) == {"seeds": {"run": 0}, "files": ["b.txt", 3, None, True]}


def test_the_template_travels_with_the_package():
    assert resources.files("covidct.evaluation").joinpath("templates/report.html.j2").is_file()


def test_binary_task_without_a_normal_class(tmp_path):
    """UCSD COVID-CT: two classes, no "normal", one test site; the paper's rule and its values do not apply."""
    from covidct.evaluation.predictions import Predictions, write_predictions
    from covidct.evaluation.summary import summarize
    from covidct.labels import ClassScheme

    scheme = ClassScheme(("noncovid", "covid19"), None, "covid19")
    frame = pd.DataFrame({
        "slice_key": [f"{i:016x}" for i in range(40)], "patient_key": [f"{i // 2:016x}" for i in range(40)],
        "series_key": [f"{i // 2:016x}" for i in range(40)], "site": "ucsd", "split": ["val"] * 12 + ["test"] * 28,
        "slice_number": pd.Series(range(40), dtype="int32") % 2, "label": [scheme.names[i // 2 % 2] for i in range(40)],
        "slice_label": pd.array([None] * 40, dtype="Int8"),
    })  # fmt: skip
    frame["p_noncovid"] = [0.1 + 0.8 * ((i * 7) % 40) / 40 for i in range(40)]
    frame["p_covid19"] = 1 - frame["p_noncovid"]
    predictions = Predictions(frame, scheme)
    write_predictions(tmp_path / "predictions.parquet", predictions)
    (tmp_path / "metrics.json").write_text(json.dumps(summarize(predictions, replicates=10)))
    words = _again(tmp_path).words
    assert "At ucsd, 14 patients (28 slices): the mean probability of the slices gave the true class" in words
    assert "The paper's patient rule was not used" in words
    assert "published" not in words
