"""What takes the place of identifiers, all of it made with the key: the same input gives the same output again."""

from __future__ import annotations

import hashlib
import hmac
import uuid

from pydicom.uid import UID_dictionary

_DAY = 86400
_YEARS = (1, 8)


class Keyed:
    """Replacements computed by HMAC-SHA256.

    PS3.15 E.3.9 and the smallness of patient numbers forbid plain hashes: all numbers could be tried.

    Args:
        key: The secret, 16 bytes or more.
    """

    def __init__(self, key: bytes) -> None:
        self._key = bytes(key)

    def __repr__(self) -> str:
        return "Keyed(...)"  # the key must not reach a log

    def _digest(self, *words: str) -> bytes:
        # lengths first: ("a", "bc") and ("ab", "c") differ; another first word than an index uses for its pseudonyms
        message = "deidentify:" + "".join(f"{len(word)}:{word}" for word in words)
        return hmac.new(self._key, message.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def fingerprint(self) -> str:
        """Says whether two runs used one key, and nothing else about it."""
        return self._digest("fingerprint").hex()[:16]

    def patient(self, site: str, patient_id: str) -> str:
        """16 hexadecimal letters for a patient of a site."""
        return self._digest("patient", site, patient_id).hex()[:16]

    def site(self, site: str) -> str:
        """A name for a site."""
        return f"site_{self._digest('site', site).hex()[:8]}"

    def name(self, *words: str) -> str:
        """16 hexadecimal letters for a file or folder."""
        return self._digest("name", *words).hex()[:16]

    def uid(self, uid: str) -> str:
        """A UID below 2.25 (PS3.5 B.2: a UUID as one decimal number); a UID of the standard itself stays.

        The UUID is of version 8 (RFC 9562: made by the application).
        """
        if uid in UID_dictionary:
            return uid
        raw = bytearray(self._digest("uid", uid)[:16])
        raw[6], raw[8] = (raw[6] & 0x0F) | 0x80, (raw[8] & 0x3F) | 0x80
        return f"2.25.{uuid.UUID(bytes=bytes(raw)).int}"

    def seconds(self, site: str, patient_id: str) -> int:
        """By how much all dates and times of a patient move: back by one to eight years and some hours, in seconds."""
        number = int.from_bytes(self._digest("dates", site, patient_id)[:8])
        low, high = (years * 365 * _DAY for years in _YEARS)
        return -(low + number % (high - low))
