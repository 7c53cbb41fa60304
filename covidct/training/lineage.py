"""What a run was made of and what it made, by digest: the lineage that a tracker may know.

Nothing but digests, counts and settings: no scan, no patient, no pseudonym, no place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidct.files import read_json
from covidct.provenance import digest_file

_SPLIT_FACTS = ("name", "unit", "repeat", "seed", "fraction_train", "leaked_patients")


@dataclass(frozen=True)
class Piece:
    """One thing that a run used or made.

    Args:
        kind: "index", "split", "model", "predictions" or "report".
        name: The same for the same index or split in every run; of what a run makes, with the run's id.
        file: Its name among the files of a run.
        digest: SHA-256, in hex: of a table's content (index), a split's content, or a file's bytes.
        is_input: Whether the run used it.
        n_bytes: Size of the file; None where it is not in the run folder.
        metadata: Plain values.
    """

    kind: str
    name: str
    file: str
    digest: str
    is_input: bool
    n_bytes: int | None
    metadata: Mapping[str, Any]


def pieces_of(run: Path) -> list[Piece]:
    """The pieces of a run folder, inputs first; what is not there is left out.

    Raises:
        DataRefused: A record of the folder is torn.
    """
    record, provenance, split, people = (
        read_json(run / name) if (run / name).is_file() else {}
        for name in ("run.json", "provenance.json", "split.json", "participants.json")
    )
    who = str(record.get("run", "run"))
    digests = provenance.get("digests", {})
    found = []
    if digest := digests.get("index"):
        facts = {**people.get("accepted", {}), "files_read": people.get("files_read")}
        facts["synthetic"] = record.get("synthetic")
        found.append(Piece("index", f"index-{digest[:12]}", "index.parquet", digest, True, None, facts))
    if digest := digests.get("split"):
        facts = {key: split.get(key) for key in _SPLIT_FACTS} | {"index_digest": digests.get("index")}
        found.append(Piece("split", f"split-{digest[:12]}", "split.json", digest, True, None, facts))
    made = {
        "model": ("checkpoints/best.ckpt", {key: record.get(key) for key in ("best", "best_epoch", "epochs")}),
        "predictions": ("predictions.parquet", {f"{key}_digest": digests.get(key) for key in ("index", "split")}),
        "report": ("report.html", {}),
    }
    for kind, (place, facts) in made.items():
        file = run / place
        if record and file.is_file():
            facts = {"run": who, "arm": record.get("arm"), "repeat": record.get("repeat"), **facts}
            size = file.stat().st_size
            found.append(Piece(kind, f"{kind}-{who}", file.name, digest_file(file), False, size, facts))
    return found
