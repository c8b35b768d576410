"""The house style of every figure: sizes, colours and how a figure becomes bytes."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Okabe and Ito's palette, told apart by colour-blind readers too (jfly.uni-koeln.de/color).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
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


def panels(rows: int, columns: int, size: tuple[float, float], **subplots: Any) -> tuple[Figure, Any]:
    """A figure of `rows` x `columns` axes, each `size` inches wide and high, and the axes, [rows, columns]."""
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def image_grid(rows: Sequence[tuple[str, NDArray[np.float32]]]) -> Figure:
    """Rows of images, each [N, C, H, W] in [0, 1], their names to the left."""
    figure, axes = panels(len(rows), len(rows[0][1]), (0.58, 0.58))
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for line, (name, images) in zip(axes, rows, strict=True):
        for place, image in zip(line, images, strict=True):
            place.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            place.set(xticks=[], yticks=[])
            place.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", size=7)
    return figure


def drawn(draw: Callable[[], Figure]) -> dict[str, bytes]:
    """A figure as files, by their ending."""
    figure = draw()
    return {kind: render(figure, kind) for kind in ("png", "svg")}


def render(figure: Figure, kind: str) -> bytes:
    """The figure as a `png` or `svg` file; the same figure gives the same bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    figure.set_layout_engine("none")  # it is laid out now; a second file of the same figure is the same, and quicker
    return stream.getvalue()
