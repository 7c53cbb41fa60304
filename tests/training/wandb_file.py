"""A small reader of W&B's offline log (`run-ID.wandb`): LevelDB's log framing around `wandb_internal_pb2.Record`.

wandb 0.31 has no public reader. Format: 7 bytes of header (":W&B", magic 0xBEE1, version 0), then blocks of 32 KiB;
each chunk is crc32 (4 bytes), length (2), kind (1: full, 2: first, 3: middle, 4: last), data; a block's last bytes that
cannot hold a chunk header are padding.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32768
_HEAD = 7


@dataclass
class WandbFile:
    """What one offline run recorded."""

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    artifacts: list[Any] = field(default_factory=list)
    exit_code: int | None = None

    def table(self, key: str) -> dict[str, Any]:
        """The table of a chart: columns and data, from the file that the history names."""
        row = next(row for row in self.history if f"{key}_table" in row)
        return json.loads((self.folder / "files" / row[f"{key}_table"]["path"]).read_text(encoding="utf-8"))

    def chart(self, key: str) -> dict[str, Any]:
        """The panel of a chart, from the run's config."""
        return self.config["_wandb"]["visualize"][key]["panel_config"]


def read(folder: Path) -> WandbFile:
    """Read an offline run's folder; the log may end where a kill cut it."""
    (log,) = Path(folder).glob("run-*.wandb")
    found = WandbFile(Path(folder))
    for record in records(log.read_bytes()):
        kind = record.WhichOneof("record_type")
        found.kinds.add(kind)
        if kind == "run":
            found.run = record.run
            _update(found.config, record.run.config.update)
        elif kind == "config":
            _update(found.config, record.config.update)
        elif kind == "summary":
            _update(found.summary, record.summary.update)
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            found.history.append(row)
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def records(raw: bytes) -> Iterator[Record]:
    """The records of a log, each checked against its crc32."""
    assert struct.unpack("<4sHB", raw[:_HEAD]) == (b":W&B", 0xBEE1, 0)
    position, parts = _HEAD, b""
    while position + _HEAD <= len(raw):
        left = _BLOCK - position % _BLOCK
        if left < _HEAD:
            position += left
            continue
        crc, length, kind = struct.unpack("<IHB", raw[position : position + _HEAD])
        data = raw[position + _HEAD : position + _HEAD + length]
        position += _HEAD + length
        if len(data) < length:
            return  # cut by a kill
        assert zlib.crc32(data, zlib.crc32(bytes([kind]))) == crc
        parts += data
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        place = target
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
