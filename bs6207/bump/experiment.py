"""The bump experiment: a threshold per optimizer, why to believe it, and all paths over one and the same bump."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bs6207.bump.adapter import Adapter
from bs6207.bump.diagram import Maxima, grid, join_rows, row_size, split_rows
from bs6207.bump.noise import CHUNK, Survival, survive
from bs6207.bump.optimizers import make_adapter, source_checksum
from bs6207.bump.search import Study, find_all, passes, study
from bs6207.bump.settings import BumpSettings, file_name
from bs6207.bump.summary import collect_metrics, collect_tables, headline, remarks, trajectories
from bs6207.errors import UserError
from bs6207.runs.progress import FailedTask, MapTasks, Progress, TaskProgress, map_serially
from bs6207.runs.result import Drawing, Result


def run(settings: BumpSettings, progress: Progress, map_tasks: MapTasks = map_serially) -> Result:
    """Compare the optimizers of `settings` on the height they escape."""
    names, axes, landscape = settings.names, settings.axes, settings.landscape_of(settings.height)
    announce(settings, progress)
    tasks, code = make_tasks(settings), source_checksum(settings)
    outcomes: dict[tuple[Any, ...], Any] = map_tasks(run_task, tasks, progress, code)
    for outcome in outcomes.values():
        if isinstance(outcome, FailedTask):
            raise UserError(outcome.reason)
    studies: dict[str, Study] = {name: outcomes["threshold", name] for name in names}
    curves: list[Survival] = [outcomes["noise", name] for name in names if settings.noise]
    parts = {name: [outcomes["diagram", name, first] for first, _ in split_rows(name, axes)] for name in names}
    diagrams = [join_rows(name, axes, parts[name]) for name in names if settings.sweep]

    metrics, paths = collect_metrics(studies, diagrams, curves, settings), trajectories(studies, settings)
    passed = {name: passes(study.path, landscape) for name, study in studies.items()}
    files = {f"phase_diagram_{file_name(diagram.optimizer)}.npz": diagram.npz() for diagram in diagrams}
    figures: Mapping[str, Drawing] = {}
    if not settings.no_figures:
        from bs6207.bump.figures import animation, draw_figures  # not before: matplotlib takes longer than all else

        figures = draw_figures(metrics["optimizers"], paths, passed, diagrams, curves, settings)
        if settings.animate:
            on_frame = partial(progress.step, "animation", "frame")
            files["descent.gif"] = animation(paths, landscape, settings.height, on_frame)
    return Result(
        settings=settings,
        metrics=metrics,
        headline=headline(metrics["optimizers"], passed, settings),
        remarks=remarks(metrics, studies, settings),
        tables=collect_tables(metrics, paths, diagrams, curves),
        figures=figures,
        files=files,
    )


@dataclass(frozen=True)
class Task:
    """One study of one optimizer: its `threshold`, some rows of its `diagram` under --sweep, or its `noise`."""

    study: str
    name: str
    settings: BumpSettings
    rows: tuple[int, int] = (0, 0)  # the first, and the one after the last


def make_tasks(settings: BumpSettings) -> dict[tuple[Any, ...], Task]:
    studies = ("threshold", "noise") if settings.noise else ("threshold",)
    tasks: dict[tuple[Any, ...], Task] = {
        (study, name): Task(study, name, settings) for study in studies for name in settings.names
    }
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
    if settings.animate:
        from bs6207.bump.figures import SHOWN_STEPS

        progress.expect(SHOWN_STEPS + 1, "frame")


def run_task(task: Task, progress: TaskProgress) -> Study | Maxima | Survival:
    name, settings = task.name, task.settings
    adapter = make_adapter(name, settings)
    if task.study == "diagram":
        return draw_rows(adapter, settings, task.rows, progress)
    if task.study == "noise":
        on_progress = partial(progress.step, f"{name} with noise", f"noise of {name}")
        return survive(name, adapter.hyperparameters, settings, on_progress)
    outcome = study(adapter, settings, lambda doing: progress.status(f"{name}, {doing}"))
    progress.record({"optimizer": name, "h_max": outcome.metrics["h_max"]})
    progress.step(name, "threshold")
    return outcome


def draw_rows(adapter: Adapter, settings: BumpSettings, rows: tuple[int, int], progress: TaskProgress) -> Maxima:
    """h_max in the cells of some rows of the diagram of --sweep, the last axis fastest."""
    over, rows_done = f"{adapter.name} over {' and '.join(axis.name for axis in settings.axes)}", 0

    def on_cells(cells: int) -> None:
        nonlocal rows_done
        while rows_done < cells // row_size(settings.axes):
            progress.step(over, f"row of {adapter.name}")
            rows_done += 1

    varied = grid(settings.axes, slice(*rows))
    return find_all(adapter, settings, varied, lambda doing: progress.status(f"{over}, {doing}"), on_cells)
