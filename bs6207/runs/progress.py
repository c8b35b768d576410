"""How an experiment reports its progress and has its tasks run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from bs6207.runs.result import Result, Row

CHECKPOINT_INTERVAL = 30  # in times of saving one: checkpoints cost 3 % of the time at most


class Progress(Protocol):
    """Where an experiment reports its progress."""

    def expect(self, steps: int, kind: str = "") -> None:
        """Announce further steps; steps of one kind take about as long."""

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        """Report that a step is done.

        Args:
            doing: a few words on what the step belongs to.
            seconds: how long it took, if not all the time since the step before; 0 if that was before an interruption.
        """

    def status(self, doing: str) -> None:
        """Report what a long step is doing, in a few words."""

    def record(self, row: Row) -> None:
        """Write one row of history, at once."""

    def warn(self, sentence: str) -> None:
        """Show a warning that affects how to read the result."""


OnEvent: TypeAlias = Callable[..., None]  # takes the name of a method of Progress and its arguments


class TaskProgress:
    """Progress of one task, reported as events, and its `Checkpoint`, from which an interrupted task resumes."""

    def __init__(self, on_event: OnEvent, checkpoint: Any = None):
        self.on_event, self.checkpoint = on_event, checkpoint
        self.expect, self.status, self.record, self.warn = (
            partial(on_event, kind) for kind in ("expect", "status", "record", "warn")
        )
        self.steps = self.steps_before = 0  # steps_before: those up to the checkpoint, which are reported again
        self.last_step, self.checkpoint_due = time.monotonic(), 0.0

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        now = time.monotonic()
        self.steps += 1
        if self.steps <= self.steps_before:
            seconds = 0.0
        self.on_event("step", doing, kind, now - self.last_step if seconds is None else seconds)
        self.last_step = now

    def save_checkpoint(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Save the state of the task, in place of the previous one; `state` is called only when a checkpoint is due."""
        if self.checkpoint and (start := time.monotonic()) >= self.checkpoint_due:
            self.checkpoint.save({"steps": self.steps, "state": state()})
            self.checkpoint_due = (end := time.monotonic()) + CHECKPOINT_INTERVAL * (end - start)

    def load_checkpoint(self) -> Mapping[str, Any] | None:
        """Load the state of an interrupted task, None for a new one; its rows and steps must be reported again."""
        saved = self.checkpoint.load(self.warn) if self.checkpoint else None
        if saved is None:
            return None
        self.steps_before = saved["steps"]
        return saved["state"]


@dataclass(frozen=True)
class FailedTask:
    """The outcome of a task that was given up because every worker that ran it died."""

    reason: str


def map_serially(
    function: Callable[[Any, TaskProgress], Any], tasks: Mapping[Any, Any], progress: Progress, fingerprint: str = ""
) -> dict[Any, Any]:
    """Apply a function to all tasks, one after the other in this process, without checkpoints.

    Args:
        tasks: by a key that is unique in this run: a name, or a tuple of names and numbers; so are the outcomes.
        fingerprint: of the data that the outcomes depend on; a checkpoint of other data is not used.
    """

    def on_event(kind: str, *values: Any) -> None:
        getattr(progress, kind)(*values)

    return {key: function(task, TaskProgress(on_event)) for key, task in tasks.items()}


MapTasks: TypeAlias = Callable[..., dict[Any, Any]]  # as `map_serially`; in processes, some may be a `FailedTask`
Experiment: TypeAlias = Callable[[Any, Progress, MapTasks], Result]  # takes its settings first
