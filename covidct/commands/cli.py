"""`covidct VERB key=value ...`: finds the verb, lets Hydra compose its config, turns errors into messages.

Only the standard library is imported here, so that `covidct --help` answers at once.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from covidct.errors import UsageError


class Verb(NamedTuple):
    """One line of the overview and an example that can be typed as it stands."""

    does: str
    example: str


VERBS = {
    "phantom": Verb("write a synthetic hospital network as DICOM series with labels", "covidct phantom out=phantom"),
    "index": Verb(
        "read a folder of scans into one slice table; list what is refused and why",
        "covidct index data=dicom_tree data.root=phantom data.index=indexes/phantom",
    ),
    "split": Verb(
        "freeze train, validation and test partitions, patients whole",
        "covidct split data.index=indexes/phantom split.external_sites=[site_b,site_c]",
    ),
    "train": Verb(
        "train a model with phased optimizers; resumes by itself",
        "covidct train experiment=demo data.index=indexes/phantom",
    ),
    "evaluate": Verb("score a trained run on its test sets: predictions and metrics", "covidct evaluate run=runs/NAME"),
    "report": Verb("write the report of a run, from its folder alone", "covidct report run=runs/NAME"),
    "compare": Verb(
        "compare arms over paired repeats; say what may be said",
        "covidct compare runs=[runs/study-*] output=comparison",
    ),
    "predict": Verb(
        "classify a folder of scans with a trained run",
        "covidct predict run=runs/NAME input=scans output=predictions",
    ),
    "runs": Verb("list, choose, compare and export runs, without any server", "covidct runs ls"),
    "search": Verb(
        "look for better settings by validation alone, with several workers; resumes by itself",
        "covidct search search=learning_rate experiment=demo data.index=indexes/phantom",
    ),
    "sweep-config": Verb(
        "write a W&B sweep file for a search space",
        "covidct sweep-config search=learning_rate experiment=demo output=sweep.yaml",
    ),
    "explain": Verb(
        "Grad-CAM of a run's calls, scored: lungs, lesions, and whether it depends on what was learnt",
        "covidct explain run=runs/NAME",
    ),
    "audit": Verb(
        "look for what makes good numbers untrue: leaks in data, shortcuts of a run, impossible published tables",
        "covidct audit data indexes/phantom",
    ),
    "ledger": Verb(
        "how often each test set was looked at; seal one until a configuration is frozen",
        "covidct ledger show index=indexes/phantom",
    ),
    "readers": Verb(
        "compare human readers with a run, or simulate some to try it",
        "covidct readers run=runs/NAME reads=reads.csv",
    ),
    "deidentify": Verb(
        "write clean copies of scans (PS3.15 Annex E); hunt the original values in what was written",
        "covidct deidentify input=scans output=clean",
    ),
    "doctor": Verb("check versions, hardware, decoders, weights and W&B", "covidct doctor"),
}


def overview() -> str:
    """The text of `covidct --help`."""
    lines = [
        "covidct: chest-CT classification experiments whose numbers can be defended. Not a medical device.",
        "",
        "usage: covidct VERB [key=value ...]",
        "",
    ]
    for name, verb in VERBS.items():
        lines += [f"  {name:<12} {verb.does}", f"               $ {verb.example}"]
    lines += [
        "",
        "covidct VERB --help        keys of a verb with their defaults and choices",
        "covidct VERB --cfg job     the composed config, without running anything",
        "covidct train -m a=1,2     one run for each value",
        'eval "$(covidct -sc install=bash)"   tab completion for verbs, groups and keys (also zsh, fish)',
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit code: 0 done, 1 a bug, 2 usage, 3 data refused, 4 integrity, 5 resource, 6 interrupted but resumable,
        7 an audit found something.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-sc", "--shell-completion", "--shell_completion"):
        return _complete(words)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        from covidct import __version__

        print(f"covidct {__version__}")
        return 0
    name = words[0]
    if name not in VERBS:
        close = difflib.get_close_matches(name, VERBS, n=1)
        hint = f"did you mean `covidct {close[0]}`?" if close else f"the verbs are {', '.join(VERBS)}"
        print(f"covidct: no verb {name!r}; {hint}", file=sys.stderr)
        return 2
    from covidct.commands import compose

    rest = words[1:]
    if name in ("runs", "ledger", "audit", "deidentify"):  # the verbs that take plain words
        import importlib

        try:
            rest = importlib.import_module(f"covidct.commands.{name}_words").as_keys(rest)
        except UsageError as error:
            compose.report_failure(error)
            return error.exit_code
    return compose.run(name, rest)


def _complete(words: list[str]) -> int:
    """Shell completion. Hydra completes one config; the verb in the typed line says which."""
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()
    if any(word.startswith("query=") for word in words):
        if len(typed) < 2 or (len(typed) == 2 and not line.endswith(" ")):
            print(" ".join(name for name in VERBS if name.startswith(typed[1] if len(typed) == 2 else "")))
            return 0
        if typed[1] not in VERBS:
            return 0
        os.environ["COMP_LINE"] = line.replace(f" {typed[1]}", "", 1)
        name = typed[1]
    else:
        name = "train"  # any config will do to print the shell's own script
    from covidct.commands import compose

    return compose.run(name, words)
