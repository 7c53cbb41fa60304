"""Reading `labels.csv` and `slices.csv`: every bad line is reported at once, and nothing is mapped silently.

Excel workbooks are refused and not read: in one, the number 0012 is 12 already and 1-2 is a date, so that the promise
that an id is the text somebody wrote cannot be kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from covidct.data.sources.cells import doubt, foreign_letters, likeness, meant
from covidct.data.sources.table_file import Problems, read_rows, read_text
from covidct.labels import DISPLAY_NAMES, ClassScheme

NEEDED = ("patient", "label", "site")
SLICES_NEEDED = ("sop_instance_uid",)
SLICES_ALSO = ("slice_label",)


@dataclass(frozen=True)
class Labels:
    """The labels of a data set.

    Args:
        label_of: (site, patient) -> class.
        excluded: (site, patient) of people with two diseases (exclusion D7 of the paper).
        sites_of: patient -> sites at which that number occurs.
        name: File name, for `label_source`.
        warnings: What is allowed and probably wrong, with line numbers and without naming a patient.
    """

    label_of: dict[tuple[str, str], str]
    excluded: frozenset[tuple[str, str]]
    sites_of: dict[str, tuple[str, ...]]
    name: str
    warnings: tuple[str, ...] = ()
    _alike: frozenset[str] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_alike", frozenset(likeness(patient) for patient in self.sites_of))

    def why_unlisted(self, patient: str) -> str:
        """Why a patient who is in a file has no label: one reason, the same for all such patients."""
        if likeness(patient) not in self._alike:
            return "patient has no row in the labels"
        if any(other.lstrip("0") == patient.lstrip("0") for other in self.sites_of):
            return "patient has no row in the labels, but one that differs by leading zeros"
        return "patient has no row in the labels, but one that differs by capitals, spaces or look-alike letters"

    def without_files(self, seen: Iterable[tuple[str, str]]) -> int:
        """How many patients of the table have no file, where `seen` are the (site, patient) that have one."""
        return len((set(self.label_of) | self.excluded) - set(seen))


def read_labels(path: Path, classes: ClassScheme | None) -> Labels:
    """Read a table with the columns patient, label and site (more are ignored).

    A patient may be listed twice with the same label. Two different diseases exclude the patient; a disease beside the
    normal class is a contradiction and an error.

    Args:
        path: UTF-8, comma separated, with a header line; byte-order mark, CRLF, quotes and blank lines are fine.
        classes: Labels outside it are errors; None takes any, if no two of them look alike.

    Raises:
        DataRefused: With every bad line, by number; patients are not named.
    """
    problems = Problems(path)
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    first: dict[str, int] = {}
    for line, row in read_rows(read_text(path, NEEDED), NEEDED, problems):
        patient, label, site = row["patient"], row["label"], row["site"]
        if classes is not None and label not in classes.names:
            problems.add(f"line {line}: unknown class {_shown(label)}{_did_you_mean(label, classes)}")
            continue
        first.setdefault(label, line)
        found[site, patient].setdefault(label, line)
    label_of, excluded = {}, set()
    for key, labels in found.items():
        if len(labels) == 1:
            label_of[key] = next(iter(labels))
        elif classes is not None and classes.normal in labels:
            lines = " and ".join(f"{line} ({label})" for label, line in sorted(labels.items(), key=lambda i: i[1]))
            problems.add(f"lines {lines}: one patient, normal and diseased")
        else:
            excluded.add(key)
    if classes is None:
        for one, *others in _alike(first):
            names = ", ".join(f"{_shown(name)} (line {first[name]})" for name in (one, *others))
            problems.add(f"lines {first[one]} and later: labels that look alike: {names}")
    if not found and not problems.count:
        problems.add("no patient is listed")
    problems.refuse(None if classes is None else f"labels are {list(classes.names)}, spelt exactly like this")
    sites: dict[str, list[str]] = defaultdict(list)
    for site, patient in found:
        sites[patient].append(site)
    return Labels(
        label_of,
        frozenset(excluded),
        {p: tuple(sorted(s)) for p, s in sites.items()},
        Path(path).name,
        tuple(_warnings({key: min(labels.values()) for key, labels in found.items()})),
    )


def read_slice_labels(path: Path) -> dict[str, int]:
    """Read a table with the columns site, patient, sop_instance_uid and slice_label (1 lesion, 0 none, empty unknown).

    Returns:
        SOP Instance UID -> 0 or 1.

    Raises:
        DataRefused: With every bad line, by number.
    """
    problems = Problems(path)
    found: dict[str, int] = {}
    text = read_text(path, (*SLICES_NEEDED, *SLICES_ALSO))
    for line, row in read_rows(text, SLICES_NEEDED, problems, also=SLICES_ALSO):
        uid, value = row["sop_instance_uid"], row["slice_label"]
        if value == "":
            continue
        if value not in ("0", "1"):
            problems.add(f"line {line}: slice_label {_shown(value)} is not 0, 1 or empty")
        elif found.setdefault(uid, int(value)) != int(value):
            problems.add(f"line {line}: this slice was listed before with another label")
    problems.refuse()
    return found


def _shown(word: str) -> str:
    """A label for a message, cut where somebody put a whole text there."""
    return ascii(word) if len(word) <= 40 else ascii(word[:40]) + "..."


def _did_you_mean(label: str, classes: ClassScheme) -> str:
    known = {DISPLAY_NAMES.get(name, name): name for name in classes.names} | {name: name for name in classes.names}
    words = f" with {strange}" if (strange := foreign_letters(label)) else ""
    guess = meant(label, known)
    return f"{words}; did you mean {guess!r}?" if guess else words


def _alike(words: Iterable[str]) -> list[list[str]]:
    """Groups of different words that people may take for each other."""
    groups: dict[str, list[str]] = defaultdict(list)
    for word in words:
        groups[likeness(word)].append(word)
    return [group for group in groups.values() if len(group) > 1]


def _warnings(line_of: Mapping[tuple[str, str], int]) -> list[str]:
    """Doubts about ids and sites."""
    told = []
    by_look: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    looks: dict[str, list[int]] = defaultdict(list)
    for (site, patient), line in line_of.items():
        by_look[site, likeness(patient)][patient] = line
        if look := doubt(patient):
            looks[look].append(line)
    if alike := [sorted(group.values()) for group in by_look.values() if len(group) > 1]:
        told.append(
            f"{len(alike)} groups of patients whose ids differ only by leading zeros, capitals, spaces or look-alike "
            f"letters; they are taken for different people: {_lines([line for group in alike for line in group])}"
        )
    told += [
        f"{len(lines)} patient ids look like {look}; has a spreadsheet changed them? {_lines(lines)}"
        for look, lines in looks.items()
    ]
    if sites := _alike(dict.fromkeys(site for site, _ in line_of)):
        told.append(f"sites that look alike are taken for different ones: {'; '.join(map(str, sites))}")
    return told


def _lines(lines: list[int]) -> str:
    return "lines " + ", ".join(map(str, sorted(lines)[:10])) + (", ..." if len(lines) > 10 else "")
