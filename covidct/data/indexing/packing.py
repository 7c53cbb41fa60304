"""Records as bytes, to be kept: compressed JSON, whose checksum finds damage; no pickle, which could run code."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

from covidct.ct.ingest import Header, Record
from covidct.ct.measures import Measures

_NESTED: dict[str, type] = {"header": Header, "measures": Measures}


def pack(records: Iterable[Record]) -> bytes:
    """The records of one file as compressed JSON (its checksum finds damage); `unpack` gives them back."""
    return zlib.compress(json.dumps([_values(record)[1:] for record in records]).encode("ascii"), 1)


def unpack(path: str, packed: bytes) -> list[Record]:
    """The records of a file.

    Raises:
        zlib.error: The bytes are damaged.
    """
    found = []
    for values in json.loads(zlib.decompress(packed)):
        record = dict(zip(_names(Record)[1:], values, strict=True))
        for name, kind in _NESTED.items():
            if record[name] is not None:
                record[name] = kind(*map(_tuples, record[name]))
        found.append(Record(path, **record))
    return found


def whole(packed: bytes) -> bool:
    """Whether the bytes are as they were packed."""
    try:
        zlib.decompress(packed)
    except zlib.error:
        return False
    return True


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _values(thing: Any) -> list[Any]:
    values = [getattr(thing, name) for name in _names(type(thing))]
    return [_values(value) if is_dataclass(value) else value for value in values]


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
