"""The bump experiment: a threshold per optimizer, why to believe it, and all paths over one and the same bump."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch

from bs6207.bump import figures
from bs6207.bump.adapter import Candidate, Terrain, descend
from bs6207.bump.candidates import candidate, last_line, sources
from bs6207.bump.diagram import FindSummit, PhaseDiagram, draw_tile, find_all, joined
from bs6207.bump.envelope import Summits
from bs6207.bump.kernels import KERNELS
from bs6207.bump.landscape import Landscape, Triangle, Valley
from bs6207.bump.noise import CHUNK, Survival, survive
from bs6207.bump.proof import NoProof, certify, exact_summit
from bs6207.bump.search import (
    TIE,
    Tell,
    Threshold,
    Unrepeatable,
    find_by_envelope,
    find_by_scan,
    find_intervals,
    in_silence,
    leaves,
    passes,
    scanned,
)
from bs6207.bump.settings import BumpSettings, is_exact_possible
from bs6207.bump.summary import headline, hyperparameters, remarks
from bs6207.errors import UserError
from bs6207.runs.progress import FailedTask, MapTasks, Progress, Steps, TaskProgress, map_serially
from bs6207.runs.result import Checkpointable, Drawing, Result, Row, Table
from bs6207.training.devices import prepare
from bs6207.training.optimizers import LR, OPTIMIZERS

SAME = 1e-9  # of the step size or of x; paths nearer to each other than this have not parted
VALLEY_STEPS = 100
TRIED_STEPS = 10_000  # in exact arithmetic, before it is advised; half a second
BAND_POINTS = 257  # distances in one step of L
KERNEL_TILE, TORCH_TILE = 2**16, 2**8  # cells of a diagram to draw at a time, by kernel or through torch; seconds
MOST_ROWS = 2**20  # of a diagram written as CSV too; a larger one is in its npz file only


@dataclass(frozen=True)
class Study(Checkpointable):
    """One optimizer: what metrics.json says of it, its path over the bump of `settings.height`, and in the valley."""

    metrics: dict[str, Any]
    path: Sequence[float]
    in_valley: Sequence[float]


def run(settings: BumpSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Compare the optimizers of `settings` on the height they escape."""
    kinds = ["threshold"] + ["noise"] * bool(settings.noise)
    tasks: dict[tuple[Any, ...], Task] = {
        (kind, name): Task(kind, name, settings) for kind in kinds for name in settings.names
    }
    for name in settings.names:
        for first, last in tiles(name, settings):
            tasks["diagram", name, first] = Task("diagram", name, settings, (first, last))
    progress.expect(len(settings.names), "threshold")
    for name in settings.names:
        progress.expect(rows_drawn(settings), f"row of {name}")
        progress.expect(batches(settings), f"noise of {name}")
    progress.expect((figures.SHOWN_STEPS + 1) * settings.animate, "frame")
    outcomes: dict[tuple[Any, ...], Any] = map_tasks(work, tasks, progress, sources(settings))
    for lost in outcomes.values():
        if isinstance(lost, FailedTask):
            raise UserError(lost.reason)
    diagrams = [
        joined(name, settings.axes, [outcomes["diagram", name, first] for first, _ in tiles(name, settings)])
        for name in settings.names * bool(settings.sweep)
    ]
    curves = [outcomes["noise", name] for name in settings.names * bool(settings.noise)]
    studies = {name: outcomes["threshold", name] for name in settings.names}
    return report(studies, diagrams, curves, settings, progress)


@dataclass(frozen=True)
class Task:
    """One study of one optimizer: its `threshold`, some rows of its `diagram` under --sweep, or its fate in `noise`."""

    study: str
    name: str
    settings: BumpSettings
    rows: tuple[int, int] = (0, 0)  # the first, and the one after the last


def work(task: Task, progress: TaskProgress) -> Study | Summits | Survival:
    """Do one piece of work."""
    prepare(task.settings.seed)
    walker = candidate(task.name, task.settings)
    if task.study == "diagram":
        return tile(walker, task.settings, slice(*task.rows), progress)
    if task.study == "noise":
        return noisy(walker, task.settings, progress)
    found = study(walker, task.settings, lambda doing: progress.status(f"{task.name}, {doing}"))
    progress.record({"optimizer": task.name, "h_max": found.metrics["h_max"]})
    progress.step(task.name, "threshold")
    return found


def tiles(name: str, settings: BumpSettings) -> list[tuple[int, int]]:
    """The pieces a diagram is drawn in: of each the first row, and the one after the last."""
    if not settings.sweep:
        return []
    rows = settings.axes[0].count
    height = max(1, (KERNEL_TILE if name in KERNELS else TORCH_TILE) // row_size(settings))
    return [(first, min(first + height, rows)) for first in range(0, rows, height)]


def row_size(settings: BumpSettings) -> int:
    """Cells in a row of a diagram; one in a curve."""
    return math.prod(axis.count for axis in settings.axes[1:])


def rows_drawn(settings: BumpSettings) -> int:
    """Rows of each diagram."""
    return settings.axes[0].count if settings.sweep else 0


def batches(settings: BumpSettings) -> int:
    """Batches of noisy paths of each optimizer."""
    return -(-settings.trials // CHUNK) if settings.noise else 0


def study(walker: Candidate, settings: BumpSettings, tell: Tell = in_silence) -> Study:
    """Find the threshold of one optimizer and what certifies it, and follow it over the common bump.

    `tell` is told what it is at where that takes long.
    """
    walk = walk_of(walker, settings)
    try:
        found = find_threshold(walker, settings, tell)
    except Unrepeatable as failure:
        raise UserError(f"{walker.name}: {failure}") from failure
    metrics = {
        "h_max": found.h_max,
        "bracket": found.bracket,
        "step": found.step,
        "margin": found.margin,
        "reason": found.reason,
        "method": found.method,
        "intervals": found.intervals,
        "left_for_good": left_for_good(walk, found, settings),
        "kink": "right",
        "precision": walker.precision,
        "settings": {"distance": settings.distance, "steps": settings.steps, **walker.has},
        "given": walker.given,
        "certificate": certificate(walker, found, settings),
    }
    if settings.exact:
        metrics["exact"] = exact_answer(walker, settings, settings.steps)
    elif found.margin < TIE and is_exact_possible(settings):
        metrics["exact_settles"] = "h_max" in exact_answer(walker, settings, min(settings.steps, TRIED_STEPS))
    if settings.scan and found.h_max is not None:
        metrics["scan"] = scanned(real_height(metrics), settings.scan)
    if settings.band:
        metrics["band"] = band(walker, settings, tell)
    in_valley = walk_of(walker, settings, min(settings.steps, VALLEY_STEPS))(valley(settings))
    return Study(metrics, walk(settings.landscape_of(settings.height)), in_valley)


def valley(settings: BumpSettings) -> Valley:
    """Where the optimizers are compared on slopes from 0 to 4: gradient descent takes some twenty steps to its bottom.

    So gentle, for its step size, that two implementations which only round differently stay together.
    """
    width = 10 * (settings.lr or LR)
    return Valley(bottom=math.pi * width, width=width, steepest=4.0)


def walk_of(walker: Candidate, settings: BumpSettings, steps: int | None = None) -> Callable[[Terrain], list[float]]:
    """The path over a landscape; what goes wrong in an optimizer on the way is told in a sentence."""

    def walk(landscape: Terrain) -> list[float]:
        try:
            return descend(walker, landscape, steps or settings.steps, device_of(settings))
        except (Exception, SystemExit) as failure:
            raise UserError(f"{walker.name} fails on its way: {last_line(failure)}") from failure

    return walk


def real_height(metrics: dict[str, Any]) -> Fraction:
    """h_max, or what is proved of it where float64 is less than `SAME` away from the proof."""
    h_max, proof = Fraction(metrics["h_max"]), metrics["certificate"]
    proved = Fraction(proof["h_max"][0]) if proof["kind"] == "interval" and proof["step"] is not None else h_max
    return proved if abs(proved - h_max) < SAME else h_max


def find_threshold(walker: Candidate, settings: BumpSettings, tell: Tell = in_silence) -> Threshold:
    """The threshold by the envelope where it holds, otherwise by a scan."""
    walk = walk_of(walker, settings)
    if settings.landscape == "triangle" and not walker.looks_elsewhere:
        endless = Triangle(settings.distance, float("inf"), settings.up_slope, settings.tail_slope)
        return find_by_envelope(walk, endless, settings.steps, torch.finfo(walker.handling.dtype).eps)
    return find_by_scan(walk, settings.landscape_of, settings.distance, settings.tallest, tell)


def left_for_good(
    walk: Callable[[Landscape], Sequence[float]], found: Threshold, settings: BumpSettings
) -> float | None:
    """The tallest bump, up to h_max, that is not only passed but left behind; None if none is within the steps."""
    if found.h_max is None:
        return None

    def is_left(height: float) -> bool:
        landscape = settings.landscape_of(height)
        return leaves(walk(landscape), landscape)

    if is_left(found.h_max):
        return found.h_max
    intervals = find_intervals(is_left, found.h_max)
    return intervals[0][1] if intervals else None


def certificate(walker: Candidate, found: Threshold, settings: BumpSettings) -> dict[str, Any]:
    """Why the optimizer never escapes above h_max, or that this is known for so many steps only."""
    known = {"kind": "steps", "steps": settings.steps}
    if found.method == "scan":
        return known | {"reason": "heights were scanned: escaping need not be monotone here"}
    if settings.up_slope != 1:
        return known | {"reason": "proofs are for slopes of -1 and +1 only"}
    own = OPTIMIZERS[walker.name].defaults if walker.name in OPTIMIZERS else walker.hyperparameters
    if unknown := walker.hyperparameters.keys() - own:
        return known | {"reason": f"no proof covers {min(unknown)}"}
    return certify(walker.name, walker.hyperparameters, settings.distance, settings.steps, walker.make)


def exact_answer(walker: Candidate, settings: BumpSettings, steps: int) -> dict[str, Any]:
    """The summit in rational arithmetic, or the reason why there is none."""
    try:
        return exact_summit(walker.name, walker.hyperparameters, settings.distance, steps).report()
    except NoProof as refusal:
        return {"reason": str(refusal)}


def band(walker: Candidate, settings: BumpSettings, tell: Tell) -> dict[str, Any]:
    """h_max over one step of L, from `distance` to `distance` + lr: least, median and greatest."""
    first, last = settings.distance, settings.distance + walker.given.get("lr", LR)
    distances = np.linspace(first, last, BAND_POINTS, endpoint=False)
    cells = 0

    def done(more: int) -> None:
        nonlocal cells
        cells += more
        tell(f"distance {cells} of {BAND_POINTS}")

    found = find_all(
        walker.name, plain(walker, settings), {"distance": distances}, settings.steps, asker(walker, settings), done
    )
    heights = found.h_max[np.isfinite(found.h_max)]
    low, middle, high = np.quantile(heights, (0, 0.5, 1)) if heights.size else (None,) * 3
    return {"distances": [first, last], "points": BAND_POINTS, "low": low, "median": middle, "high": high}


def tile(walker: Candidate, settings: BumpSettings, part: slice, progress: Steps) -> Summits:
    """h_max over some rows of the settings of --sweep."""
    cells, row = 0, row_size(settings)
    over = " and ".join(axis.name for axis in settings.axes)

    def done(more: int) -> None:
        nonlocal cells
        for _ in range((cells + more) // row - cells // row):
            progress.step(f"{walker.name} over {over}", f"row of {walker.name}")
        cells += more

    ask = asker(walker, settings, lambda doing: progress.status(f"{walker.name} over {over}, {doing}"))
    return draw_tile(walker.name, settings.axes, part, plain(walker, settings), settings.steps, ask, done)


def noisy(walker: Candidate, settings: BumpSettings, progress: Steps) -> Survival:
    """How often bumps are escaped under --noise."""
    return survive(
        walker.name,
        plain(walker, settings),
        settings.noise,
        settings.trials,
        settings.steps,
        settings.seed,
        done=lambda paths: progress.step(f"{walker.name} with noise", f"noise of {walker.name}"),
    )


def plain(walker: Candidate, settings: BumpSettings) -> dict[str, Any]:
    """All that a kernel is told."""
    return walker.hyperparameters | {"distance": settings.distance, "up_slope": settings.up_slope}


def asker(walker: Candidate, settings: BumpSettings, tell: Tell = in_silence) -> FindSummit:
    """The threshold through torch, as a function of the settings that vary."""

    def find_summit(**varied: float) -> tuple[float | None, int, float]:
        changed = settings.model_copy(update=varied)
        found = find_threshold(candidate(walker.name, changed), changed, tell)
        return 0.0 if found.touches_foot else found.h_max, found.step, found.margin

    return find_summit


def device_of(settings: BumpSettings) -> str:
    """`auto` is the CPU: there is one number to move."""
    return "cpu" if settings.device == "auto" else settings.device


def report(
    studies: dict[str, Study],
    diagrams: list[PhaseDiagram],
    curves: list[Survival],
    settings: BumpSettings,
    progress: Progress,
) -> Result:
    """Rows, tables and figures of what was found."""
    landscape = settings.landscape_of(settings.height)
    found = {name: one.metrics for name, one in studies.items()}
    paths = {name: one.path for name, one in studies.items()}
    trajectories = Table(
        ("optimizer", "step", "x", "loss", "slope"),
        [row for name, path in paths.items() for row in trajectory(name, path, landscape)],
    )
    passed = {name: passes(path, landscape) for name, path in paths.items()}
    metrics: dict[str, Any] = {
        "optimizers": found,
        "parity": [parting(pair, studies, settings) for pair in combinations(found, 2)],
    }
    held = [
        {"optimizer": name, "hyperparameter": key, "value": value}
        for name, one in found.items()
        for key, value in hyperparameters(one).items()
    ]
    tables = {
        "trajectories": trajectories,
        "hyperparameters": Table(("optimizer", "hyperparameter", "value"), held),
    }
    drawings: dict[str, Drawing] = {
        "trajectory": partial(figures.trajectory, trajectories, found, landscape, passed, settings.height),
        "thresholds": partial(figures.thresholds, found),
    }
    files = {}
    if diagrams:
        metrics["phase_diagrams"] = {one.optimizer: one.metrics() for one in diagrams}
    if len(settings.axes) == 1:
        drawings["sweep"] = partial(figures.sweep, diagrams)
    for one in diagrams:
        name = f"phase_diagram_{file_name(one.optimizer)}"
        files[f"{name}.npz"] = one.npz()
        if len(settings.axes) > 1:
            drawings[name] = partial(figures.phase_diagram, one)
        if one.h_max.size <= MOST_ROWS:
            tables[name] = one.table()
    if curves:
        metrics["noise"] = {one.optimizer: one.metrics() for one in curves}
        tables |= {f"survival_{file_name(one.optimizer)}": one.table() for one in curves}
        drawings["survival"] = partial(figures.survival, curves)
    if len(found) > 1:
        tables["parity"] = fingerprints(metrics["parity"])
    if settings.animate:
        drawn = partial(progress.step, "animation", "frame")
        files["descent.gif"] = figures.animation(trajectories, landscape, settings.height, drawn)
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(found, passed, settings),
        remarks=remarks(metrics, paths, settings),
        tables=tables,
        figures=drawings,
        files=files,
    )


def trajectory(name: str, path: Sequence[float], landscape: Landscape) -> list[Row]:
    """One row per step of a path."""
    return [
        {"optimizer": name, "step": step, "x": x, "loss": landscape.loss(x), "slope": landscape.slope(x)}
        for step, x in enumerate(path)
    ]


def parting(pair: tuple[str, str], studies: Mapping[str, Study], settings: BumpSettings) -> dict[str, Any]:
    """Whether two optimizers walk alike, over the common bump and in a valley, where slopes vary.

    `landscape` is where they part, and `first_step` the first step at which they are apart; both are None if they never
    part. `difference` is how far, or the greatest distance if they never part; None where only one of them, that in
    `not_finite`, has no finite x.
    """
    one, other = (studies[name] for name in pair)
    walks = {
        "bump": (one.path, other.path, SAME),
        "valley": (one.in_valley, other.in_valley, SAME * valley(settings).width),
    }
    told: dict[str, Any] = {"landscape": None, "first_step": None, "difference": 0.0, "not_finite": None}
    for landscape, (path, path_of_other, same) in walks.items():
        apart = [abs(x - y) for x, y in zip(path, path_of_other, strict=False)]
        first = next((step for step, distance in enumerate(apart) if distance > same * max(1, abs(path[step]))), None)
        if first is not None:
            told |= {"landscape": landscape, "first_step": first, "difference": apart[first]}
            break
        if len(path) != len(path_of_other):
            ended = pair[len(path_of_other) < len(path)]
            told |= {"landscape": landscape, "first_step": len(apart), "difference": None, "not_finite": ended}
            break
        told["difference"] = max(told["difference"], *apart)
    heights = [study.metrics["h_max"] for study in (one, other)]
    return {"optimizers": pair, **told, "agree": told["landscape"] is None, "h_max": heights}


def fingerprints(parity: Sequence[dict[str, Any]]) -> Table:
    """The pairs of `parting`, one row each."""
    rows = [
        dict(zip(("one", "other"), pair["optimizers"], strict=True))
        | dict(zip(("h_max_of_one", "h_max_of_other"), pair["h_max"], strict=True))
        | {key: pair[key] for key in ("landscape", "first_step", "difference", "not_finite", "agree")}
        for pair in parity
    ]
    return Table(tuple(rows[0]), rows)


def file_name(optimizer: str) -> str:
    """An optimizer's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in optimizer)
