"""The bump experiment: a threshold per optimizer, why to believe it, and all paths over one and the same bump."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bs6207.bump.diagram import PhaseDiagram, draw_rows, join_rows, split_rows
from bs6207.bump.figures import SHOWN_STEPS, animation, draw_figures
from bs6207.bump.kernels import Maxima
from bs6207.bump.noise import CHUNK, Survival, survive
from bs6207.bump.optimizers import make_adapter, source_checksum
from bs6207.bump.search import Study, kernel_settings, passes, study, threshold_finder
from bs6207.bump.settings import BumpSettings, file_name
from bs6207.bump.summary import collect_metrics, collect_tables, headline, remarks, trajectories
from bs6207.errors import UserError
from bs6207.runs.progress import FailedTask, MapTasks, Progress, TaskProgress, map_serially
from bs6207.runs.result import Result


def run(settings: BumpSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Compare the optimizers of `settings` on the height they escape."""
    tasks = make_tasks(settings)
    announce(settings, progress)
    outcomes: dict[tuple[Any, ...], Any] = map_tasks(run_task, tasks, progress, source_checksum(settings))
    for outcome in outcomes.values():
        if isinstance(outcome, FailedTask):
            raise UserError(outcome.reason)
    studies: dict[str, Study] = {name: outcomes["threshold", name] for name in settings.names}
    curves: list[Survival] = [outcomes["noise", name] for name in settings.names if settings.noise]
    diagrams = [
        join_rows(name, settings.axes, [outcomes["diagram", name, rows[0]] for rows in split_rows(name, settings.axes)])
        for name in settings.names
        if settings.sweep
    ]
    return report(studies, diagrams, curves, settings, progress)


@dataclass(frozen=True)
class Task:
    """One study of one optimizer: its `threshold`, some rows of its `diagram` under --sweep, or its `noise`."""

    study: str
    name: str
    settings: BumpSettings
    rows: tuple[int, int] = (0, 0)  # the first, and the one after the last


def make_tasks(settings: BumpSettings) -> dict[tuple[Any, ...], Task]:
    tasks: dict[tuple[Any, ...], Task] = {}
    for study_name in ("threshold", "noise") if settings.noise else ("threshold",):
        tasks |= {(study_name, name): Task(study_name, name, settings) for name in settings.names}
    for name in settings.names:
        for rows in split_rows(name, settings.axes):
            tasks["diagram", name, rows[0]] = Task("diagram", name, settings, rows)
    return tasks


def announce(settings: BumpSettings, progress: Progress) -> None:
    """Announce the steps of all tasks, and the frames of the animation."""
    progress.expect(len(settings.names), "threshold")
    for name in settings.names:
        progress.expect(settings.axes[0].count if settings.sweep else 0, f"row of {name}")
        progress.expect(-(-settings.trials // CHUNK) if settings.noise else 0, f"noise of {name}")
    progress.expect((SHOWN_STEPS + 1) * settings.animate, "frame")


def run_task(task: Task, progress: TaskProgress) -> Study | Maxima | Survival:
    name, settings = task.name, task.settings
    adapter = make_adapter(name, settings)
    if task.study == "diagram":
        over = f"{name} over {' and '.join(axis.name for axis in settings.axes)}"
        find = threshold_finder(adapter, settings, lambda doing: progress.status(f"{over}, {doing}"))
        return draw_rows(name, kernel_settings(adapter, settings), settings, task.rows, find, progress)
    if task.study == "noise":
        values, noise, trials = kernel_settings(adapter, settings), settings.noise, settings.trials
        on_progress = partial(progress.step, f"{name} with noise", f"noise of {name}")
        return survive(name, values, noise, trials, settings.steps, settings.seed, on_progress=on_progress)
    outcome = study(adapter, settings, lambda doing: progress.status(f"{name}, {doing}"))
    progress.record({"optimizer": name, "h_max": outcome.metrics["h_max"]})
    progress.step(name, "threshold")
    return outcome


def report(
    studies: dict[str, Study],
    diagrams: Sequence[PhaseDiagram],
    curves: Sequence[Survival],
    settings: BumpSettings,
    progress: Progress,
) -> Result:
    """The metrics with their tables, figures and files."""
    metrics, rows = collect_metrics(studies, diagrams, curves, settings), trajectories(studies, settings)
    landscape = settings.landscape_of(settings.height)
    passed = {name: passes(study.path, landscape) for name, study in studies.items()}
    files = {f"phase_diagram_{file_name(diagram.optimizer)}.npz": diagram.npz() for diagram in diagrams}
    if settings.animate:
        on_frame = partial(progress.step, "animation", "frame")
        files["descent.gif"] = animation(rows, landscape, settings.height, on_frame)
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(metrics["optimizers"], passed, settings),
        remarks=remarks(metrics, studies, settings),
        tables=collect_tables(metrics, rows, diagrams, curves),
        figures=draw_figures(metrics["optimizers"], rows, passed, diagrams, curves, settings),
        files=files,
    )
