"""Whether probabilities can be believed, when to hand a case to a radiologist, and what a result means to a patient."""

from covidct.evaluation.calibration.calibrate import calibrate

__all__ = ["calibrate"]
