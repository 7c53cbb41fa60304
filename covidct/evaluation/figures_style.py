"""The look of every figure: colours, line styles, one style sheet, and files that are the same for the same figure.

Class colours are fixed (Okabe-Ito, told apart by colour-blind readers); each class has its own line style too, for
print without colour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
from matplotlib.figure import Figure

from covidct.files import replacing

CLASS_COLOURS = {
    "normal": "#009E73",
    "covid19": "#D55E00",
    "viral": "#0072B2",
    "bacterial": "#CC79A7",
    "tuberculosis": "#E69F00",
    "noncovid": "#0072B2",
    "cap": "#56B4E9",
}
_OTHER_COLOURS = ("#F0E442", "#332288", "#882255", "#44AA99", "#999933")
LINE_STYLES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
SITE_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, MUTED, GRID = "#1b1f24", "#57606a", "#d8dee4"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships inside matplotlib: the same glyphs on every machine
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "covidct",  # element ids from content, not from a random number
}
_P = ParamSpec("_P")


@contextmanager
def style() -> Iterator[None]:
    """Our look for the time of one drawing, whatever a matplotlibrc says; the caller's settings come back after it."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def styled(draw: Callable[_P, Figure]) -> Callable[_P, Figure]:
    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return drawn


def class_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each class: the fixed one where there is one, else the next free one in the order given."""
    free = iter(_OTHER_COLOURS * (1 + len(names) // len(_OTHER_COLOURS)))
    return {name: CLASS_COLOURS[name] if name in CLASS_COLOURS else next(free) for name in names}


def write_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as `name.png` (150 dots per inch) and `name.svg`, with no date inside: same figure, same bytes."""
    written = []
    with style():
        layout = figure.get_layout_engine()
        if layout is not None:  # solved once, then kept for both files: two to three times as fast
            layout.execute(figure)
            figure.set_layout_engine(None)
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        path = folder / f"{name}.{kind}"
        with style(), replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=150, metadata=metadata, facecolor="white")
        written.append(path)
    return written
