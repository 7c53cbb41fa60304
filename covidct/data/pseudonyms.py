"""Keyed pseudonyms: the same patient always gets the same 16 letters, and nobody without the key can go back.

A plain hash would not do: patient numbers are few enough to hash them all and compare (DICOM PS3.15 E.3.9 asks for
replacement that cannot be undone without the key).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from covidct.errors import DataRefused, UsageError

_BYTES = 32


class Pseudonymizer:
    """Replaces identifiers by HMAC-SHA256, cut to 16 hex characters.

    64 bits: the chance that any two of a million clash is 1 in 37 million.

    Args:
        key: 16 bytes or more, secret. Another key gives other pseudonyms for everything.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise UsageError("the pseudonym key is shorter than 16 bytes")
        self._key = bytes(key)

    def __repr__(self) -> str:
        return "Pseudonymizer(key=...)"  # the key must not reach a log

    def patient(self, site: str, patient_id: str) -> str:
        """A patient of a site: the same number at two sites is two people."""
        return self._name("patient", site, patient_id)

    def uid(self, uid: str) -> str:
        """A study, series or slice identifier; equal identifiers stay equal."""
        return self._name("uid", uid)

    def _name(self, *words: str) -> str:
        # lengths first: ("a", "bc") and ("ab", "c") are different people
        message = "".join(f"{len(word)}:{word}" for word in words).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()[:16]


def key_file(given: str | os.PathLike[str] | None = None) -> Path:
    """Where the key lies: the given path, or `covidct/pseudonym.key` in the user's configuration folder.

    Never in a run folder or beside an index: those are shared.
    """
    if given is not None:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "covidct" / "pseudonym.key"


def load_or_create_key(path: Path) -> bytes:
    """Read the key, or make one for its owner's eyes only (mode 0600).

    Raises:
        DataRefused: The file is not a key, or other users can read it.
    """
    path = Path(path)
    if not path.exists():
        _create(path)
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataRefused(
            f"not a pseudonym key ({type(error).__name__})", where=str(path), remedy="name another file with key=FILE"
        ) from None
    if len(key) < _BYTES or not stat.S_ISREG(mode):
        raise DataRefused("not a pseudonym key", where=str(path), remedy="name another file with key=FILE")
    if mode & 0o077:
        raise DataRefused(
            "other users of this machine can read the pseudonym key", where=str(path), remedy=f"chmod 600 {path}"
        )
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)  # fails where another process was first: then its key counts
        except FileExistsError:
            return
    finally:
        temporary.unlink(missing_ok=True)
