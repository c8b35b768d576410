"""Sweeps: an experiment at every combination of some values of its settings, each a piece of work of its own."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from bs6207.data.sources import load, loaded, require_same
from bs6207.errors import UserError, together
from bs6207.figures import clipped, colours, panels
from bs6207.runs.axes import AnySwept, axes, points
from bs6207.runs.memory import Need, require_room
from bs6207.runs.progress import Experiment, FailedTask, MapTasks, Progress, Steps, TaskProgress, map_serially
from bs6207.runs.result import Checkpointable, Result, Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bs6207.data.images import DataSet

PANELS_ACROSS = 3

Values: TypeAlias = tuple[Any, ...]  # of the axes, in their order


@dataclass(frozen=True)
class Measure:
    """What a sweep shows of every run, out of its table `scores`.

    Attributes:
        score: the column, and `label` what it is called.
        line: the column whose values are told apart.
        rows: a column and its value in the rows that count.
        beside: the value of that column in the rows that they must beat, and `beside_label` what those are called.
        best: `min` or `max`.
    """

    score: str
    label: str
    line: str
    rows: tuple[str, str]
    beside: str
    beside_label: str
    best: str

    @property
    def beside_score(self) -> str:
        """What the score to be beaten is called as a column."""
        return f"{self.score}_of_{self.beside}"

    def read(self, scores: Sequence[Row], value: str) -> dict[Any, float]:
        """The score by line of the rows with that value, the median where there are several."""
        counted = [row for row in scores if row[self.rows[0]] == value]
        lines = dict.fromkeys(row[self.line] for row in counted)
        return {line: median(row[self.score] for row in counted if row[self.line] == line) for line in lines}


@dataclass(frozen=True)
class Found(Checkpointable):
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
class Failed(Checkpointable):
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
    experiment: Experiment[AnySwept],
    settings: AnySwept,
    measure: Measure,
    progress: Progress,
    map_tasks: MapTasks,
    need: "Callable[[DataSet, AnySwept], Need]",
) -> Result:
    """Run an experiment, a function of the module level, at every point of the sweep in its settings.

    Args:
        need: the memory that it takes.

    Raises:
        DataError: the images do not fit.
    """
    names = tuple(axes(settings))
    checksums: dict[str, tuple[str, str]] = {}  # of each data set that is named: what is recorded, and its SHA-256
    tasks: dict[Values, Point] = {}
    taken: list[int] = []
    every: Mapping[Values, Any] = points(settings)
    for name in dict.fromkeys(one.data for one in every.values()):
        data = load(name, progress.warn)
        checksums[name] = data.source, data.sha256
        for one in every.values():
            if one.data == name:
                with suppress(UserError):  # what does not suit the data otherwise is told of its own run
                    taken.append(need(data, one).of(1))
    here = settings.scheduler is None
    require_room(f"a sweep of {len(every)} runs", Need(0, [taken * here]), settings.jobs or 1, ())
    for values, one in every.items():
        source, sha256 = checksums[one.data]
        where = dict(zip(names, values, strict=True))
        called = ", ".join(f"{name} {value}" for name, value in where.items())
        tasks[values] = Point(one.model_copy(update={"data": source}), called, where, sha256)
    progress.expect(len(tasks))

    given = " ".join(sha256 for _, sha256 in checksums.values())
    outcomes = map_tasks(partial(at_point, experiment), tasks, progress, given)
    found = {values: one for values, one in outcomes.items() if isinstance(one, Found)}
    failed = {values: one.reason for values, one in outcomes.items() if isinstance(one, Failed | FailedTask)}
    return report(tasks, found, failed, measure, settings)


def at_point(experiment: Experiment[Any], point: Point, progress: TaskProgress) -> Found | Failed:
    """Do one run."""
    try:
        require_same(loaded(point.settings.data), point.sha256)
        result = experiment(point.settings, Within(point, progress), map_serially)
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

    def expect(self, steps: int, kind: str = "") -> None:
        """It is one step, however many it takes."""

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        """One step of the run is done."""
        self.status(doing)

    def status(self, doing: str) -> None:
        """What the run is at."""
        self.progress.status(f"{self.point.name}: {doing}")

    def record(self, row: Row) -> None:
        """A row of its history."""
        self.progress.record({**titled(self.point.at, row), **row})

    def warn(self, sentence: str) -> None:
        """What changes how its result is read."""
        self.progress.warn(f"{self.point.name}: {sentence}")


def titled(at: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The settings of a point as columns, with another name where that one is taken: a run has a sigma of its own."""
    return {f"swept_{name}" if name in taken else name: value for name, value in at.items()}


def report(
    tasks: Mapping[Values, Point],
    found: Mapping[Values, Found],
    failed: Mapping[Values, str],
    measure: Measure,
    settings: AnySwept,
) -> Result:
    """The table and the figure over the sweep, and all that its runs found."""
    swept = axes(settings)
    read = {values: measure.read(one.scores, measure.rows[1]) for values, one in found.items()}
    beside = {values: measure.read(one.scores, measure.beside) for values, one in found.items()}
    columns = tuple(dict.fromkeys(column for one in found.values() for column in one.columns))
    rows = [{**titled(tasks[values].at, columns), **row} for values, one in found.items() for row in one.scores]
    shown = (measure.line, measure.score, measure.beside_score)
    curves = [
        {**titled(tasks[values].at, shown), **dict(zip(shown, (line, score, beside[values].get(line)), strict=True))}
        for values, scores in read.items()
        for line, score in scores.items()
    ]
    reasons = [*failed.items(), *((values, reason) for values, one in found.items() for reason in one.failures)]
    metrics = {
        "axes": swept,
        "points": [{"settings": tasks[values].at, "metrics": one.metrics} for values, one in found.items()],
        "failed": [{"settings": tasks[values].at, "reason": reason} for values, reason in reasons],
    }
    curve_table = Table((*titled(swept, shown), *shown), curves)
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(tasks, read, beside, measure),
        remarks=remarks(tasks, read, [reason for _, reason in reasons], measure),
        tables={"scores": Table((*titled(swept, columns), *columns), rows), "sweep": curve_table},
        figures={"sweep": partial(draw, curve_table, swept, measure)} if curves else {},
        failures=[reason for _, reason in reasons],
    )


def headline(
    tasks: Mapping[Values, Point],
    read: Mapping[Values, Mapping[Any, float]],
    beside: Mapping[Values, Mapping[Any, float]],
    measure: Measure,
) -> Table:
    """A row per run, and by line a column for its score and one for what it must beat."""
    lines = sorted({line for scores in read.values() for line in scores})
    sides = {measure.label: read, measure.beside_label: beside}
    titles = {(label, line): f"{label}, {measure.line} {line}" for line in lines for label in sides}
    rows = []
    for values, task in tasks.items():
        row = {name: str(value) for name, value in task.at.items()}
        for (label, line), title in titles.items():
            score = sides[label].get(values, {}).get(line)
            row[title] = f"{score:.4g}" if score is not None else "failed" * (label == measure.label)
        rows.append(row)
    return Table((*next(iter(tasks.values())).at, *titles.values()), rows)


def remarks(
    tasks: Mapping[Values, Point],
    read: Mapping[Values, Mapping[Any, float]],
    reasons: Sequence[str],
    measure: Measure,
) -> list[str]:
    """Where the score is best, how far that can be trusted, and what failed."""
    choose = {"min": min, "max": max}[measure.best]
    best = []
    for line in sorted({line for scores in read.values() for line in scores}):
        scores = {values: one[line] for values, one in read.items() if line in one}
        values = choose(scores, key=scores.__getitem__)
        best.append(f"{scores[values]:.4g} at {measure.line} {line} with {tasks[values].name}")
    sentences = [f"{len(read)} of {len(tasks)} runs came to a result."]
    if best:
        sentences = [
            f"{sentences[0]} Best {measure.label}: {'; '.join(best)}.",
            "These are test scores: the best of many is flattered. Choose settings by it, and quote what they reach "
            "with seeds that took no part in the choice.",
        ]
    if reasons:
        sentences.append(f"Failed: {together(reasons)}.")
    return sentences


def draw(curves: Table, swept: Mapping[str, Sequence[Any]], measure: Measure) -> "Figure":
    """A panel per axis: every run a point, a line through the median over the other axes, dashes for what to beat."""
    columns = titled(swept, (measure.line, measure.score, measure.beside_score))
    across = min(len(swept), PANELS_ACROSS)
    figure, grid = panels(-(-len(swept) // across), across, (3.0, 2.7), sharey=True)
    places = list(grid.flat)
    for place in places[len(swept) :]:
        place.set_axis_off()
    for place, column, (name, values) in zip(places, columns, swept.items(), strict=False):
        lines = sorted({row[measure.line] for row in curves.rows})
        for line, colour in zip(lines, colours(len(lines)), strict=True):
            own = [row for row in curves.rows if row[measure.line] == line]
            look: Any = {"color": colour}
            runs = [(values.index(row[column]), row[measure.score]) for row in own]
            place.plot(*zip(*runs, strict=True), ".", alpha=0.4, markersize=5, **look)
            label = str(line) if place is places[0] else None
            place.plot(*middle(own, column, values, measure.score), "_-", markersize=8, label=label, **look)
            place.plot(*middle(own, column, values, measure.beside_score), "_--", alpha=0.6, linewidth=1, **look)
        place.set(xlim=(-0.4, len(values) - 0.6), xlabel=name)
        place.set_xticks(range(len(values)), [clipped(str(value)) for value in values])
    grid[0, 0].set_ylabel(measure.label)
    title = f"{measure.line}\ndashed: {measure.beside_label}"
    figure.legend(title=title, loc="outside right upper", fontsize=8, title_fontsize=8)
    return figure


def middle(rows: Sequence[Row], column: str, values: Sequence[Any], score: str) -> tuple[list[int], list[float]]:
    """Places along an axis, and the median score there, where there is any."""
    there = {
        place: [row[score] for row in rows if row[column] == value and row[score] is not None]
        for place, value in enumerate(values)
    }
    return [place for place, found in there.items() if found], [median(found) for found in there.values() if found]
