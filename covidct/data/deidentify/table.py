"""What PS3.15 Table E.1-1 asks for each attribute it names.

The table is that of dicom-anonymizer (Kitware, BSD-3), which its makers generate from the standard's web page: 2026c
here. Its engine is not used: it numbers UIDs at random in one process, knows no key, leaves dates at 00010101 where
they are to go, and stops at value representations it does not know.
"""

from __future__ import annotations

import importlib
from functools import cache

EDITION = "2026c"


@cache
def actions() -> dict[int, str]:
    """Tag -> action of the basic profile: D, Z, X, U, or a choice of them such as X/Z/D."""
    table = importlib.import_module(f"dicomanonymizer.dicom_anonymization_databases.dicomfields_{EDITION}")
    groups = {
        "D": table.D_TAGS,
        "Z": table.Z_TAGS,
        "X": table.X_TAGS,
        "U": table.U_TAGS,
        "Z/D": table.Z_D_TAGS,
        "X/Z": table.X_Z_TAGS,
        "X/D": table.X_D_TAGS,
        "X/Z/D": table.X_Z_D_TAGS,
        "X/Z/U": table.X_Z_U_STAR_TAGS,
    }
    # entries of four numbers are masks for private and repeating groups, which all go
    return {(tag[0] << 16) | tag[1]: action for action, tags in groups.items() for tag in tags if len(tag) == 2}
