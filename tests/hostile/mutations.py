"""Hypothesis strategies for damaged and strange files: whole nonsense, and valid files with something changed."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

STRANGE = (
    b"\0", b"\xff", b"\xef\xbb\xbf", "\u200b".encode(), "\u00a0".encode(), "\u2028".encode(), "\u0441".encode(),
    b"\r", b"\n", b"\r\n", b"\x0b", b"\x1c", b",", b";", b"\t", b'"', b'""', b"'", b"\\", b"\\ud800", b"=1+1", b"1e999",
    b"-1", b"NaN", b"null", b"true", b"{}", b"[]", b"[", b"}", b":", b"&a *a", b"!!python/object/apply:os.system",
    b"0012", b"9" * 400, b"[" * 3000, b"A" * 200_000,
)  # fmt: skip
"""Bytes that have broken readers of tables, JSON and YAML before."""


@st.composite
def mutated(draw: st.DrawFn, whole: bytes, tokens: Sequence[bytes] = (), most: int = 4) -> bytes:
    """`whole` after one to `most` changes: a piece put in, taken out, overwritten, doubled, or moved.

    Args:
        draw: Of hypothesis.
        whole: A valid file.
        tokens: Pieces to put in, beside `STRANGE`.
        most: Number of changes.
    """
    found = whole
    for _ in range(draw(st.integers(1, most))):
        start = draw(st.integers(0, len(found)))
        stop = min(len(found), start + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from([*tokens, *STRANGE]) | st.binary(min_size=1, max_size=3))
        change = draw(st.sampled_from(["put", "take", "over", "double", "move", "cut"]))
        if change == "put":
            found = found[:start] + piece + found[start:]
        elif change == "take":
            found = found[:start] + found[stop:]
        elif change == "over":
            found = found[:start] + piece + found[stop:]
        elif change == "double":
            found = found[:stop] + found[start:]
        elif change == "move":
            rest = found[:start] + found[stop:]
            place = draw(st.integers(0, len(rest)))
            found = rest[:place] + found[start:stop] + rest[place:]
        else:
            found = found[:start]
    return found


def nonsense() -> st.SearchStrategy[bytes]:
    """Any bytes, and any text in UTF-8."""
    return st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))


@st.composite
def tables(draw: st.DrawFn, columns: Sequence[str], cells: Sequence[str]) -> bytes:
    """CSV text of the right columns whose cells are often right, sometimes any text, and whose lines end in any way."""
    order = draw(st.permutations(list(columns)))
    cell = st.sampled_from(list(cells)) | st.text(max_size=6)
    rows = draw(st.lists(st.lists(cell, min_size=len(order), max_size=len(order)), max_size=6))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoted = draw(st.booleans())
    lines = [",".join(order)]
    lines += [",".join('"' + c.replace('"', '""') + '"' if quoted else c for c in row) for row in rows]
    return end.join(lines).encode("utf-8", "surrogatepass")
