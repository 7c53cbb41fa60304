"""Parts of a sentence, put together where they are known."""

from __future__ import annotations


def joined(*parts: str | None, sign: str = "; ") -> str | None:
    """The parts that there are, with a sign between them; None where there is none."""
    return sign.join(part for part in parts if part) or None
