"""Run jobs in processes of this computer.

Each process computes on one thread: two threads of one process lose more than they gain as soon as anything else runs,
while processes only share the cores. No process outlives its parent.

Not `concurrent.futures.ProcessPoolExecutor`: one killed process breaks it, it does not say how a process died, events
would need a channel beside that of the outcome and arrive out of order, and its processes outlive a killed parent.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from bs6207.errors import LESS, NO_TEMPORARY_FOLDER, SET_TMPDIR, UserError, has_temporary_folder
from bs6207.runs.memory import keep_memory
from bs6207.runs.progress import OnEvent

# A fork of this process would copy the state of torch's threads half-way. One of a server that has only imported is
# safe, and need not import again; macOS libraries do not bear a fork and Windows has none, so there each one imports.
START_METHOD = "forkserver" if sys.platform == "linux" else "spawn"

# Importing torch and scikit-learn makes many objects and no garbage, and to look for it as often as Python does by
# itself takes a fifth of the time.
gc.set_threshold(100_000)

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it gives advice on where to keep its list of fonts

OOM_SCORE = "500"  # thousandths of all memory by which a worker counts as larger than it is (man 5 proc)
SOCKET = "/pymp-12345678/listener-12345678"  # what multiprocessing adds to the path of a folder
LONGEST_SOCKET = 107  # bytes of the path of a socket on Linux (man 7 unix)

Job: TypeAlias = Callable[[OnEvent], Any]  # a function of the module level with all its other arguments


class WorkerLost(UserError):
    """The process that ran a job has died."""


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_executor(
    jobs: int | None = None, preload: Sequence[str] = ()
) -> AbstractContextManager["ProcessExecutor | None"]:
    """So many processes, one per core if None, that end with the block; None for one job, which this process runs.

    Args:
        preload: modules that all jobs need; where processes can share them, their import begins now.
    """
    jobs = jobs or cores()
    return closing(ProcessExecutor(jobs, preload)) if jobs > 1 else nullcontext()


class ProcessExecutor:
    """Up to so many processes, each driven by a thread of this one; a process that dies is replaced when needed."""

    is_local = True

    def __init__(self, jobs: int, preload: Sequence[str] = ()):
        self.threads = ThreadPoolExecutor(jobs, initializer=block_signals)
        if START_METHOD == "forkserver":
            require_socket_folder()
            multiprocessing.set_forkserver_preload([__name__, *preload, "bs6207.runs.preloaded"])
            self.threads.submit(forkserver.ensure_running)
        self.own = threading.local()  # of each thread: its process, and the pipe to it
        self.lock, self.is_shut_down, self.processes = threading.Lock(), False, list[Any]()

    def submit(self, job: Job, on_event: OnEvent) -> "Future[Any]":
        """Run a job; the future raises WorkerLost if its process dies."""
        # Pickled here, tensors travel by value; shared memory would hold a file open for each.
        return self.threads.submit(self.run, pickle.dumps(job), on_event)

    def run(self, job: bytes, on_event: OnEvent) -> Any:
        if not hasattr(self.own, "process"):
            self.start_process()
        process, pipe = self.own.process, self.own.pipe
        try:
            pipe.send_bytes(job)
            while (event := pickle.loads(pipe.recv_bytes()))[0] not in ("returned", "raised"):
                on_event(*event)
        except (EOFError, ConnectionError):
            del self.own.process
            process.join()
            code, died = process.exitcode, "died"
            if code < 0:
                died = "was killed" if code == -signal.SIGKILL else f"died of {signal.Signals(-code).name}"
            raise WorkerLost(f"process {process.pid} {died}", LESS) from None
        if event[0] == "raised":
            raise event[1]
        return event[1]

    def start_process(self) -> None:
        """Start the process of this thread."""
        context: Any = multiprocessing.get_context(START_METHOD)
        self.own.pipe, theirs = context.Pipe()
        with self.lock:
            if self.is_shut_down:
                raise WorkerLost("the run has ended")
            self.own.process = context.Process(target=serve, args=(theirs,), daemon=True)
            self.own.process.start()
            self.processes.append(self.own.process)
        theirs.close()

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        with self.lock:
            self.is_shut_down = True
            for process in self.processes:
                process.kill()
        self.threads.shutdown(cancel_futures=True)


def map_in_processes(
    executor: ProcessExecutor | None, function: Callable[[Any], Any], values: Iterable[Any]
) -> Iterator[Any]:
    """Apply a function to all values, as an executor's `map` does; where a process dies, this one takes its place."""
    if executor is None:
        return map(function, values)
    jobs = [partial(function, value) for value in values]
    futures = [executor.submit(partial(run_silently, job), lambda *event: None) for job in jobs]

    def results() -> Iterator[Any]:
        for future, job in zip(futures, jobs, strict=True):
            try:
                yield future.result()
            except WorkerLost:
                yield job()

    return results()


def run_silently(job: Callable[[], Any], on_event: OnEvent) -> Any:
    return job()


def block_signals() -> None:
    """Keep ctrl-C and a hang-up, which reach all processes of a terminal, from those that this thread starts."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})


def require_temporary_folder() -> None:
    """Raise UserError unless temporary files can be made, as torch does when it is imported."""
    if not has_temporary_folder():
        raise UserError(NO_TEMPORARY_FOLDER, SET_TMPDIR)


def require_socket_folder() -> None:
    """Have multiprocessing make its server's socket where the path is short and writable; UserError if nowhere is."""
    before, folders = tempfile.tempdir, [os.environ.get("XDG_RUNTIME_DIR"), "/tmp", "/var/tmp", "/dev/shm"]
    with suppress(FileNotFoundError):
        folders.insert(0, tempfile.gettempdir())
    try:
        for folder in folders:
            if folder and len(os.fsencode(folder)) + len(SOCKET) <= LONGEST_SOCKET:
                tempfile.tempdir = folder
                with suppress(OSError):
                    get_temp_dir()  # multiprocessing makes it once, and uses it from then on
                    return
    finally:
        tempfile.tempdir = before
    raise UserError(NO_TEMPORARY_FOLDER, SET_TMPDIR)


def serve(pipe: Connection) -> NoReturn:
    """Run jobs in a worker, one after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Where memory is short Linux kills this process before its parent, which reports it.
    with suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as file:
        file.write(OOM_SCORE)
    keep_memory()
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=receive, args=(pipe, jobs), daemon=True).start()

    def send(*event: Any) -> None:
        pipe.send_bytes(pickle.dumps(event))

    while True:
        job = jobs.get()
        try:
            send("returned", pickle.loads(job)(send))
        except Exception as failure:
            failure.add_note(traceback.format_exc())  # a traceback cannot be pickled
            send("raised", picklable(failure))


def receive(pipe: Connection, jobs: "queue.SimpleQueue[bytes]") -> NoReturn:
    """Receive jobs and end this process when the pipe closes, as the system closes it for a parent that is killed."""
    try:
        while True:
            jobs.put(pipe.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)


def picklable(failure: Exception) -> Exception:
    """The exception itself or, where it cannot be pickled, its words."""
    try:
        pickle.loads(pickle.dumps(failure))
    except Exception:
        return RuntimeError(f"{type(failure).__name__}: {failure}")
    return failure
