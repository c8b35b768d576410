"""Independent pieces of work, done here or dealt to processes.

A piece is a function of the module level and one argument; its outcome must not depend on which process it ran in.
Each process computes on one thread: two threads of one process lose more than they gain as soon as anything else
runs, while processes only share the cores. What a piece has found is put aside at once, so whatever dies costs only
what it was working on.
"""

import hashlib
import multiprocessing
import os
import pickle
import queue
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from bs6207.checkpoints import Checkpoints, PieceReport
from bs6207.errors import UserError
from bs6207.experiment import Key, Lost, Outcome, Piece, Progress, Row, Work

LOOK = 0.2  # seconds between two looks at whether this process was asked to end
# A fork of this process would copy the state of torch's threads half-way. One of a server that has only imported is
# safe, and need not import again; on macOS, where libraries do not bear a fork, and on Windows every process imports.
START = "forkserver" if sys.platform == "linux" else "spawn"
DEATHS = 2  # of processes that worked on a piece, until it is given up

Value = TypeVar("Value")
Job: TypeAlias = Callable[["Hear"], Any]  # a function of the module level, with all arguments but who hears of it
Hear: TypeAlias = Callable[[str, Any], None]  # takes the kind of news, a method of Steps, and what it says


class WorkerError(UserError):
    """A process that was working for this one has died."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(jobs: int | None = None, modules: Sequence[str] = ()) -> Iterator["Processes | None"]:
    """Processes to deal pieces to, which start when they are first needed and end with the block.

    Args:
        jobs: how many; one per core if None. For 1 there are none: this process does.
        modules: what the pieces will need; where processes can share it, its import begins now, beside this process.
    """
    jobs = jobs or cores()
    if jobs == 1:
        yield None
        return
    processes = Processes(jobs, modules)
    try:
        yield processes
    finally:
        processes.end()


def deal(
    processes: "Processes | None",
    checkpoints: Checkpoints,
    work: Work[Piece, Outcome],
    pieces: Mapping[Key, Piece],
    progress: Progress,
    given: str = "",
) -> dict[Key, Outcome | Lost]:
    """The outcomes of all pieces, in their order; those that were put aside are not worked out again.

    A piece whose process dies goes on in another, and is given up when that dies too.
    """
    ledger: Ledger[Key] = Ledger(list(pieces), checkpoints, progress, given)
    if processes is None or len(ledger.open) <= 1:  # one piece alone is done here
        for key in list(ledger.open):
            outcome = work_out(work, pieces[key], checkpoints, name_of(key), given, ledger.hears(key))
            ledger.finish(key, outcome)
        return ledger.outcomes()

    news: queue.SimpleQueue[tuple[Key, str, Any]] = queue.SimpleQueue()

    def submit(key: Key) -> None:
        def hear(kind: str, what: Any) -> None:
            news.put((key, kind, what))

        job = partial(work_out, work, pieces[key], checkpoints, name_of(key), given)
        processes.submit(job, hear).add_done_callback(lambda future: hear("end", future))

    for key in ledger.open:
        submit(key)
    while ledger.open:
        try:
            key, kind, what = news.get(timeout=LOOK)
        except queue.Empty:
            continue
        if kind != "end":
            ledger.hear(key, kind, what)
        elif not isinstance(what.exception(), WorkerError):
            ledger.finish(key, what.result())
        elif ledger.mourn(key, str(what.exception())):
            submit(key)
    return ledger.outcomes()


def work_out(
    work: Work[Piece, Outcome], piece: Piece, checkpoints: Checkpoints, name: str, given: str, hear: Hear
) -> Outcome:
    """The outcome of one piece, in whatever process this is."""
    return work(piece, PieceReport(Messenger(hear), checkpoints, name, given))


def each(processes: "Processes | None", function: Callable[[Value], Outcome], values: Iterable[Value]) -> list[Outcome]:
    """What a function makes of all values, as `map` does; nothing is put aside."""
    if processes is None:
        return [function(value) for value in values]
    futures = [(value, processes.submit(partial(in_silence, function, value), ignore)) for value in values]
    outcomes = []
    for value, future in futures:
        try:
            outcomes.append(future.result())
        except WorkerError:  # its process died; this one does it
            outcomes.append(function(value))
    return outcomes


def in_silence(function: Callable[[Value], Outcome], value: Value, hear: Hear) -> Outcome:
    """What a function makes of a value, without telling anybody how far it is."""
    return function(value)


def ignore(kind: str, what: Any) -> None:
    """Hear nothing."""


@dataclass
class Entry:
    """What is known of one piece.

    Attributes:
        rows, steps: reported by the process that works on it now.
        recorded, counted: how many of them have been passed on.
    """

    rows: list[Row] = field(default_factory=list)
    steps: int = 0
    recorded: int = 0
    counted: int = 0
    deaths: int = 0
    finished: bool = False
    outcome: Any = None


class Ledger(Generic[Key]):
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
        found = self.checkpoints.read(f"{name_of(key)}.done", self.given, self.progress.note)
        if found is None:
            return Entry()
        for _ in range(found["steps"]):
            self.progress.step(f"{name_of(key)}, from before the interruption")
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
        if kind == "record":
            entry.rows.append(what)
            self.record()
        elif kind != "step":
            getattr(self.progress, kind)(what)
        else:
            entry.steps += 1
            if entry.steps > entry.counted:
                entry.counted += 1
                self.progress.step(what)

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
        if not isinstance(outcome, Lost):
            kept = {"outcome": outcome, "rows": entry.rows, "steps": entry.steps}
            self.checkpoints.write(f"{name_of(key)}.done", kept, self.given)
        self.record()

    def mourn(self, key: Key, death: str) -> bool:
        """Whether a piece whose process has died is to be tried again."""
        entry = self.entries[key]
        entry.deaths += 1
        entry.rows, entry.steps = [], 0  # the next process will report them again
        if entry.deaths < DEATHS:
            self.progress.note(f"{death} at {name_of(key)}; another goes on where it was")
            return True
        self.finish(
            key, Lost(f"{name_of(key)}: {death}, {entry.deaths} times; perhaps for want of memory, so try --jobs 1")
        )
        return False


def name_of(key: Any) -> str:
    """A piece's key as part of a file name; one that had to be changed for that is told apart by its checksum."""
    text = "-".join(map(str, key)) if isinstance(key, tuple) else str(key)
    plain = re.sub(r"[^\w.-]", "_", text)[:80]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class Messenger:
    """Steps told as news."""

    def __init__(self, hear: Hear):
        self.hear = hear

    def step(self, doing: str) -> None:
        """One step is done."""
        self.hear("step", doing)

    def tell(self, doing: str) -> None:
        """What a long step is at."""
        self.hear("tell", doing)

    def record(self, row: Row) -> None:
        """A row of history."""
        self.hear("record", row)

    def note(self, sentence: str) -> None:
        """What changes how the result is read."""
        self.hear("note", sentence)


class Processes:
    """Up to so many processes at a time; one that dies is replaced when it is needed."""

    def __init__(self, jobs: int, modules: Sequence[str] = ()):
        self.threads = ThreadPoolExecutor(jobs, initializer=leave_interrupts_to_the_main_thread)
        if START == "forkserver":
            multiprocessing.set_forkserver_preload(["__main__", *modules])
            self.threads.submit(forkserver.ensure_running)
        self.lock = threading.Lock()
        self.idle: list[Worker] = []
        self.all: list[Worker] = []
        self.ended = False

    def submit(self, job: Job, hear: Hear) -> "Future[Any]":
        """Have a job done; the future holds its outcome, or a WorkerError."""
        # Pickled here, tensors travel by value; shared memory would hold a file open for each.
        return self.threads.submit(self.work, pickle.dumps(job), hear)

    def work(self, job: bytes, hear: Hear) -> Any:
        """Have a job done by an idle process or a new one, and wait for it."""
        with self.lock:
            if self.ended:
                raise WorkerError("the run has ended")
            if not self.idle:
                self.all.append(worker := Worker())
            else:
                worker = self.idle.pop()
        kind, what = worker.do(job, hear)
        with self.lock:
            self.idle.append(worker)
        if kind == "failed":
            raise what
        return pickle.loads(what)

    def end(self) -> None:
        """End all processes, whatever they are doing."""
        with self.lock:
            self.ended = True
            for worker in self.all:
                worker.process.kill()
        self.threads.shutdown(cancel_futures=True)


def leave_interrupts_to_the_main_thread() -> None:
    """Ctrl-C reaches every process of a terminal; those that are started from here do not hear it."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


class Worker:
    """A process of ours and the pipe to it. When this end closes, the process ends: nobody is left behind.

    The system closes it for a parent that was killed.
    """

    def __init__(self) -> None:
        context: Any = multiprocessing.get_context(START)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def do(self, job: bytes, hear: Hear) -> tuple[str, Any]:
        """Whether a job was `done` or has `failed`, and its outcome or why; what it reports on the way is heard.

        Raises:
            WorkerError: the process has died.
        """
        try:
            self.pipe.send_bytes(job)
            while True:
                kind, what = pickle.loads(self.pipe.recv_bytes())
                if kind in ("done", "failed"):
                    return kind, what
                hear(kind, what)
        except (EOFError, ConnectionError):
            self.process.join()
            raise WorkerError(f"process {self.process.pid} died") from None


def serve(pipe: Connection) -> NoReturn:
    """Do jobs in a worker, one after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=receive, args=(pipe, jobs), daemon=True).start()

    def tell(kind: str, what: Any) -> None:
        pipe.send_bytes(pickle.dumps((kind, what)))

    while True:
        job = jobs.get()
        try:
            told: tuple[str, Any] = "done", pickle.dumps(pickle.loads(job)(tell))
        except Exception as failure:
            failure.add_note(traceback.format_exc())  # a traceback does not travel
            told = "failed", portable(failure)
        tell(*told)


def portable(failure: Exception) -> Exception:
    """An exception that can be sent to another process: itself or, where it cannot be built again there, its words."""
    try:
        pickle.loads(pickle.dumps(failure))
    except Exception:
        return RuntimeError(f"{type(failure).__name__}: {failure}")
    return failure


def receive(pipe: Connection, jobs: "queue.SimpleQueue[bytes]") -> NoReturn:
    """Take in jobs and, when the pipe ends, end this process whatever it is doing."""
    try:
        while True:
            jobs.put(pipe.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)
