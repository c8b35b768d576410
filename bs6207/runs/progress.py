"""How an experiment reports its progress and has its tasks run: the protocols, and the serial case."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from bs6207.runs.result import Result, Row, State
from bs6207.runs.settings import Settings


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


class Checkpoint(Protocol):
    """Where the state of one task is saved (runs/checkpoint.py)."""

    def save(self, value: Any) -> None:
        """Save a value in place of the previous one."""

    def load(self, warn: Callable[[str], None]) -> Any | None:
        """Load the value saved last, None if there is none."""


OnEvent: TypeAlias = Callable[..., None]  # takes the name of a method of Progress and its arguments


class TaskProgress(Progress):
    """Progress of one task, reported as events, and its checkpoint, from which an interrupted task resumes.

    Args:
        checkpoint: None where a task always starts from the beginning.
    """

    def __init__(self, on_event: OnEvent, checkpoint: Checkpoint | None = None):
        self.on_event, self.checkpoint = on_event, checkpoint
        self.steps = self.steps_before = 0  # steps_before: those up to the checkpoint, which are reported again
        self.last_step, self.checkpoint_due = time.monotonic(), 0.0

    def expect(self, steps: int, kind: str = "") -> None:
        self.on_event("expect", steps, kind)

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        now = time.monotonic()
        self.steps += 1
        if self.steps <= self.steps_before:
            seconds = 0.0
        self.on_event("step", doing, kind, now - self.last_step if seconds is None else seconds)
        self.last_step = now

    def status(self, doing: str) -> None:
        self.on_event("status", doing)

    def record(self, row: Row) -> None:
        self.on_event("record", row)

    def warn(self, sentence: str) -> None:
        self.on_event("warn", sentence)

    def save_checkpoint(self, state: Callable[[], State]) -> None:
        """Save the state of the task, in place of the previous one; `state` is called only when a checkpoint is due."""
        if self.checkpoint and (start := time.monotonic()) >= self.checkpoint_due:
            self.checkpoint.save({"steps": self.steps, "state": state()})
            self.checkpoint_due = (end := time.monotonic()) + CHECKPOINT_INTERVAL * (end - start)

    def load_checkpoint(self) -> State | None:
        """Load the state of an interrupted task, None for a new one; its rows and steps must be reported again."""
        saved = self.checkpoint.load(self.warn) if self.checkpoint else None
        if saved is None:
            return None
        self.steps_before = saved["steps"]
        return saved["state"]


CHECKPOINT_INTERVAL = 30  # in times of saving one: checkpoints cost 3 % of the time at most

Key = TypeVar("Key")
Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
TaskFunction: TypeAlias = Callable[[Task, TaskProgress], Outcome]


@dataclass(frozen=True)
class FailedTask:
    """The outcome of a task that was given up because every worker that ran it died."""

    reason: str


class MapTasks(Protocol):
    """A way to run independent tasks."""

    def __call__(
        self,
        function: TaskFunction[Task, Outcome],
        tasks: Mapping[Key, Task],
        progress: Progress,
        fingerprint: str = "",
    ) -> dict[Key, Outcome | FailedTask]:
        """Apply a function to all tasks.

        Args:
            tasks: by a key that is unique in this run: a name, or a tuple of names and numbers.
            fingerprint: of the data that the outcomes depend on; a checkpoint of other data is not used.

        Returns:
            The outcomes in the order of the tasks.
        """


def map_serially(
    function: TaskFunction[Task, Outcome], tasks: Mapping[Key, Task], progress: Progress, fingerprint: str = ""
) -> dict[Key, Outcome | FailedTask]:
    """Run the tasks one after the other in this process, without checkpoints."""
    return {key: function(task, TaskProgress(partial(forward, progress))) for key, task in tasks.items()}


def forward(progress: Progress, method: str, *arguments: Any) -> None:
    """Report an event to `progress`."""
    getattr(progress, method)(*arguments)


AnySettings = TypeVar("AnySettings", bound=Settings)
Experiment: TypeAlias = Callable[[AnySettings, Progress, MapTasks], Result]
