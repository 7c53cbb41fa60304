"""What may leave the machine: settings stay as they are, paths and what stands under the key of a place do not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covidct.training.redaction import REDACTED, scrub


@pytest.mark.parametrize(
    "value",
    [
        "adam_then_sgd", "timm/resnet50.a1_in1k", "hf-hub:timm/resnet50.a1_in1k", "test/site_b/patient", "3/4", "",
        "train / val", "0.5", "COVID-19", "16-mixed", None, True, 3, 0.25, ["lung", "mediastinal"], {"until": "epochs"},
        "a: b", "http", "~5 epochs",
    ],
)  # fmt: skip
def test_what_is_no_path_stays(value: Any) -> None:
    assert scrub(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "/data/DOE_JANE/ct", "/data/Jane DOE_JANE/ct", "~/DOE_JANE", "~jane/DOE_JANE", "../DOE_JANE/x", "./DOE_JANE",
        "C:\\ct\\DOE_JANE", "c:/ct/DOE_JANE", "\\\\server\\DOE_JANE", "file:///data/DOE_JANE", Path("DOE_JANE/ct"),
        " /data/DOE_JANE", "read from /data/my DOE_JANE", "see 'C:\\DOE_JANE'", "x=/a/DOE_JANE", "[~/DOE_JANE]",
        "https://pacs.example/DOE_JANE", {"data.root": "DOE_JANE"}, {"index": "DOE_JANE"}, {"key_file": "DOE_JANE"},
        {"files": ["DOE_JANE"]}, {"/data/DOE_JANE": 1}, [["/DOE_JANE"]], ("../DOE_JANE",), "\n/data/DOE_JANE",
    ],
)  # fmt: skip
def test_no_path_leaves(value: Any) -> None:
    assert "DOE_JANE" not in repr(scrub(value))


def test_a_relative_path_that_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scans" / "DOE_JANE").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert scrub({"labels": "scans/DOE_JANE"}) == {"labels": REDACTED}


@given(before=st.text(alphabet="abc =:,('[", max_size=8), name=st.text(alphabet="AbC ._-", min_size=1, max_size=8))
def test_no_absolute_path_survives_inside_a_text(before: str, name: str) -> None:
    text = f"{before} /data/DOE{name}JANE/ct"
    assert not {"DOE", "JANE"} & set(re.findall("DOE|JANE", scrub(text)))
