"""A run of an experiment: its processes, its folder if it has one, and its result."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from bs6207.errors import require_temporary_folder
from bs6207.runs.caller import uninterrupted
from bs6207.runs.executor import cores, local_executor, map_in_processes
from bs6207.runs.files import failing_writes, fill_with_links, strict_json
from bs6207.runs.folder import matplotlib_folder, open_run
from bs6207.runs.manifest import room_of
from bs6207.runs.progress import Experiment, Progress
from bs6207.runs.report import Report
from bs6207.runs.result import Result, Row
from bs6207.runs.settings import Settings
from bs6207.runs.tasks import map_tasks

MOST_LETTERS = 20  # that are listed as having no font

MakeReport: TypeAlias = Callable[[Callable[[Row], None]], Report]  # takes the function that records rows of history


@dataclass(frozen=True)
class FinishedRun:
    """A run that has ended: its result and what else its folder holds, whether it has one or not."""

    command: str
    result: Result
    folder: Path | None
    started: float  # seconds of the epoch
    seconds: float
    machine: Mapping[str, Any] = field(default_factory=dict)  # for env.json
    history: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # warnings

    def save(self, folder: Path) -> None:
        """Fill a folder as the command does."""
        settings = self.result.settings.model_copy(update={"fresh": True})
        with open_run(self.command, folder, settings) as run:
            run.machine, run.started = self.machine, self.started
            with failing_writes(folder):
                run.write("history.jsonl", "".join(strict_json(row, indent=None) for row in self.history).encode())
                run.write_result(self.result)
                run.write_environment(self.seconds)
        if self.folder is None:  # or they were made as the run ended
            make_links(self.result)


def run_experiment(
    command: str,
    settings: Settings,
    load_experiment: Callable[[], Experiment],
    describe_device: Callable[[str], dict[str, Any]],
    folder: Path | None,
    make_report: MakeReport,
) -> FinishedRun:
    """Run an experiment and, if there is a folder, resume what is there, save checkpoints and publish the result.

    Args:
        load_experiment: imports it, which takes a second, in which the processes start.
        describe_device: what of a device determines the result; an interrupted run resumes on the same only.
    """
    require_temporary_folder()
    settings = settings.model_copy(update={"jobs": settings.jobs or cores()})
    started, history, machine = time.time(), list[Row](), dict[str, Any]()
    with ExitStack() as stack:
        cluster = None
        if settings.scheduler:
            from bs6207.runs.dask import DaskExecutor

            cluster = DaskExecutor(settings.scheduler)
            stack.callback(cluster.close)
        run = stack.enter_context(open_run(command, folder, settings)) if folder else None
        if run:
            stack.enter_context(matplotlib_folder(run))

        def record(row: Row) -> None:
            history.append(row)
            if run:
                run.record(row)

        report = stack.enter_context(make_report(record))
        processes = stack.enter_context(
            local_executor(settings.jobs, [f"bs6207.{room_of(command).replace('/', '.')}.experiment"])
        )
        for remark in filter(None, (run.archived if run else "", cluster.remark if cluster else "")):
            report.warn(remark)

        def map_tasks_of_run(function: Any, tasks: Any, progress: Progress, fingerprint: str = "") -> dict[Any, Any]:
            """Run tasks, with checkpoints in the folder of the run."""
            machine.update(describe_device(settings.chosen_device))
            fingerprint = strict_json([fingerprint, machine], indent=None)
            if run:
                run.machine = machine
                if sentence := run.resume(fingerprint):
                    progress.warn(sentence)
            return map_tasks(cluster or processes, run.cells if run else None, function, tasks, progress, fingerprint)

        with uninterrupted():
            experiment = load_experiment()
            if not getattr(settings, "no_figures", False):
                import bs6207.figures  # noqa: F401
        result = experiment(settings, report, map_tasks_of_run)
        if folder and run:
            with failing_writes(folder):
                without_font = run.write_result(result, partial(map_in_processes, processes))
            if without_font:
                report.warn(
                    f"no installed font has {without_font[:MOST_LETTERS]}, so figures show boxes; install one that "
                    "has, such as Noto Sans of that script"
                )
        seconds = round(time.time() - started, 3)
    if folder:
        make_links(result)
    return FinishedRun(command, result, folder, started, seconds, machine, history, report.notes)


def make_links(result: Result) -> None:
    """Make the links of a result whose run is published, so that one that is killed before can be resumed."""
    if result.links:
        fill_with_links(*result.links)
