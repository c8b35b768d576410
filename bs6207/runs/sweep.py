"""Sweeps: an experiment at every combination of some values of its settings, each run a task of its own.

KEY=A,B,C                 these values
KEY=LOW:HIGH:COUNT        COUNT values with the same difference, both ends included
KEY=LOW:HIGH:COUNT:log    with the same ratio
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, TypeAlias, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, TypeAdapter, ValidationError, model_validator

from bs6207.errors import UserError, suggest, together
from bs6207.runs.memory import Need, require_room
from bs6207.runs.progress import Experiment, FailedTask, MapTasks, Progress, TaskProgress, map_serially
from bs6207.runs.result import Checkpointable, Result, Row, Table
from bs6207.runs.settings import Settings, complaint, setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_RUNS = 10_000
MAX_VALUES = 4096  # on one axis
NOT_SWEPT = ("device", "sweep")  # of the settings that are recorded
DIGITS = 12  # of values with the same ratio: 0.01 between 0.001 and 0.1, not 0.010000000000000002
INTEGER_TOLERANCE = 1e-9  # relative
GRAMMAR = "KEY=A,B,C or KEY=LOW:HIGH:COUNT[:log], such as lr=0.01:1:8:log"
PANELS_ACROSS = 3

Values: TypeAlias = tuple[Any, ...]  # of the axes, in their order


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
    """Parse the axes of a sweep.

    Args:
        kinds: the types of the settings that can be swept, by name.

    Raises:
        ValueError: a text cannot be parsed, or names a setting or a value twice; the message says what to write.
    """
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
        raise ValueError(f"{name} {complaint(failure)}") from None
    are_plain = all(isinstance(value, str | int | float) for value in values)  # a range of blurs is read by its model
    return Axis(name, tuple(values if are_plain else texts), "list")


def read_range(name: str, written: str, number: type) -> Axis:
    """Parse LOW:HIGH:COUNT or LOW:HIGH:COUNT:log."""
    text = f"{name}={written}"
    low_text, high_text, count_text, *rest = (*written.split(":"), "", "")
    if written.count(":") < 2 or [part.lower() for part in rest if part] not in ([], ["log"]) or written.endswith(":"):
        raise ValueError(f"{text!r} is no axis; write {GRAMMAR}")
    try:
        low, high, count = float(low_text), float(high_text), int(count_text)
    except ValueError:
        raise ValueError(f"{text!r}: write numbers for LOW and HIGH, a whole one for COUNT") from None
    is_log = bool(rest[0])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{text!r}: LOW must be less than HIGH, and both finite")
    if is_log and low <= 0:
        raise ValueError(f"{text!r}: LOW must be above 0 with log")
    if not 2 <= count <= MAX_VALUES:
        raise ValueError(f"{text!r}: COUNT must be from 2 to {MAX_VALUES}")
    places = range(1, count - 1)
    if is_log:
        between = [float(f"{low * (high / low) ** (place / (count - 1)):.{DIGITS}g}") for place in places]
    else:
        between = [low + (high - low) / (count - 1) * place for place in places]
    values = [low, *between, high]
    if number is int:
        if any(abs(value - round(value)) > INTEGER_TOLERANCE * abs(value) for value in values):
            raise ValueError(f"{text!r} falls between whole numbers; list them, as in {name}=2,4,8")
        values = [round(value) for value in values]
    return Axis(name, tuple(values), "log" if is_log else "linear")


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
        texts.append(f"{key}={values if isinstance(values, str) else ','.join(map(to_text, values))}")
    return texts


def to_text(value: Any) -> str:
    """A value as it is written on the command line."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, dict | list) or "," in text:
        raise ValueError(f"{text} cannot be a value of a sweep; give numbers and words")
    return text


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

    @model_validator(mode="after")
    def check_sweep(self) -> Self:
        expand(self)
        return self


AnySwept = TypeVar("AnySwept", bound=SweptSettings)


def swept_values(settings: SweptSettings) -> dict[str, list[Any]]:
    """The values of every setting that is swept over; of one that takes a list, each alone.

    Raises:
        ValueError: the sweep cannot be read; the message says what to write instead.
    """
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


def expand(settings: AnySwept) -> dict[Values, AnySwept]:
    """The settings of every run of a sweep, by the values of the axes; empty without a sweep.

    Raises:
        ValueError: the sweep cannot be read, or settings are refused; the message names the first.
    """
    axes = swept_values(settings)
    if not axes:
        return {}
    plain = settings.model_dump(exclude={"sweep"})
    runs = {}
    try:
        for values in product(*axes.values()):
            changes = {
                name: [value] if isinstance(plain[name], list) else value
                for name, value in zip(axes, values, strict=True)
            }
            runs[values] = type(settings).model_validate(plain | changes)
            runs[values].model_fields_set.intersection_update((*settings.model_fields_set, *axes))
    except ValidationError as failure:
        place = next(iter(failure.errors()[0]["loc"]), "")
        raise ValueError(f"--sweep: {place} {complaint(failure)}".replace("  ", " ")) from None
    return runs


@dataclass(frozen=True)
class Measure:
    """The score that a sweep compares, in the table `scores` of every run.

    Attributes:
        score: the column, and `label` its name in tables and figures.
        line: the column that distinguishes several scores of one run.
        rows: a column and its value in the rows that count.
        beside: the value of that column in the rows of the baseline, and `beside_label` the name of the baseline.
        best: `min` or `max`.
    """

    score: str
    label: str
    line: str
    rows: tuple[str, str]
    beside: str
    beside_label: str
    best: Literal["min", "max"]

    @property
    def beside_score(self) -> str:
        """The column of the baseline's score."""
        return f"{self.score}_of_{self.beside}"

    def read(self, scores: Sequence[Row], value: str) -> dict[Any, float]:
        """The score by line of the rows with that value, the median where there are several."""
        rows = [row for row in scores if row[self.rows[0]] == value]
        lines = dict.fromkeys(row[self.line] for row in rows)
        return {line: median(row[self.score] for row in rows if row[self.line] == line) for line in lines}


class Data(Protocol):
    """A data set, as far as sweeps know it."""

    @property
    def sha256(self) -> str: ...

    @property
    def source(self) -> str: ...


@dataclass(frozen=True)
class RunTask:
    """One run of a sweep: its settings, its name, the values of the axes, and the checksum of its data."""

    settings: Any
    name: str
    at: dict[str, Any]
    sha256: str


@dataclass(frozen=True)
class RunScores(Checkpointable):
    """The outcome of a run: its table `scores`, and what failed in it while the rest did not."""

    metrics: dict[str, Any]
    columns: tuple[str, ...]
    scores: list[Row]
    failures: list[str]


@dataclass(frozen=True)
class FailedRun(Checkpointable):
    """The outcome of a run without a result."""

    reason: str


def run(
    experiment: Experiment[AnySwept],
    settings: AnySwept,
    measure: Measure,
    progress: Progress,
    map_tasks: MapTasks,
    need: "Callable[[Any, AnySwept], Need]",
    load: Callable[[str, Callable[[str], None]], Data],
    require_data: Callable[[str, str], None],
) -> Result:
    """Run an experiment, a function of the module level, at every point of the sweep in its settings.

    Args:
        need: the memory that the experiment takes with some data and settings.
        load: loads a data set by its name, with a function to warn.
        require_data: raises a UserError, on a worker, unless the data set of that name has that checksum.

    Raises:
        DataError: the images do not fit into memory.
    """
    runs: Mapping[Values, Any] = expand(settings)
    data_sets: dict[str, tuple[str, str]] = {}  # by name: the name that is recorded, and the checksum
    taken: list[int] = []  # bytes of memory
    for name in dict.fromkeys(changed.data for changed in runs.values()):
        data = load(name, progress.warn)
        data_sets[name] = data.source, data.sha256
        for changed in runs.values():
            if changed.data == name:
                with suppress(UserError):  # what else does not suit the data is reported as a failure of that run
                    taken.append(need(data, changed).of(1))
    is_local = settings.scheduler is None
    require_room(f"a sweep of {len(runs)} runs", Need(0, [taken * is_local]), settings.jobs or 1, ())
    tasks: dict[Values, RunTask] = {}
    for values, changed in runs.items():
        source, sha256 = data_sets[changed.data]
        at = dict(zip(swept_values(settings), values, strict=True))
        title = ", ".join(f"{name} {value}" for name, value in at.items())
        tasks[values] = RunTask(changed.model_copy(update={"data": source}), title, at, sha256)
    progress.expect(len(tasks))
    fingerprint = " ".join(sha256 for _, sha256 in data_sets.values())
    outcomes = map_tasks(partial(run_one, experiment, require_data), tasks, progress, fingerprint)
    scores = {values: outcome for values, outcome in outcomes.items() if isinstance(outcome, RunScores)}
    failed = {
        values: outcome.reason for values, outcome in outcomes.items() if isinstance(outcome, FailedRun | FailedTask)
    }
    return report(tasks, scores, failed, measure, settings)


def run_one(
    experiment: Experiment[Any], require_data: Callable[[str, str], None], task: RunTask, progress: TaskProgress
) -> RunScores | FailedRun:
    try:
        require_data(task.settings.data, task.sha256)
        result = experiment(task.settings, TaskProgress(partial(on_event, task, progress)), map_serially)
    except UserError as failure:
        return FailedRun(f"{task.name}: {failure}")
    finally:
        progress.step(task.name)
    scores = result.tables["scores"]
    failures = [f"{task.name}: {reason}" for reason in result.failures]
    return RunScores(result.metrics, tuple(scores.columns), [dict(row) for row in scores.rows], failures)


def on_event(task: RunTask, progress: Progress, kind: str, *values: Any) -> None:
    """Report what a run of the sweep reports; the whole run is one step."""
    if kind == "record":
        progress.record({**titled(task.at, values[0]), **values[0]})
    elif kind == "warn":
        progress.warn(f"{task.name}: {values[0]}")
    elif kind != "expect":
        progress.status(f"{task.name}: {values[0]}")


def titled(at: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Swept settings as columns; one whose name is taken, as by the sigma of a run, is called `swept_NAME`."""
    return {f"swept_{name}" if name in taken else name: value for name, value in at.items()}


def report(
    tasks: Mapping[Values, RunTask],
    outcomes: Mapping[Values, RunScores],
    failed: Mapping[Values, str],
    measure: Measure,
    settings: SweptSettings,
) -> Result:
    """One result of all runs."""
    axes = swept_values(settings)
    scores = {values: measure.read(outcome.scores, measure.rows[1]) for values, outcome in outcomes.items()}
    baselines = {values: measure.read(outcome.scores, measure.beside) for values, outcome in outcomes.items()}
    lines = sorted({line for of_run in scores.values() for line in of_run})
    columns = tuple(dict.fromkeys(column for outcome in outcomes.values() for column in outcome.columns))
    rows = [{**titled(tasks[values].at, columns), **row} for values, run in outcomes.items() for row in run.scores]
    shown = (measure.line, measure.score, measure.beside_score)
    curves = [
        {**titled(tasks[values].at, shown), **dict(zip(shown, (line, score, baselines[values].get(line)), strict=True))}
        for values, of_run in scores.items()
        for line, score in of_run.items()
    ]
    failures = [*failed.items(), *((values, reason) for values, run in outcomes.items() for reason in run.failures)]
    reasons = [reason for _, reason in failures]
    curve_table = Table((*titled(axes, shown), *shown), curves)

    def in_headline(values: Values, line: Any) -> dict[str, str]:
        score, baseline = scores.get(values, {}).get(line), baselines.get(values, {}).get(line)
        return {
            f"{measure.label}, {measure.line} {line}": "failed" if score is None else f"{score:.4g}",
            f"{measure.beside_label}, {measure.line} {line}": "" if baseline is None else f"{baseline:.4g}",
        }

    headline: list[dict[str, str]] = [
        {name: str(value) for name, value in task.at.items()}
        | {title: score for line in lines for title, score in in_headline(values, line).items()}
        for values, task in tasks.items()
    ]
    return Result(
        settings=settings,
        metrics={
            "axes": axes,
            "points": [{"settings": tasks[values].at, "metrics": run.metrics} for values, run in outcomes.items()],
            "failed": [{"settings": tasks[values].at, "reason": reason} for values, reason in failures],
        },
        headline=Table(tuple(headline[0]), headline),
        remarks=remarks(tasks, scores, lines, reasons, measure),
        tables={"scores": Table((*titled(axes, columns), *columns), rows), "sweep": curve_table},
        figures={"sweep": partial(draw, curve_table, axes, measure)} if curves else {},
        failures=reasons,
    )


def remarks(
    tasks: Mapping[Values, RunTask],
    scores: Mapping[Values, Mapping[Any, float]],
    lines: Sequence[Any],
    reasons: Sequence[str],
    measure: Measure,
) -> list[str]:
    best = []
    for line in lines:
        of_line = {values: of_run[line] for values, of_run in scores.items() if line in of_run}
        values = (min if measure.best == "min" else max)(of_line, key=of_line.__getitem__)
        best.append(f"{of_line[values]:.4g} at {measure.line} {line} with {tasks[values].name}")
    sentences = [f"{len(scores)} of {len(tasks)} runs came to a result."]
    if best:
        sentences = [
            f"{sentences[0]} Best {measure.label}: {'; '.join(best)}.",
            "These are test scores: the best of many is flattered. Choose settings by it, and quote what they reach "
            "with seeds that took no part in the choice.",
        ]
    return [*sentences, f"Failed: {together(reasons)}."] if reasons else sentences


def draw(curves: Table, axes: Mapping[str, Sequence[Any]], measure: Measure) -> "Figure":
    """A panel per axis: a point per run, a line through the median over the other axes, dashed for the baseline."""
    from bs6207.figures import clipped, colours, panels

    columns = titled(axes, (measure.line, measure.score, measure.beside_score))
    across = min(len(axes), PANELS_ACROSS)
    figure, grid = panels(-(-len(axes) // across), across, (3.0, 2.7), sharey=True)
    places = list(grid.flat)
    for place in places[len(axes) :]:
        place.set_axis_off()
    for place, column, (name, values) in zip(places, columns, axes.items(), strict=False):
        lines = sorted({row[measure.line] for row in curves.rows})
        for line, colour in zip(lines, colours(len(lines)), strict=True):
            rows = [row for row in curves.rows if row[measure.line] == line]
            look: Any = {"color": colour}
            runs = [(values.index(row[column]), row[measure.score]) for row in rows]
            place.plot(*zip(*runs, strict=True), ".", alpha=0.4, markersize=5, **look)
            label = str(line) if place is places[0] else None
            place.plot(*medians(rows, column, values, measure.score), "_-", markersize=8, label=label, **look)
            place.plot(*medians(rows, column, values, measure.beside_score), "_--", alpha=0.6, linewidth=1, **look)
        place.set(xlim=(-0.4, len(values) - 0.6), xlabel=name)
        place.set_xticks(range(len(values)), [clipped(str(value)) for value in values])
    grid[0, 0].set_ylabel(measure.label)
    title = f"{measure.line}\ndashed: {measure.beside_label}"
    figure.legend(title=title, loc="outside right upper", fontsize=8, title_fontsize=8)
    return figure


def medians(rows: Sequence[Row], column: str, values: Sequence[Any], score: str) -> tuple[list[int], list[float]]:
    """Places along an axis that have scores, and the median score there."""
    scores: dict[int, list[float]] = {}
    for place, value in enumerate(values):
        if there := [row[score] for row in rows if row[column] == value and row[score] is not None]:
            scores[place] = there
    return [*scores], [*map(median, scores.values())]
