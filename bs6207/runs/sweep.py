"""Sweeps: an experiment at every combination of some values of its settings, each run a task of its own.

KEY=A,B,C                 these values
KEY=LOW:HIGH:COUNT        COUNT values with the same difference, both ends included
KEY=LOW:HIGH:COUNT:log    with the same ratio
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BeforeValidator, TypeAdapter, ValidationError, model_validator

from bs6207.errors import UserError, suggest, together
from bs6207.runs.memory import Need, require_room
from bs6207.runs.progress import Experiment, FailedTask, MapTasks, Progress, TaskProgress, map_serially
from bs6207.runs.result import Checkpointable, Result, Row, Table
from bs6207.runs.settings import Settings, message_of, setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_RUNS = 10_000
MAX_VALUES = 4096  # on one axis
NOT_SWEPT = ("device", "sweep")  # of the settings that are recorded
DIGITS = 12  # of values with the same ratio: 0.01 between 0.001 and 0.1, not 0.010000000000000002
INTEGER_TOLERANCE = 1e-9  # relative
GRAMMAR = "KEY=A,B,C or KEY=LOW:HIGH:COUNT[:log], such as lr=0.01:1:8:log"
PANELS_ACROSS = 3

LOOKS: Any = (  # of the line of a score, and of its baseline
    {"marker": "_", "linestyle": "-", "markersize": 8},
    {"marker": "_", "linestyle": "--", "alpha": 0.6, "linewidth": 1},
)


@dataclass(frozen=True)
class Axis(Checkpointable):
    """One setting and the values it takes."""

    name: str
    values: tuple[Any, ...]
    spacing: Literal["list", "linear", "log"]

    @property
    def count(self) -> int:
        return len(self.values)


def read_axes(texts: Sequence[str], kinds: Mapping[str, Any]) -> list[Axis]:
    """Parse the axes of a sweep over settings of these types, by name; ValueError says what to write instead."""
    axes: dict[str, Axis] = {}
    for text in texts:
        key, equals, written = text.partition("=")
        name = key.replace("-", "_")
        if not equals or not written.strip(","):
            raise ValueError(f"{text!r} is no axis; write {GRAMMAR}")
        if name not in kinds:
            raise ValueError(f"{name!r} cannot be swept; {suggest(name, kinds)}")
        if name in axes:
            raise ValueError(f"{name} is swept twice; give all its values at once")
        axes[name] = axis = read_axis(name, written, kinds[name])
        if len(set(axis.values)) < axis.count:
            raise ValueError(f"{name} has a value twice; give each value once")
    return list(axes.values())


def read_axis(name: str, written: str, kind: Any) -> Axis:
    numbers = [part for part in (kind, *get_args(kind)) if part in (int, float)]
    if ":" in written and numbers:
        return read_range(name, written, numbers[0])
    texts = [part for part in written.split(",") if part]
    try:
        values = [TypeAdapter[Any](kind).validate_strings(part) for part in texts]
    except ValidationError as failure:
        raise ValueError(f"{name} {message_of(failure)}") from None
    are_plain = all(isinstance(value, str | int | float) for value in values)  # a range of blurs is read by its model
    return Axis(name, tuple(values if are_plain else texts), "list")


def read_range(name: str, written: str, number: type) -> Axis:
    text = f"{name}={written}"
    if not (parts := re.fullmatch(r"([^:]*):([^:]*):([^:]+?)(:log)?", written, re.IGNORECASE)):
        raise ValueError(f"{text!r} is no axis; write {GRAMMAR}")
    try:
        low, high, count = float(parts[1]), float(parts[2]), int(parts[3])
    except ValueError:
        raise ValueError(f"{text!r}: write numbers for LOW and HIGH, a whole one for COUNT") from None
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"{text!r}: LOW must be less than HIGH, and both finite")
    if parts[4] and low <= 0:
        raise ValueError(f"{text!r}: LOW must be above 0 with log")
    if not 2 <= count <= MAX_VALUES:
        raise ValueError(f"{text!r}: COUNT must be from 2 to {MAX_VALUES}")
    places = range(1, count - 1)
    if parts[4]:
        between = [float(f"{low * (high / low) ** (place / (count - 1)):.{DIGITS}g}") for place in places]
    else:
        between = [low + (high - low) / (count - 1) * place for place in places]
    values = [low, *between, high]
    if number is int:
        if any(abs(value - round(value)) > INTEGER_TOLERANCE * abs(value) for value in values):
            raise ValueError(f"{text!r} falls between whole numbers; list them, as in {name}=2,4,8")
        values = [round(value) for value in values]
    return Axis(name, tuple(values), "log" if parts[4] else "linear")


def from_table(sweep: Any) -> Any:
    """The table of a file, KEY = [A, B] or KEY = "LOW:HIGH:COUNT", as on the command line; anything else unchanged."""
    if not isinstance(sweep, dict):
        return sweep
    if not sweep:
        raise ValueError("the table is empty; list the values of a setting, as in lr = [0.01, 0.02]")
    texts = []
    for key, values in sweep.items():
        if not isinstance(values, list | str) or not values:
            raise ValueError(f"{key} must be a list of values, as in lr = [0.01, 0.02]")
        if isinstance(values, list):
            for value in values:
                if isinstance(value, dict | list) or "," in str(value):
                    raise ValueError(f"{value} cannot be a value of a sweep; give numbers and words")
            values = ",".join(str(value).lower() if isinstance(value, bool) else str(value) for value in values)
        texts.append(f"{key}={values}")
    return texts


Sweep = Annotated[list[str], BeforeValidator(from_table)]


class SweptSettings(Settings):
    """Settings that can be swept over."""

    sweep: Sweep = setting(
        [],
        "Run once for every combination of these values instead: lr=0.001:0.1:5:log batch_size=256,512. In a file, the "
        "table [COMMAND.sweep] with a list of values to each setting.",
        panel="Sweep",
        metavar="KEY=A,B|LOW:HIGH:COUNT[:log]...",
    )

    @property
    def read_as(self) -> dict[str, Any]:
        """Keywords of `sources.load`: how the data are read."""
        return {}

    @model_validator(mode="after")
    def check_sweep(self) -> Self:
        expand(self)
        return self


def swept_values(settings: SweptSettings) -> dict[str, list[Any]]:
    """The values of every setting that is swept over; of one that takes a list, each alone."""
    kinds = {
        name: get_args(info.annotation)[0] if get_origin(info.annotation) is list else info.annotation or str
        for name, info in type(settings).model_fields.items()
        if not info.exclude and name not in NOT_SWEPT
    }
    try:
        values = {axis.name: list(axis.values) for axis in read_axes(settings.sweep, kinds)}
    except ValueError as failure:
        raise ValueError(f"--sweep: {failure}") from None
    if (count := math.prod(map(len, values.values()))) > MAX_RUNS:
        raise ValueError(f"--sweep: {count:,} combinations are too many; {MAX_RUNS:,} are the most")
    return values


def expand(settings: SweptSettings) -> dict[tuple[Any, ...], Any]:
    """The settings of every run of a sweep, by the values of the axes; empty without one, ValueError if refused."""
    axes = swept_values(settings)
    plain, runs = settings.model_dump(exclude={"sweep"}), {}
    for values in product(*axes.values()) if axes else ():
        swept = dict(zip(axes, values, strict=True))
        changes = {name: [value] if isinstance(plain[name], list) else value for name, value in swept.items()}
        try:
            runs[values] = type(settings).model_validate(plain | changes)
        except ValidationError as failure:
            place = next(iter(failure.errors()[0]["loc"]), "")
            raise ValueError(f"--sweep: {place} {message_of(failure)}".replace("  ", " ")) from None
        runs[values].model_fields_set.intersection_update((*settings.model_fields_set, *axes))
    return runs


@dataclass(frozen=True)
class Measure:
    """The score that a sweep compares, in the table `scores` of every run."""

    score: str  # its column
    label: str  # its name in tables and figures
    line: str  # the column that distinguishes several scores of one run
    rows: tuple[str, str]  # a column and its value in the rows that count
    beside: str  # the value of that column in the rows of the baseline
    beside_label: str  # the name of the baseline
    best: Literal["min", "max"]

    @property
    def columns(self) -> tuple[str, str, str]:
        """Of the table of a sweep: the line, its score, and that of the baseline."""
        return self.line, self.score, f"{self.score}_of_{self.beside}"

    def read(self, rows: Sequence[Row]) -> dict[Any, tuple[float | None, float | None]]:
        """By line the score and that of the baseline, the median of several rows; None where there are none."""
        found: dict[str, dict[Any, list[float]]] = {self.rows[1]: {}, self.beside: {}}
        for row in rows:
            if row[self.rows[0]] in found:
                found[row[self.rows[0]]].setdefault(row[self.line], []).append(row[self.score])
        ours, theirs = ({line: median(scores) for line, scores in by_line.items()} for by_line in found.values())
        return {line: (ours.get(line), theirs.get(line)) for line in ours | theirs}


@dataclass(frozen=True)
class RunTask:
    """One run of a sweep."""

    settings: Any
    name: str
    at: dict[str, Any]  # values by axis
    sha256: str  # of its data


@dataclass(frozen=True)
class RunScores(Checkpointable):
    """The outcome of a run: its metrics, None if it failed, its table `scores`, and why it or some of it failed."""

    metrics: dict[str, Any] | None
    columns: tuple[str, ...]
    scores: list[Row]
    failures: list[str]


def run(
    experiment: Experiment,
    settings: SweptSettings,
    measure: Measure,
    progress: Progress,
    map_tasks: MapTasks,
    need: "Callable[[Any, Any], Need]",
    load: Callable[..., Any],
    require_data: Callable[..., Any],
) -> Result:
    """Run an experiment, a function of the module level, at every point of the sweep in its settings.

    Args:
        need: the memory that the experiment takes with some data and settings.
        load: loads a data set by its name, with a function to warn, and as the keywords `read_as` of settings say.
        require_data: raises a UserError, on a worker, unless the data set of that name, so read, has that checksum.
    """
    runs = expand(settings)
    data_sets: dict[Any, tuple[str, str]] = {}  # by name and reading: the name that is recorded, and the checksum
    taken: list[int] = []  # bytes of memory
    for key in dict.fromkeys(map(data_key, runs.values())):
        first = next(changed for changed in runs.values() if data_key(changed) == key)
        data = load(first.data, progress.warn, **first.read_as)
        data_sets[key] = data.source, data.sha256
        for changed in runs.values():
            if data_key(changed) == key:
                with suppress(UserError):  # what else does not suit the data is reported as a failure of that run
                    taken.append(need(data, changed).of(1))
    is_local = settings.scheduler is None
    require_room(f"a sweep of {len(runs)} runs", Need(0, [taken * is_local]), settings.jobs or 1, ())
    axes, tasks = swept_values(settings), {}
    for values, changed in runs.items():
        source, sha256 = data_sets[data_key(changed)]
        at = dict(zip(axes, values, strict=True))
        title = ", ".join(f"{name} {value}" for name, value in at.items())
        tasks[values] = RunTask(changed.model_copy(update={"data": source}), title, at, sha256)
    progress.expect(len(tasks))
    fingerprint = " ".join(sha256 for _, sha256 in data_sets.values())
    outcomes = map_tasks(partial(run_one, experiment, require_data), tasks, progress, fingerprint)
    outcomes |= {
        values: RunScores(None, (), [], [outcome.reason])
        for values, outcome in outcomes.items()
        if isinstance(outcome, FailedTask)
    }
    return report([*zip(tasks.values(), outcomes.values(), strict=True)], axes, measure, settings)


def data_key(settings: Any) -> tuple[Any, ...]:
    """What distinguishes the images of one run from those of another."""
    return settings.data, *settings.read_as.values()


def run_one(
    experiment: Experiment, require_data: Callable[..., Any], task: RunTask, progress: TaskProgress
) -> RunScores:
    def on_event(kind: str, *values: Any) -> None:
        """Report what the run reports; the whole run is one step."""
        if kind == "record":
            progress.record({**titled(task.at, values[0]), **values[0]})
        elif kind != "expect":
            (progress.warn if kind == "warn" else progress.status)(f"{task.name}: {values[0]}")

    try:
        require_data(task.settings.data, task.sha256, **task.settings.read_as)
        result = experiment(task.settings, TaskProgress(on_event), map_serially)
    except UserError as failure:
        return RunScores(None, (), [], [f"{task.name}: {failure}"])
    finally:
        progress.step(task.name)
    scores, failures = result.tables["scores"], [f"{task.name}: {reason}" for reason in result.failures]
    return RunScores(result.metrics, tuple(scores.columns), [dict(row) for row in scores.rows], failures)


def titled(at: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Swept settings as columns; one whose name is taken, as by the sigma of a run, is called `swept_NAME`."""
    return {f"swept_{name}" if name in taken else name: value for name, value in at.items()}


def report(
    runs: Sequence[tuple[RunTask, RunScores]], axes: Mapping[str, Any], measure: Measure, settings: SweptSettings
) -> Result:
    done = [(task, outcome) for task, outcome in runs if outcome.metrics is not None]
    failed = [(task, outcome) for task, outcome in runs if outcome.metrics is None]
    failures = [(task, reason) for task, outcome in (*failed, *done) for reason in outcome.failures]
    reasons = [reason for _, reason in failures]
    columns = tuple(dict.fromkeys(column for _, outcome in done for column in outcome.columns))
    rows = [{**titled(task.at, columns), **row} for task, outcome in done for row in outcome.scores]

    read = [(task, measure.read(outcome.scores)) for task, outcome in runs]
    points = [(task, line, *both) for task, by_line in read for line, both in by_line.items() if both[0] is not None]
    lines = sorted({line for _, line, *_ in points})
    curves = [
        {**titled(task.at, measure.columns), **dict(zip(measure.columns, point, strict=True))}
        for task, *point in points
    ]
    curve_table = Table((*titled(axes, measure.columns), *measure.columns), curves)

    headline = [{name: str(value) for name, value in task.at.items()} for task, _ in read]
    for row, (_, by_line) in zip(headline, read, strict=True):
        for line in lines:
            score, baseline = by_line.get(line, (None, None))
            row[f"{measure.label}, {measure.line} {line}"] = "failed" if score is None else f"{score:.4g}"
            row[f"{measure.beside_label}, {measure.line} {line}"] = "" if baseline is None else f"{baseline:.4g}"

    remarks = [f"{len(done)} of {len(runs)} runs came to a result."]
    best = []
    for line in lines:
        of_line = [(score, task.name) for task, other, score, _ in points if other == line]
        score, name = (min if measure.best == "min" else max)(of_line, key=itemgetter(0))
        best.append(f"{score:.4g} at {measure.line} {line} with {name}")
    if best:
        remarks[0] += f" Best {measure.label}: {'; '.join(best)}."
        remarks.append(
            "These are test scores: the best of many is flattered. Choose settings by it, and quote what they reach "
            "with seeds that took no part in the choice."
        )
    return Result(
        settings=settings,
        metrics={
            "axes": axes,
            "points": [{"settings": task.at, "metrics": outcome.metrics} for task, outcome in done],
            "failed": [{"settings": task.at, "reason": reason} for task, reason in failures],
        },
        headline=Table(tuple(headline[0]), headline),
        remarks=[*remarks, f"Failed: {together(reasons)}."] if reasons else remarks,
        tables={"scores": Table((*titled(axes, columns), *columns), rows), "sweep": curve_table},
        figures={"sweep": partial(draw, curve_table, axes, measure)} if curves else {},
        failures=reasons,
    )


def draw(curves: Table, axes: Mapping[str, Sequence[Any]], measure: Measure) -> "Figure":
    """A panel per axis: a point per run, a line through the median over the other axes, dashed for the baseline."""
    from bs6207.figures import clipped, colours, panels

    across = min(len(axes), PANELS_ACROSS)
    figure, grid = panels(-(-len(axes) // across), across, (3.0, 2.7), sharey=True)
    for place in grid.flat[len(axes) :]:
        place.set_axis_off()
    line_column, *scores = measure.columns
    lines = sorted({row[line_column] for row in curves.rows})
    for place, column, (name, values) in zip(grid.flat, titled(axes, measure.columns), axes.items(), strict=False):
        for line, colour in zip(lines, colours(len(lines)), strict=True):
            rows = [row for row in curves.rows if row[line_column] == line]
            runs = [(values.index(row[column]), row[measure.score]) for row in rows]
            place.plot(*zip(*runs, strict=True), ".", color=colour, alpha=0.4, markersize=5)
            for score, look in zip(scores, LOOKS, strict=True):
                found = {
                    number: [row[score] for row in rows if row[column] == value and row[score] is not None]
                    for number, value in enumerate(values)
                }
                medians = {number: median(there) for number, there in found.items() if there}
                label = str(line) if place is grid[0, 0] and score == measure.score else None
                place.plot([*medians], [*medians.values()], color=colour, label=label, **look)
        place.set(xlim=(-0.4, len(values) - 0.6), xlabel=name)
        place.set_xticks(range(len(values)), [clipped(str(value)) for value in values])
    grid[0, 0].set_ylabel(measure.label)
    title = f"{line_column}\ndashed: {measure.beside_label}"
    figure.legend(title=title, loc="outside right upper", fontsize=8, title_fontsize=8)
    return figure
