"""Sweeps: an experiment at every combination of some values of its settings, each a piece of work of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from bs6207.axes import AnySwept, axes, points
from bs6207.data.sources import load, loaded, require_same
from bs6207.errors import DivergenceError, UserError
from bs6207.experiment import Deal, Experiment, Lost, PieceSteps, Progress, Result, Row, Steps, Storable, Table, in_turn
from bs6207.figures import PALETTE, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS_ACROSS = 3

Values: TypeAlias = tuple[Any, ...]  # of the axes, in their order


@dataclass(frozen=True)
class Measure:
    """What a sweep shows of every run, out of its table `scores`.

    Attributes:
        score: the column, and `label` what it is called.
        line: the column whose values are told apart.
        rows: the values of other columns in the rows that count.
        best: `min` or `max`.
    """

    score: str
    label: str
    line: str
    rows: Mapping[str, Any]
    best: str

    def read(self, scores: Sequence[Row]) -> dict[Any, float]:
        """The score by line, the median where there are several rows."""
        counted = [row for row in scores if all(row[column] == value for column, value in self.rows.items())]
        lines = dict.fromkeys(row[self.line] for row in counted)
        return {line: median(row[self.score] for row in counted if row[self.line] == line) for line in lines}


@dataclass(frozen=True)
class Found(Storable):
    """One run of a sweep.

    Attributes:
        scores: its table of that name.
        failures: what failed in it while the rest did not.
    """

    metrics: dict[str, Any]
    columns: tuple[str, ...]
    scores: list[Row]
    failures: list[str]


@dataclass(frozen=True)
class Failed(Storable):
    """A run that came to nothing, and why."""

    reason: str


@dataclass(frozen=True)
class Point:
    """One run to be done: its settings, what it is called, and the checksum of its data."""

    settings: Any
    name: str
    at: dict[str, Any]
    sha256: str


def run(
    experiment: Experiment[AnySwept], settings: AnySwept, measure: Measure, progress: Progress, deal: Deal
) -> Result:
    """Run an experiment, a function of the module level, at every point of the sweep in its settings.

    Raises:
        DataError: the images do not fit.
        DivergenceError: no run came to anything.
    """
    names = tuple(axes(settings))
    checksums: dict[str, tuple[str, str]] = {}  # of each data set that is named: what is recorded, and its SHA-256
    tasks: dict[Values, Point] = {}
    every: Mapping[Values, Any] = points(settings)
    for values, one in every.items():
        if one.data not in checksums:
            data = load(one.data, progress.note)
            checksums[one.data] = data.given_as, data.sha256
        given_as, sha256 = checksums[one.data]
        where = dict(zip(names, values, strict=True))
        called = ", ".join(f"{name} {value}" for name, value in where.items())
        tasks[values] = Point(one.model_copy(update={"data": given_as}), called, where, sha256)
    progress.expect(len(tasks))

    given = " ".join(sha256 for _, sha256 in checksums.values())
    outcomes = deal(partial(at_point, experiment), tasks, progress, given)
    found = {values: one for values, one in outcomes.items() if isinstance(one, Found)}
    failed = {values: one.reason for values, one in outcomes.items() if isinstance(one, Failed | Lost)}
    if not found:
        raise DivergenceError(next(iter(failed.values())))
    return report(tasks, found, failed, measure, settings)


def at_point(experiment: Experiment[Any], point: Point, progress: PieceSteps) -> Found | Failed:
    """Do one run."""
    try:
        require_same(loaded(point.settings.data), point.sha256)
        result = experiment(point.settings, Within(point, progress), in_turn)
    except UserError as failure:
        return Failed(f"{point.name}: {failure}")
    finally:
        progress.step(point.name)
    scores = result.tables["scores"]
    failures = [f"{point.name}: {reason}" for reason in result.failures]
    return Found(result.metrics, tuple(scores.columns), [dict(row) for row in scores.rows], failures)


class Within:
    """Progress of a run that is one step of a sweep."""

    def __init__(self, point: Point, progress: Steps):
        self.point, self.progress = point, progress

    def expect(self, steps: int) -> None:
        """It is one step, however many it takes."""

    def step(self, doing: str) -> None:
        """One step of the run is done."""
        self.tell(doing)

    def tell(self, doing: str) -> None:
        """What the run is at."""
        self.progress.tell(f"{self.point.name}: {doing}")

    def record(self, row: Row) -> None:
        """A row of its history."""
        self.progress.record({**self.point.at, **row})

    def note(self, sentence: str) -> None:
        """What changes how its result is read."""
        self.progress.note(f"{self.point.name}: {sentence}")


def report(
    tasks: Mapping[Values, Point],
    found: Mapping[Values, Found],
    failed: Mapping[Values, str],
    measure: Measure,
    settings: AnySwept,
) -> Result:
    """The table and the figure over the sweep, and all that its runs found."""
    swept = axes(settings)
    names = tuple(swept)
    read = {values: measure.read(one.scores) for values, one in found.items()}
    lines = sorted({line for scores in read.values() for line in scores})
    columns = next(iter(found.values())).columns
    rows = [{**tasks[values].at, **row} for values, one in found.items() for row in one.scores]
    curves = Table(
        (*names, measure.line, measure.score),
        [
            {**tasks[values].at, measure.line: line, measure.score: score}
            for values, scores in read.items()
            for line, score in scores.items()
        ],
    )
    reasons = [*failed.items(), *((values, reason) for values, one in found.items() for reason in one.failures)]
    metrics = {
        "axes": swept,
        "points": [{"settings": tasks[values].at, "metrics": one.metrics} for values, one in found.items()],
        "failed": [{"settings": tasks[values].at, "reason": reason} for values, reason in reasons],
    }
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(tasks, read, lines, measure, names),
        remarks=remarks(tasks, read, lines, measure),
        tables={"scores": Table((*names, *columns), rows), "sweep": curves},
        figures={"sweep": partial(draw, curves, swept, measure)},
        failures=[reason for _, reason in reasons],
    )


def headline(
    tasks: Mapping[Values, Point],
    read: Mapping[Values, Mapping[Any, float]],
    lines: Sequence[Any],
    measure: Measure,
    names: Sequence[str],
) -> Table:
    """A row per run, a column per line."""
    titles = {line: f"{measure.label}, {measure.line} {line}" for line in lines}
    rows = [
        {name: str(value) for name, value in tasks[values].at.items()}
        | {titles[line]: f"{score:.4g}" for line, score in scores.items()}
        for values, scores in read.items()
    ]
    return Table((*names, *titles.values()), rows)


def remarks(
    tasks: Mapping[Values, Point],
    read: Mapping[Values, Mapping[Any, float]],
    lines: Sequence[Any],
    measure: Measure,
) -> list[str]:
    """Where the score is best, and how far that can be trusted."""
    choose = {"min": min, "max": max}[measure.best]
    best = []
    for line in lines:
        scores = {values: one[line] for values, one in read.items() if line in one}
        values = choose(scores, key=scores.__getitem__)
        best.append(f"{scores[values]:.4g} at {measure.line} {line} with {tasks[values].name}")
    return [
        f"{len(read)} of {len(tasks)} runs came to a result. Best {measure.label}: {'; '.join(best)}.",
        "These are test scores: the best of many is flattered. Choose settings by it, and quote what they reach with "
        "seeds that took no part in the choice.",
    ]


def draw(curves: Table, swept: Mapping[str, Sequence[Any]], measure: Measure) -> "Figure":
    """A panel per axis: every run a point, and a line through the median over the other axes."""
    across = min(len(swept), PANELS_ACROSS)
    figure, grid = panels(-(-len(swept) // across), across, (3.0, 2.7), sharey=True)
    places = list(grid.flat)
    for place in places[len(swept) :]:
        place.set_axis_off()
    for place, (name, values) in zip(places, swept.items(), strict=False):
        for number, line in enumerate(sorted({row[measure.line] for row in curves.rows})):
            colour = PALETTE[number % len(PALETTE)]
            scores = [
                [row[measure.score] for row in curves.rows if row[measure.line] == line and row[name] == value]
                for value in values
            ]
            runs = [(x, score) for x, column in enumerate(scores) for score in column]
            place.plot(*zip(*runs, strict=True), ".", color=colour, alpha=0.4, markersize=5)
            middle = [(x, median(column)) for x, column in enumerate(scores) if column]
            label = str(line) if place is places[0] else None
            place.plot(*zip(*middle, strict=True), "_-", color=colour, markersize=8, label=label)
        place.set(xlabel=name, xticks=range(len(values)), xticklabels=[str(value) for value in values])
        place.margins(x=0.12)
    grid[0, 0].set_ylabel(measure.label)
    figure.legend(title=f"{measure.line}\n(median, runs)", loc="outside right upper", fontsize=8, title_fontsize=8)
    return figure
