"""Independent pieces of work, done here or dealt to whoever does jobs for this process.

A piece is a function of the module level and one argument; its outcome must not depend on which process it ran in.
What a piece has found is put aside at once, so whatever dies costs only what it was working on.
"""

import hashlib
import queue
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import starmap
from typing import Any, Generic, Protocol, TypeVar

from bs6207.errors import memory_shortage
from bs6207.runs.checkpoint import CheckpointedProgress, Checkpoints
from bs6207.runs.executor import Hear, Job, Processes, WorkerError
from bs6207.runs.progress import FailedTask, Key, Outcome, Piece, Progress, SerialProgress, Work
from bs6207.runs.result import Row

POLL_INTERVAL = 0.2  # seconds between two looks at whether this process was asked to end
MAX_ATTEMPTS = 2  # of processes that worked on a piece, until it is given up

Value = TypeVar("Value")


class Workers(Protocol):
    """Whoever does jobs for this process: other processes of this computer, or a cluster.

    Attributes:
        are_here: whether they see this computer's files, and so go on from what was put aside half-way.
    """

    @property
    def are_here(self) -> bool: ...

    def submit(self, job: Job, hear: Hear) -> "Future[Any]":
        """Have a job done; the future holds its outcome, or a WorkerError."""


def map_tasks(
    workers: Workers | None,
    checkpoints: Checkpoints,
    work: Work[Piece, Outcome],
    pieces: Mapping[Key, Piece],
    progress: Progress,
    given: str = "",
    meanwhile: Callable[[], object] | None = None,
) -> dict[Key, Outcome | FailedTask]:
    """The outcomes of all pieces, in their order; those that were put aside are not worked out again.

    A piece whose worker dies is tried again when no other is under way, as it may only have waited beside the one that
    killed the worker; it is given up when its worker dies again.

    Args:
        workers: who does it; None for this process, which also does the last one that is open.
        meanwhile: what this process gets ready for later, once others have begun.
    """
    ledger: TaskTracker[Key] = TaskTracker(list(pieces), checkpoints, progress, given)
    if workers is None or (workers.are_here and len(ledger.open) <= 1):
        for key in list(ledger.open):
            outcome = run_task(work, pieces[key], checkpoints, task_name(key), given, ledger.hears(key))
            ledger.finish(key, outcome)
        return ledger.outcomes()

    news: queue.SimpleQueue[tuple[Key, str, Any]] = queue.SimpleQueue()
    under_way, suspects = set[Key](), list[Key]()

    def submit(key: Key) -> None:
        under_way.add(key)

        def hear(kind: str, what: Any) -> None:
            news.put((key, kind, what))

        kept = checkpoints if workers.are_here else None
        job = partial(run_task, work, pieces[key], kept, task_name(key), given)
        workers.submit(job, hear).add_done_callback(lambda future: hear("end", future))

    for key in ledger.open:
        submit(key)
    if meanwhile:
        meanwhile()
    while ledger.open:
        try:
            key, kind, what = news.get(timeout=POLL_INTERVAL)
        except queue.Empty:
            continue
        if kind != "end":
            ledger.hear(key, kind, what)
            continue
        under_way.remove(key)
        if not isinstance(death := what.exception(), WorkerError):
            ledger.finish(key, what.result())
        elif ledger.on_worker_lost(key, death):
            suspects.append(key)
        if suspects and not under_way:
            submit(suspects.pop(0))
    return ledger.outcomes()


def run_task(
    work: Work[Piece, Outcome], piece: Piece, checkpoints: Checkpoints | None, name: str, given: str, hear: Hear
) -> Outcome:
    """The outcome of one piece, in whatever process this is.

    Raises:
        MemoryShortage: it did not fit into memory, which all processes share.
    """
    steps = Messenger(hear)
    try:
        return work(
            piece, CheckpointedProgress(steps, checkpoints, name, given) if checkpoints else SerialProgress(steps)
        )
    except (MemoryError, OSError, RuntimeError) as failure:
        if shortage := memory_shortage(failure, name):
            raise shortage from failure
        raise


def each(
    processes: Processes | None, function: Callable[[Value], Outcome], values: Iterable[Value]
) -> Iterator[Outcome]:
    """What a function makes of all values, as an executor's `map` does: begun at once; nothing is put aside."""
    if processes is None:
        return map(function, values)
    futures = [(value, processes.submit(partial(in_silence, function, value), ignore)) for value in values]

    def outcome(value: Value, future: "Future[Outcome]") -> Outcome:
        try:
            return future.result()
        except WorkerError:  # its process died; this one does it
            return function(value)

    return starmap(outcome, futures)


def in_silence(function: Callable[[Value], Outcome], value: Value, hear: Hear) -> Outcome:
    """What a function makes of a value, without telling anybody how far it is."""
    return function(value)


def ignore(kind: str, what: Any) -> None:
    """Hear nothing."""


@dataclass
class Entry:
    """What is known of one piece.

    Attributes:
        rows, steps: reported by the process that works on it now; of steps their kinds.
        recorded, counted: how many of them have been passed on.
        begun: by how many workers of a cluster.
    """

    rows: list[Row] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    recorded: int = 0
    counted: int = 0
    begun: int = 0
    deaths: int = 0
    finished: bool = False
    outcome: Any = None


class TaskTracker(Generic[Key]):
    """Keeps the books of all pieces: what they report is passed on, what they find is put aside.

    Steps are shown as they happen. The history keeps to the order of the pieces: the rows of the first one that is not
    finished are recorded as they come, those of the later ones when it is their turn.
    """

    def __init__(self, keys: list[Key], checkpoints: Checkpoints, progress: Progress, given: str):
        self.checkpoints, self.progress, self.given = checkpoints, progress, given
        self.entries = {key: self.opened(key) for key in keys}
        self.record()

    def opened(self, key: Key) -> Entry:
        """A new entry, or the finished one that was put aside."""
        found = self.checkpoints.read(f"{task_name(key)}.done", self.given, self.progress.warn)
        if found is None:
            return Entry()
        for kind in found["steps"]:
            self.progress.step(f"{task_name(key)}, from before the interruption", kind, 0.0)
        return Entry(found["rows"], finished=True, outcome=found["outcome"])

    @property
    def open(self) -> list[Key]:
        """The pieces that are not finished."""
        return [key for key, entry in self.entries.items() if not entry.finished]

    def outcomes(self) -> dict[Key, Any]:
        """What all pieces have found."""
        return {key: entry.outcome for key, entry in self.entries.items()}

    def hears(self, key: Key) -> Hear:
        """Where to report of one piece."""
        return lambda kind, what: self.hear(key, kind, what)

    def hear(self, key: Key, kind: str, what: Any) -> None:
        """Pass on what is reported of a piece, unless a process that has died reported it before."""
        entry = self.entries[key]
        if kind == "begin":
            entry.begun += 1
            if entry.begun > 1:
                self.progress.warn(f"a worker died at {task_name(key)}; {what} begins it anew")
        if kind in ("begin", "anew"):  # all will be reported again
            entry.rows, entry.steps = [], []
        elif kind == "record":
            entry.rows.append(what)
            self.record()
        elif kind != "step":
            getattr(self.progress, kind)(what)
        else:
            doing, kind, seconds = what
            entry.steps.append(kind)
            if len(entry.steps) > entry.counted:
                entry.counted += 1
                self.progress.step(doing, kind, seconds)

    def record(self) -> None:
        """Record all rows whose turn has come."""
        for entry in self.entries.values():
            for row in entry.rows[entry.recorded :]:
                self.progress.record(row)
                entry.recorded += 1
            if not entry.finished:
                return

    def finish(self, key: Key, outcome: Any) -> None:
        """Put aside what a piece has found."""
        entry = self.entries[key]
        entry.outcome, entry.finished = outcome, True
        if not isinstance(outcome, FailedTask):
            kept = {"outcome": outcome, "rows": entry.rows, "steps": entry.steps}
            self.checkpoints.write(f"{task_name(key)}.done", kept, self.given)
        self.record()

    def on_worker_lost(self, key: Key, death: WorkerError) -> bool:
        """Whether a piece whose worker has died is to be tried again."""
        entry = self.entries[key]
        entry.deaths += 1
        entry.rows, entry.steps = [], []  # the next one will report them again
        if entry.deaths < MAX_ATTEMPTS:
            self.progress.warn(f"{death} at {task_name(key)}; it goes on when no other is under way")
            return True
        died = f"{death}, {entry.deaths} times" if entry.deaths > 1 else str(death)
        self.finish(key, FailedTask(f"{task_name(key)}: {died}; perhaps for want of memory, so {death.remedy}"))
        return False


def task_name(key: Any) -> str:
    """A piece's key as part of a file name; one that had to be changed for that is told apart by its checksum."""
    text = "-".join(map(str, key)) if isinstance(key, tuple) else str(key)
    plain = re.sub(r"[^\w.-]", "_", text)[:80]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Messenger:
    """Steps told as news."""

    def __init__(self, hear: Hear):
        self.hear, self.last = hear, time.monotonic()

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        """One step is done, which is timed where it is done."""
        now = time.monotonic()
        self.hear("step", (doing, kind, now - self.last if seconds is None else seconds))
        self.last = now

    def status(self, doing: str) -> None:
        """What a long step is at."""
        self.hear("status", doing)

    def record(self, row: Row) -> None:
        """A row of history."""
        self.hear("record", row)

    def warn(self, sentence: str) -> None:
        """What changes how the result is read."""
        self.hear("warn", sentence)
