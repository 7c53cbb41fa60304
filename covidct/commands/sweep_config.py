"""`covidct sweep-config`: write a W&B sweep file for a search space; its agents call `covidct train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from covidct.commands.compose import typed_words
from covidct.commands.progress import say
from covidct.commands.search import composer, train_words
from covidct.files import replacing
from covidct.training.search_space import read_space
from covidct.training.sweep_file import agent_words, sampled, sweep_file


def run(values: dict[str, Any]) -> None:
    """Run the verb."""
    from covidct.training.search_trial import check_space

    space = read_space(values["search"])
    words = train_words([word for word in typed_words() if not word.startswith("output=")])
    logger = values["logger"]
    if logger["kind"] != "wandb":
        say(f"note: logger.kind={logger['kind']}: W&B would see nothing of these runs; the file says logger=wandb")
        words.append("logger=wandb")
    sweep = sweep_file(space, words, project=logger["project"], trials=values["search"]["trials"])
    check_space(space, composer(words))
    for chosen in sampled(sweep):  # each as an agent would call it
        composer(agent_words(sweep, chosen)[1:])([])
    for note in space.notes:
        say(note)
    output = Path(values["output"])
    header = f"# wandb sweep {output.name}      then, on each machine: wandb agent SWEEP_ID\n"
    with replacing(output) as temporary:
        temporary.write_text(header + yaml.safe_dump(sweep, sort_keys=False), encoding="utf-8")
    say(f"written: {output}")
    say(f"next: wandb sweep {output}")
