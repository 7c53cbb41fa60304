"""Planned contrasts on external patients: every metric at every site, adjusted together, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from covidct.evaluation.comparison_cases import POOLED, Site
from covidct.evaluation.comparisons import holm
from covidct.evaluation.paired_patients import PatientTest, paired_tests
from covidct.evaluation.verdict import p_text


@dataclass(frozen=True)
class SiteContrast:
    """One test of two arms at one site, Holm-adjusted over all contrasts and sites of its metric."""

    site: str
    first: str
    second: str
    test: PatientTest
    p_holm: float | None
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        place = {"site": self.site, "first": self.first, "second": self.second}
        return {**place, **self.test.as_dict(), "p_holm": self.p_holm, "sentence": self.sentence}


def contrast_sites(
    sites: Sequence[Site], pairs: Sequence[tuple[str, str]], replicates: int, seed: int
) -> tuple[list[SiteContrast], list[tuple[str, str]]]:
    """Test every contrast at every site.

    Returns:
        The tests, and (site, why there is none) of the other sites.
    """
    problems = [(site.name, site.problem) for site in sites if site.problem]
    raw: list[tuple[str, str, str, PatientTest]] = []
    for site in sites:
        if site.cases is not None:
            tests = paired_tests(site.cases, pairs, replicates=min(replicates, 1000), seed=seed)
            raw += [(site.name, a, b, test) for (a, b), found in tests.items() for test in found]
    adjusted: dict[int, float | None] = {}
    for metric in {test.metric for *_, test in raw}:
        places = [place for place, (*_, test) in enumerate(raw) if test.metric == metric]
        adjusted |= dict(zip(places, holm([raw[place][3].p for place in places]), strict=True))
    found = []
    for place, (site_name, a, b, test) in enumerate(raw):
        found.append(
            SiteContrast(site_name, a, b, test, adjusted[place], _site_sentence(site_name, a, b, test, adjusted[place]))
        )
    return found, problems


def _site_sentence(site: str, a: str, b: str, test: PatientTest, p: float | None) -> str:
    value, interval = test.difference.value or 0.0, test.difference
    where = "On the patients of these sites" if site == POOLED else f"On the patients of {site}"
    name = test.metric.replace("_", " ").replace("auc", "AUC")
    word = "higher" if value > 0 else "lower" if value < 0 else "no different"
    text = f"{where} ({interval.n_patients}) the {name} of {a} is {word}"
    text += f" by {abs(value):.4f} than that of {b}" if value else f" from that of {b}"
    if interval.low is not None and interval.high is not None:
        text += (
            f"; {a} minus {b}: {value:+.4f}, 95 % interval over patients {interval.low:+.4f} to {interval.high:+.4f}"
        )
    else:
        text += f"; no interval over patients ({interval.method})"
    return f"{text}; adjusted P {p_text(p)}."
