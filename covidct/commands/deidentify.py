"""`covidct deidentify`: clean copies of scans, and the hunt for what should be gone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from covidct.commands.deidentify_words import TASKS
from covidct.commands.progress import progress, say
from covidct.data.deidentify.options import CHOICES, Options
from covidct.errors import Alarm, DataRefused, UsageError

_SHOWN = 40


def run(values: dict[str, Any]) -> None:
    """Run the verb.

    Raises:
        Alarm: Values of the original scans were found.
        DataRefused: Not one file could be cleaned, or there is nothing to hunt for.
    """
    if values["task"] not in TASKS:
        raise UsageError(f"task={values['task']} is unknown", where="task", remedy=f"one of {', '.join(TASKS)}")
    if values["output"] is None:
        raise UsageError("where do the clean files go?", where="output", remedy="add output=FOLDER")
    output = Path(values["output"])
    private = Path(values["private"] or f"{str(values['output']).rstrip('/')}-private")
    if values["task"] == "verify":
        _verify(values, output, private)
    else:
        _clean(values, output, private)


def _clean(values: dict[str, Any], output: Path, private: Path) -> None:
    from covidct.data.deidentify.tree import check_places, deidentify_tree
    from covidct.data.pseudonyms import key_file, load_or_create_key

    if values["input"] is None:
        raise UsageError("where are the scans?", where="input", remedy="add input=FOLDER")
    options = Options(**{name: str(values[name]) for name in CHOICES})
    root, key = Path(values["input"]), key_file(values["key"])
    check_places(root, output, private, key)  # before a key is made
    with progress("files cleaned") as show:
        result = deidentify_tree(
            root,
            output,
            private,
            key=load_or_create_key(key),
            options=options,
            labels=Path(values["labels"]) if values["labels"] else None,
            workers=max(1, int(values["workers"])),
            progress=show,
        )
    count = result.outcomes
    say(f"{count['clean']} files of {result.patients} patients are clean: {output}")
    for (outcome, reason), number in sorted(result.reasons.items(), key=lambda item: (item[0][0], -item[1], item[0])):
        if outcome != "clean":
            say(f"  {outcome} {number}: {reason}")
    say(f"which file became which, what was set aside and the original values (keep it to yourself): {private}")
    say(f"pseudonym key: {key}")
    if not count["clean"]:
        raise DataRefused("no file could be cleaned", where="input", remedy=f"see {private / 'files.csv'}")
    say(f"next: covidct deidentify verify output={values['output']}")


def _verify(values: dict[str, Any], output: Path, private: Path) -> None:
    from covidct.data.deidentify.hunt import Quarry
    from covidct.data.deidentify.private import read_values
    from covidct.data.deidentify.tree import RECORD
    from covidct.data.deidentify.verify import collect, hunt
    from covidct.files import read_json

    runs = [Path(run) for run in values["runs"] or ()]
    for folder in (output, *runs):
        if not folder.exists():
            raise DataRefused("there is no such folder", where=str(folder))
    if values["input"] is not None:
        record = read_json(output / RECORD) if (output / RECORD).is_file() else {}
        options = Options(**record.get("options", {}))
        root = Path(values["input"])
        labels = Path(values["labels"]) if values["labels"] else root / "labels.csv"
        if not root.is_dir():
            raise DataRefused("there is no such folder", where="input")
        originals = collect(root, labels if labels.is_file() else None, options)
    else:
        originals = read_values(private)
    quarry = Quarry(originals)
    if not quarry.hunted:
        raise DataRefused("there is no value that could be hunted", where="input" if values["input"] else "private")
    with progress("files searched") as show:
        seen = hunt([output, *runs], quarry, show)
    say(f"hunted {quarry.hunted} original values in {seen.files} files, {seen.bytes / 1e6:.1f} MB "
        f"({seen.bytes / 1e6 / max(seen.seconds, 1e-9):.0f} MB/s)")  # fmt: skip
    for reason, number in sorted(quarry.left_out.items()):
        say(f"  not hunted {number}: {reason}")
    for note, number in sorted(seen.notes.items()):
        say(f"  {number} files {note}")
    lines = Counter((one.file, one.where, one.kind) for one in seen.findings)
    for (file, where, kind), number in sorted(lines.items())[:_SHOWN]:
        say(f"  FOUND in {file} ({where}): {kind}{f' ({number} values)' if number > 1 else ''}")
    if len(lines) > _SHOWN:
        say(f"  ... and {len(lines) - _SHOWN} more")
    if values["show"]:
        for value in sorted({f"{one.kind}: {one.value}" for one in seen.findings}):
            say(f"  value: {value}")
    number_of_files = len({one.file for one in seen.findings})
    if seen.findings:
        raise Alarm(
            f"{len(seen.findings)} original values are still there, in {number_of_files} files",
            remedy="do not share this folder; show=true prints the values on your terminal",
        )
    say("none was found")
