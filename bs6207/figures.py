"""The house style of every figure: sizes, colours, fonts and how a figure becomes bytes."""

import io
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from matplotlib import colormaps, rc_context, rc_file_defaults, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, LogFormatterMathtext
from matplotlib.transforms import Bbox

from bs6207.runs.names import legible

# Okabe and Ito's palette, for colour-blind readers too (jfly.uni-koeln.de/color).
FORMATS = ("png", "svg")  # for the screen and for print
DPI = 160  # pixels an inch
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PLACES = 9  # digits of where axes stand, as shares of the figure
SHOWN_DPI = 96  # pixels an inch in a notebook, of a screen that may have more
INK, MUTED, GROUND = "#222222", "#8a8a8a", "#e8e4da"

STYLE: Any = {
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False),
    **{"axes.titlelocation": "left", "axes.titlesize": 10, "figure.dpi": DPI, "font.size": 9},
    "svg.hashsalt": "bs6207",  # the same figure, the same bytes
    "text.parse_math": False,  # names may hold dollars; what is ours is written in Unicode
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style in the block, or the function decorated, whatever style the caller has chosen."""
    with rc_context():
        rc_file_defaults()
        rcParams.update(STYLE)
        yield


class ShownFigure(Figure):
    """A figure that a notebook shows, as it does those of pyplot, which this package leaves alone."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        stream = io.BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue(), {"width": round(SHOWN_DPI * self.get_figwidth())}


def colours(count: int) -> list[str]:
    """Distinct colours: the palette's if they suffice, else evenly through a rainbow."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    return [to_hex(colormaps["turbo"](place / (count - 1))) for place in range(count)]


def panels(rows: int, columns: int, size: tuple[float, float], **subplots: Any) -> tuple[Figure, Any]:
    """A figure of `rows` x `columns` axes, each `size` inches wide and high, and the axes, [rows, columns]."""
    figure = ShownFigure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **subplots)


def clipped(name: str, most: int = 14) -> str:
    """A name shortened to `most` columns of narrow letters; both ends stay, as many names begin alike."""
    text = legible(name)
    if columns(text) <= most:
        return text
    head, tail = text[:most], text[-most:]
    while columns(head) > most // 2:
        head = head[:-1]
    while columns(tail) > (most - 1) // 2:
        tail = tail[1:]
    return f"{head}…{tail}"


def columns(text: str) -> int:
    """Width in narrow letters; a wide letter of East Asia takes two, an accent none."""
    letters = [letter for letter in text if not unicodedata.combining(letter)]
    return len(letters) + sum(unicodedata.east_asian_width(letter) in "FW" for letter in letters)


def legend_of(names: Sequence[str], handles: Sequence[Any], place: Axes | Figure, **look: Any) -> None:
    """A legend with every name; matplotlib would leave out those that begin with an underscore."""
    legend = place.legend(handles, [" "] * len(handles), **look)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


@house_style()
def drawn(draw: Callable[[], Figure]) -> tuple[dict[str, bytes], str]:
    """A figure as files, by suffix, and the letters on it that no font has."""
    figure = draw()
    files = {kind: render(figure, kind) for kind in FORMATS}
    return files, "".join(sorted({letter for text in texts(figure) for letter in fonts_for(text)[1]}))


@house_style()
def complete(draw: Callable[[], Figure]) -> Figure:
    """A figure to use further: its texts and ticks are those of its files, whatever style is chosen later."""
    figure = draw()
    with warnings.catch_warnings(action="ignore"):  # of letters that no font has
        find_fonts(figure)
        figure.draw_without_rendering()
    return figure


@house_style()
def of_picture(content: bytes) -> Figure:
    """A figure that shows a PNG file."""
    pixels = imread(io.BytesIO(content), format="png")
    height, width = pixels.shape[:2]
    figure = ShownFigure(figsize=(width / STYLE["figure.dpi"], height / STYLE["figure.dpi"]))
    figure.figimage(pixels)
    return figure


@house_style()
def render(figure: Figure, kind: str) -> bytes:
    """The figure as a `png` or `svg` file; the same figure gives the same bytes."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # `drawn` returns them
        find_fonts(figure)
        figure.set_layout_engine(None)  # or savefig draws it once more in vain, for every file
        for axes in figure.axes:  # a layout's last digits differ by process, and SVG names its clips after all digits
            axes.set_position(Bbox(axes.get_position(original=True).get_points().round(PLACES)))
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return stream.getvalue()


def find_fonts(figure: Figure) -> None:
    """Lay a figure out, with plain labels on logarithmic axes and a font for every letter that has one."""
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
            axis.set_major_formatter(PlainLogFormatter())
        if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
            axis.set_minor_formatter(PlainLogFormatter())
    if layout := figure.get_layout_engine():
        layout.execute(figure)  # from now on the ticks have their texts
        if foreign := [(text, families) for text in texts(figure) if (families := fonts_for(text)[0])]:
            for text, families in foreign:
                text.set_fontfamily([*text.get_fontfamily(), *families])
            layout.execute(figure)


class PlainLogFormatter(LogFormatter):
    """Labels the same ticks of a logarithmic axis as matplotlib, in plain numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text)]


def fonts_for(text: Text) -> tuple[tuple[str, ...], str]:
    """The installed families for letters that the default font lacks, and the letters that none has."""
    foreign = frozenset(text.get_text()) - own_letters()
    return installed_fonts(foreign) if foreign else ((), "")


@cache
def own_letters() -> frozenset[str]:
    """The letters that the default font has, and those that need no glyph."""
    return frozenset("\n") | {chr(code) for code in FT2Font(findfont(FontProperties())).get_charmap()}


@cache
def installed_fonts(letters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """As few installed families as have these letters, and the letters that none has."""
    having: dict[str, frozenset[str]] = {}
    for entry in fontManager.ttflist:
        if entry.style == "normal" and entry.name not in having:
            try:
                font = FT2Font(entry.fname)
            except (OSError, RuntimeError):  # removed, or broken, since matplotlib made its list
                continue
            having[entry.name] = frozenset(letter for letter in letters if font.get_char_index(ord(letter)))
    families, missing = list[str](), letters
    while any(has & missing for has in having.values()):
        families.append(max(sorted(having), key=lambda name: len(having[name] & missing)))
        missing -= having[families[-1]]
    return tuple(families), "".join(sorted(missing))
