"""Run independent tasks, here or on workers, resume those that were interrupted, and report in the order of the tasks.

A task is an argument of a function of the module level; its outcome must not depend on the process that runs it. Every
outcome is saved at once, so a worker or a run that is killed loses only what it was working on.
"""

import hashlib
import queue
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bs6207.errors import memory_shortage
from bs6207.runs.checkpoint import Checkpoint
from bs6207.runs.executor import ProcessExecutor, WorkerLost
from bs6207.runs.progress import FailedTask, OnEvent, Progress, TaskProgress
from bs6207.runs.result import Row

if TYPE_CHECKING:
    from bs6207.runs.dask import DaskExecutor

POLL_INTERVAL = 0.2  # seconds between two chances to handle a signal
MAX_ATTEMPTS = 2  # workers that a task may lose


def map_tasks(
    executor: "ProcessExecutor | DaskExecutor | None",
    folder: Path | None,
    function: Callable[[Any, TaskProgress], Any],
    tasks: Mapping[Any, Any],
    progress: Progress,
    fingerprint: str = "",
) -> dict[Any, Any]:
    """Apply a function to all tasks but those whose outcomes are saved in `folder`; see `map_serially`.

    A task whose worker dies is run again while no other runs, as another may have taken the memory; it fails when its
    worker dies again.

    Args:
        executor: None for this process, which also runs a single task, so that no worker need be started.
        folder: for checkpoints; None for none.
    """
    tracker = TaskTracker(tasks, folder, progress, fingerprint)
    if executor is None or (executor.is_local and len(tracker.unfinished) <= 1):
        for key in tracker.unfinished:
            on_event = partial(tracker.on_event, key)
            tracker.finish(key, run_task(function, tasks[key], task_name(key), tracker.checkpoint(key), on_event))
        return tracker.outcomes

    events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
    running, suspects = set[Any](), list[Any]()

    def submit(key: Any) -> None:
        running.add(key)
        checkpoint = tracker.checkpoint(key) if executor.is_local else None
        call = partial(run_task, function, tasks[key], task_name(key), checkpoint)
        future = executor.submit(call, lambda *event: events.put((key, *event)))
        future.add_done_callback(lambda future: events.put((key, "done", future)))

    for key in tracker.unfinished:
        submit(key)
    while tracker.unfinished:
        try:
            key, kind, *values = events.get(timeout=POLL_INTERVAL)
        except queue.Empty:
            continue
        if kind != "done":
            tracker.on_event(key, kind, *values)
            continue
        running.remove(key)
        if not isinstance(lost := values[0].exception(), WorkerLost):
            tracker.finish(key, values[0].result())
        elif tracker.on_worker_lost(key, lost):
            suspects.append(key)
        if suspects and not running:
            submit(suspects.pop(0))
    return tracker.outcomes


def run_task(
    function: Callable[[Any, TaskProgress], Any], task: Any, name: str, checkpoint: Checkpoint | None, on_event: OnEvent
) -> Any:
    """Run one task in this process, whichever it is; MemoryShortage if it does not fit into memory, which all share."""
    try:
        return function(task, TaskProgress(on_event, checkpoint))
    except (MemoryError, OSError, RuntimeError) as failure:
        if shortage := memory_shortage(failure, name):
            raise shortage from failure
        raise


@dataclass
class TaskState:
    """What is known of one task."""

    rows: list[Row] = field(default_factory=list)  # reported by the current worker
    steps: list[str] = field(default_factory=list)  # likewise, by their kinds
    recorded: int = 0  # of the rows: how many were passed on
    counted: int = 0  # of the steps, likewise
    starts: int = 0  # on workers of a cluster
    lost_workers: int = 0
    finished: bool = False
    outcome: Any = None


class TaskTracker:
    """Passes on what tasks report, and saves their outcomes.

    Steps are shown as they happen. History is in the order of the tasks: rows of the first unfinished task are
    recorded as they come, those of later tasks when the ones before have finished.
    """

    def __init__(self, keys: Iterable[Any], folder: Path | None, progress: Progress, fingerprint: str):
        self.folder, self.progress, self.fingerprint = folder, progress, fingerprint
        self.states = {key: TaskState() for key in keys}
        for key, state in self.states.items():
            if (done := self.checkpoint(key, "done")) and (saved := done.load(progress.warn)):
                state.rows, state.outcome, state.finished = saved["rows"], saved["outcome"], True
                for kind in saved["steps"]:
                    progress.step(f"{task_name(key)}, from before the interruption", kind, 0.0)
        self.record_rows()

    def checkpoint(self, key: Any, suffix: str = "part") -> Checkpoint | None:
        return Checkpoint(self.folder / f"{task_name(key)}.{suffix}", self.fingerprint) if self.folder else None

    @property
    def unfinished(self) -> list[Any]:
        return [key for key, state in self.states.items() if not state.finished]

    @property
    def outcomes(self) -> dict[Any, Any]:
        return {key: state.outcome for key, state in self.states.items()}

    def on_event(self, key: Any, kind: str, *values: Any) -> None:
        """Pass on what a task reports, unless a worker that has died reported it before.

        Beside those of `Progress` there are two events: `start` on a worker of a cluster, and `replay` before all
        events of a task are reported again.
        """
        state = self.states[key]
        if kind == "start":
            state.starts += 1
            if state.starts > 1:
                self.progress.warn(f"a worker died at {task_name(key)}; {values[0]} begins it anew")
        if kind in ("start", "replay"):
            state.rows, state.steps = [], []
        elif kind == "record":
            state.rows += values
            self.record_rows()
        elif kind == "step":
            state.steps.append(values[1])
            if len(state.steps) > state.counted:
                state.counted += 1
                self.progress.step(*values)
        else:
            getattr(self.progress, kind)(*values)

    def record_rows(self) -> None:
        for state in self.states.values():
            for row in state.rows[state.recorded :]:
                self.progress.record(row)
                state.recorded += 1
            if not state.finished:
                return

    def finish(self, key: Any, outcome: Any) -> None:
        state = self.states[key]
        state.outcome, state.finished = outcome, True
        if not isinstance(outcome, FailedTask) and (done := self.checkpoint(key, "done")):
            done.save({"outcome": outcome, "rows": state.rows, "steps": state.steps})
        self.record_rows()

    def on_worker_lost(self, key: Any, lost: WorkerLost) -> bool:
        """Record a lost worker; return whether to retry the task."""
        state = self.states[key]
        state.lost_workers += 1
        state.rows, state.steps = [], []  # the next worker reports them again
        if state.lost_workers < MAX_ATTEMPTS:
            self.progress.warn(f"{lost.problem} at {task_name(key)}; it is run again when no other task runs")
            return True
        died = f"{lost.problem}, {state.lost_workers} times"
        self.finish(key, FailedTask(f"{task_name(key)}: {died}; perhaps for want of memory, so {lost.remedy}"))
        return False


def task_name(key: Any) -> str:
    """A key as part of a file name; one that has to be changed for that gets a checksum, so that it stays unique."""
    text = "-".join(map(str, key)) if isinstance(key, tuple) else str(key)
    plain = re.sub(r"[^\w.-]", "_", text)[:80]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
