"""What a de-identification keeps: the options of PS3.15 E.3 that this project offers, and their codes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from covidct.errors import UsageError

CHOICES = {
    "dates": ("shift", "remove"),
    "device": ("model", "identity", "remove"),
    "patient": ("remove", "age_sex"),
    "descriptors": ("clean", "remove"),
    "sites": ("pseudonym", "keep"),
    "pixels": ("check", "trust"),
}
"""The values each option can take; the first is the default."""


@dataclass(frozen=True)
class Options:
    """Choices within the Basic Application Level Confidentiality Profile.

    Args:
        dates: `"shift"`: dates and times of study, series, acquisition and content are moved by one interval per
            patient (E.3.6, Retain Longitudinal Temporal Information with Modified Dates); `"remove"`: none is kept.
        device: `"model"`: manufacturer, model and kernel stay, which the basic profile allows; `"identity"`: also
            serial number, station name and software (E.3.9, Retain Device Identity); `"remove"`: none of them.
        patient: `"age_sex"`: sex, and the age with all above 89 years as 090Y (E.3.10, Retain Patient
            Characteristics); `"remove"`: neither.
        descriptors: `"clean"`: of series, study and protocol descriptions those words stay that are known to be
            technical (E.3.5, Clean Descriptors); `"remove"`: none.
        sites: `"pseudonym"` or `"keep"`: the site names in `labels.csv`.
        pixels: `"check"`: pictures are decoded and looked at for burned-in text; `"trust"`: only their headers.
    """

    dates: str = "shift"
    device: str = "model"
    patient: str = "remove"
    descriptors: str = "clean"
    sites: str = "pseudonym"
    pixels: str = "check"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"{name}={getattr(self, name)} is unknown", where=name, remedy=f"one of {', '.join(choices)}"
                )

    def record(self) -> dict[str, Any]:
        """Plain values, for the record of a run."""
        return asdict(self)

    @property
    def codes(self) -> list[tuple[str, str]]:
        """De-identification methods as (code value, code meaning) of DCM, PS3.16 CID 7050."""
        codes = [("113100", "Basic Application Confidentiality Profile"), ("113103", "Clean Graphics Option")]
        if self.descriptors == "clean":
            codes.append(("113105", "Clean Descriptors Option"))
        if self.dates == "shift":
            codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
        if self.patient == "age_sex":
            codes.append(("113108", "Retain Patient Characteristics Option"))
        if self.device == "identity":
            codes.append(("113109", "Retain Device Identity Option"))
        return codes
