"""The result of a run as Python and notebooks see it, whether it has just ended or lies in a folder."""

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bs6207.errors import FolderError, SettingsError, suggest
from bs6207.runs.files import finite, strict_json, to_csv
from bs6207.runs.finished import RunFolder, read_run
from bs6207.runs.folder import HEADLINE, copy_run
from bs6207.runs.names import at_home, legible, path_text
from bs6207.runs.result import Drawing, Row, Table
from bs6207.runs.run import FinishedRun
from bs6207.runs.table import as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

PAGE = """<div style="font:0.9em sans-serif">
<p><b>bs6207 {command}</b></p>
<table style="border-collapse:collapse;color:inherit;background:transparent">
<tr>{headings}</tr>
{rows}
</table>
{remarks}
{figures}
</div>"""
CELL = '<{kind} style="padding:0.2em 0.7em;text-align:{side};border-bottom:1px solid {line}">{text}</{kind}>'
LINE = "rgba(128,128,128,0.4)"  # seen on a light ground and on a dark one
REMARK = '<p style="margin:0.4em 0;max-width:60em">{}</p>'
MOST_FIGURES = 2  # that a notebook shows of itself; `figure` gives the others
FIGURE = '<img alt="{name}" style="max-width:100%" width="{width}" src="data:image/png;base64,{data}">'
PNG_WIDTH = slice(16, 20)  # bytes of a PNG file that hold its width in pixels
DENSITY = 160 / 96  # pixels of a figure to one of a page, as in `bs6207.figures`


class Result:
    """The result of a run: numbers, tables, figures and remarks; a notebook shows it, and `print` its table.

    Attributes:
        command: bump, latent, deblur or audit.
        settings: as they were used, without those that have no value.
        metrics: what metrics.json holds.
        remarks: sentences that say how to read the table.
        notes: warnings of the run; empty for one that was loaded.
        failures: a sentence for each part of the run that failed while others did not.
        history: rows of history.jsonl.
        tables: pandas DataFrames by the names of the CSV files; `headline`, the table that is shown, holds text.
        figures: names for `figure`, the one to look at first coming first.
        folder: where it lies, None if it is not saved.
    """

    def __init__(
        self,
        command: str,
        settings: Mapping[str, Any],
        metrics: Mapping[str, Any],
        headline: Table,
        remarks: Sequence[str],
        history: Sequence[Row],
        tables: Mapping[str, Callable[[], str]],
        drawings: Mapping[str, Drawing],
        pictures: Mapping[str, Callable[[], bytes]],
        save: Callable[[Path], None],
        folder: Path | None,
        notes: Sequence[str] = (),
        failures: Sequence[str] = (),
    ):
        self.command, self.settings, self.metrics = command, dict(settings), dict(metrics)
        self.remarks, self.notes, self.failures = [*remarks], [*notes], [*failures]
        self.history = [dict(row) for row in history]
        self.tables: Mapping[str, DataFrame] = Tables(tables)
        self.figures, self.folder = (*drawings,), folder
        self._headline, self._drawings, self._pictures, self._save = headline, drawings, pictures, save
        self._shown: dict[str, str] = {}  # figures in HTML

    @classmethod
    def of(cls, run: FinishedRun) -> "Result":
        """The result of a run that has just ended."""
        result = run.result
        tables = {HEADLINE: result.headline, **result.tables}
        return cls(
            run.command,
            result.settings.model_dump(exclude_none=True),
            json.loads(strict_json(result.metrics)),
            result.headline,
            result.remarks,
            [finite(row) for row in run.history],
            {name: partial(to_csv, table) for name, table in tables.items()},
            {name: partial(completed, drawing) for name, drawing in result.figures.items()},
            {name: partial(png_of, drawing) for name, drawing in result.figures.items()},
            run.save,
            run.folder,
            run.notes,
            result.failures,
        )

    @classmethod
    def in_folder(cls, run: RunFolder) -> "Result":
        """The result of a finished run; its figures are those of the folder."""
        pictures = {name: (run.place / f"{name}.png").read_bytes for name in run.figures}
        return cls(
            run.command,
            run.settings,
            run.metrics,
            run.headline or Table((), ()),
            run.remarks,
            [json.loads(line) for line in run.text("history.jsonl").splitlines()],
            {name: partial(run.text, f"{name}.csv") for name in (HEADLINE, *run.tables)},
            {name: partial(pictured, picture) for name, picture in pictures.items()},
            pictures,
            partial(copy_run, run.command, run.place),
            run.place,
            failures=[part if isinstance(part, str) else part["reason"] for part in run.metrics.get("failed", [])],
        )

    def figure(self, name: str | None = None) -> "Figure":
        """A new matplotlib figure, the first one if no name is given; of a loaded run, its picture.

        Raises:
            ValueError: there is none of that name.
        """
        if not self.figures:
            raise SettingsError("this run has no figures")
        if name not in (*self.figures, None):
            raise SettingsError(f"no figure {name!r}", suggest(str(name), self.figures))
        return self._drawings[name or self.figures[0]]()

    def save(self, folder: str | PathLike[str]) -> Path:
        """Fill a run folder as the command does, and return it; a run that lies there moves to the history beside it.

        Raises:
            bs6207.errors.FolderError: the folder is busy, holds something else, or cannot be written.
        """
        place = Path(at_home(path_text(folder)))
        self._save(place)
        self.folder = self.folder or place
        return place

    def __repr__(self) -> str:
        table = as_text(self._headline) if self._headline.rows else ""
        failed = [f"Failed: {reason}" for reason in self.failures]
        where = [str(self.folder)] if self.folder else []
        return table + "\n".join([*map(legible, (*self.remarks, *failed)), *where])

    def _repr_html_(self) -> str:
        columns = self._headline.columns
        headings = "".join(cell("th", column, place) for place, column in enumerate(columns))
        rows = [
            "".join(cell("td", row.get(column, ""), place) for place, column in enumerate(columns))
            for row in self._headline.rows
        ]
        failed = [f"Failed: {reason}" for reason in self.failures]
        sentences = [legible(sentence) for sentence in (*self.remarks, *failed)]
        return PAGE.format(
            command=self.command,
            headings=headings,
            rows="\n".join(f"<tr>{row}</tr>" for row in rows),
            remarks="\n".join(REMARK.format(escape(sentence)) for sentence in sentences),
            figures="\n".join(map(self._figure_in_html, self.figures[:MOST_FIGURES])),
        )

    def _figure_in_html(self, name: str) -> str:
        if name not in self._shown:
            content = self._pictures[name]()
            width = round(int.from_bytes(content[PNG_WIDTH]) / DENSITY)
            data = base64.b64encode(content).decode()
            self._shown[name] = FIGURE.format(name=escape(name), width=width, data=data)
        return self._shown[name]


class Tables(Mapping[str, "DataFrame"]):
    """DataFrames by name, each read from its CSV text when it is asked for, so that all runs have the same types."""

    def __init__(self, texts: Mapping[str, Callable[[], str]]):
        self.texts = texts

    def __getitem__(self, name: str) -> "DataFrame":
        from pandas import read_csv

        if name not in self.texts:
            raise KeyError(f"no table {name!r}; {suggest(name, self.texts)}")
        text, types = io.StringIO(self.texts[name]()), str if name == HEADLINE else None
        return read_csv(text, dtype=types, keep_default_na=False, na_values=["", "nan"])

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"tables: {', '.join(self)}"


def load_run(folder: str | PathLike[str]) -> Result:
    """See `bs6207.load_run`."""
    try:
        return Result.in_folder(read_run(at_home(path_text(folder))))
    except ValueError as failure:  # a line of history that is no JSON
        raise FolderError(f"cannot read the run in {folder}: {failure}") from None


def completed(drawing: Drawing) -> "Figure":
    from bs6207.figures import complete

    return complete(drawing)


def pictured(picture: Callable[[], bytes]) -> "Figure":
    from bs6207.figures import of_picture

    return of_picture(picture())


def png_of(drawing: Drawing) -> bytes:
    from bs6207.figures import drawn

    return drawn(drawing)[0]["png"]


def cell(kind: str, value: Any, place: int) -> str:
    return CELL.format(kind=kind, side="right" if place else "left", line=LINE, text=escape(legible(str(value))))
