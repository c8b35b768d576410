"""Processes of this computer that do jobs for this one.

Each computes on one thread: two threads of one process lose more than they gain as soon as anything else runs, while
processes only share the cores. None outlives its parent.
"""

import gc
import logging
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from bs6207.errors import LESS, SET_TMPDIR, UserError
from bs6207.runs.memory import keep_memory

# A fork of this process would copy the state of torch's threads half-way. One of a server that has only imported is
# safe, and need not import again; on macOS, where libraries do not bear a fork, and on Windows every process imports.
START = "forkserver" if sys.platform == "linux" else "spawn"

# Importing torch and scikit-learn makes many objects and no garbage, and to look for it as often as Python does by
# itself takes a fifth of the time.
gc.set_threshold(100_000)

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it gives advice on where to keep its list of fonts

KILLED_FIRST = "500"  # thousandths of all memory by which a worker counts as larger than it is (man 5 proc)

SOCKET = "/pymp-12345678/listener-12345678"  # what multiprocessing adds to the path of a folder
LONGEST_SOCKET = 107  # bytes of the path of a socket on Linux (man 7 unix)

Job: TypeAlias = Callable[["Hear"], Any]  # a function of the module level, with all arguments but who hears of it
Hear: TypeAlias = Callable[[str, Any], None]  # takes the kind of news, a method of Steps, and what it says


class WorkerError(UserError):
    """Whoever was working for this process has died.

    Attributes:
        remedy: what may help if it dies for want of memory.
    """

    def __init__(self, death: str, remedy: str):
        super().__init__(death)
        self.remedy = remedy


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(jobs: int | None = None, modules: Sequence[str] = ()) -> Iterator["Processes | None"]:
    """Processes that work on tasks, which start when they are first needed and end with the block.

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


class Processes:
    """Up to so many processes at a time; one that dies is replaced when it is needed.

    Attributes:
        are_here: true: they see this computer's files.
    """

    are_here = True

    def __init__(self, jobs: int, modules: Sequence[str] = ()):
        self.threads = ThreadPoolExecutor(jobs, initializer=leave_signals_to_the_main_thread)
        if START == "forkserver":
            require_place_for_sockets()
            multiprocessing.set_forkserver_preload([__name__, *modules, "bs6207.runs.preloaded"])
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
                raise WorkerError("the run has ended", "")
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


def leave_signals_to_the_main_thread() -> None:
    """Ctrl-C and a hang-up reach every process of a terminal; those that are started from here do not hear it."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})


def require_place_for_sockets() -> None:
    """Have multiprocessing put the socket of its server where the path is short enough and can be written.

    Raises:
        UserError: there is no such place.
    """
    before = tempfile.tempdir
    for folder in temporary_folders():
        if len(os.fsencode(folder)) + len(SOCKET) <= LONGEST_SOCKET:
            tempfile.tempdir = folder
            try:
                get_temp_dir()  # multiprocessing makes it once, and then keeps to it
            except OSError:
                continue
            else:
                return
            finally:
                tempfile.tempdir = before
    raise UserError(f"no folder for temporary files can be written; {SET_TMPDIR}")


def require_temporary_folder() -> None:
    """Check that temporary files can be made, as torch does when it is imported.

    Raises:
        UserError: they cannot.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        raise UserError(f"no folder for temporary files can be written; {SET_TMPDIR}") from None


def temporary_folders() -> Iterator[str]:
    """Where temporary files may be made: the user's choice first, then what has a short path."""
    with suppress(FileNotFoundError):
        yield tempfile.gettempdir()
    yield from filter(None, (os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/var/tmp", "/dev/shm"))


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
            raise WorkerError(f"process {self.process.pid} {end_of(self.process.exitcode)}", LESS) from None


def end_of(code: int | None) -> str:
    """How a process has died, in words."""
    if code == -signal.SIGKILL:
        return "was killed"
    return f"died of {signal.Signals(-code).name}" if code and code < 0 else "died"


def serve(pipe: Connection) -> NoReturn:
    """Do jobs in a worker, one after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    be_killed_first()
    keep_memory()
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


def be_killed_first() -> None:
    """Where memory is short Linux kills this process rather than its parent, which can tell of it."""
    with suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as file:
        file.write(KILLED_FIRST)


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
