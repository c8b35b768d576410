"""The house style of every figure: sizes, colours and how a figure becomes bytes."""

import io
from collections.abc import Callable
from typing import Any

from matplotlib import colormaps, rcParams
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

# Okabe and Ito's palette, told apart by colour-blind readers too (jfly.uni-koeln.de/color).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PLACES = 9  # digits of where axes stand, as shares of the figure
INK, MUTED, GROUND = "#222222", "#8a8a8a", "#e8e4da"

STYLE: Any = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.dpi": 160,
    "font.size": 9,
    "legend.frameon": False,
    "svg.hashsalt": "bs6207",  # the same figure, the same bytes
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}
rcParams.update(STYLE)


def colours(count: int) -> list[str]:
    """Colours that all differ: the palette's where they are enough, otherwise evenly through a rainbow."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [to_hex(colormaps["turbo"](place / (count - 1))) for place in range(count)]


def panels(rows: int, columns: int, size: tuple[float, float], **subplots: Any) -> tuple[Figure, Any]:
    """A figure of `rows` x `columns` axes, each `size` inches wide and high, and the axes, [rows, columns]."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def drawn(draw: Callable[[], Figure]) -> dict[str, bytes]:
    """A figure as files, by their ending."""
    figure = draw()
    return {kind: render(figure, kind) for kind in ("png", "svg")}


def render(figure: Figure, kind: str) -> bytes:
    """The figure as a `png` or `svg` file; the same figure gives the same bytes."""
    if layout := figure.get_layout_engine():
        layout.execute(figure)
        figure.set_layout_engine(None)  # or savefig draws it once more in vain, for every file
    for axes in figure.axes:  # the last digits of a layout differ by process, and SVG names its clips after all digits
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(PLACES)))
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return stream.getvalue()
