"""Cleaning of free text: words that are known to be technical stay, all others go (PS3.15 E.3.5)."""

from __future__ import annotations

import re

_WORDS = """
abdomen angio aorta arterial ascending axial ax base bone brain breath bronchi cap cardiac chest contrast cor coronal
coronary covid ct cta cta ctpa delayed dose early expiration expiratory fbp filter full gated head helical hi high hr
hrct inspiration inspiratory iodine iterative kernel late liver low lower ldct lung lungs max mediastinum mediastinal
medium mip minip mm mpr native neck no non noncontrast original pa pelvis phase plain plus portal post postcontrast
pre prone pulmonary recon reconstruction routine sag sagittal scan scout screening sharp slice slices smooth soft
spine spiral standard std supine thick thin thorax throax tissue topogram trachea upper vein venous vessel volume w wo
with without window
"""

WORDS = frozenset(_WORDS.split())
"""Words of chest CT protocols. None is a common name."""

_WORD = re.compile(r"\d{1,2}(?:[.,]\d{1,3})?\s?mm\b|[A-Za-z]+|\d+(?:[.,]\d+)?")
_SIZE = re.compile(r"\d{1,2}(?:[.,]\d{1,3})?\s?mm")


def cleaned(text: str) -> str:
    """The technical words of a text, in their order; "" where none is left."""
    return " ".join(word for word in _WORD.findall(text) if word.lower() in WORDS or _SIZE.fullmatch(word.lower()))[
        :64
    ].strip()  # LO holds 64 characters
