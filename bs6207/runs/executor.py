"""Run calls in processes of this computer.

Each operator computes on one thread: two that share one wait for each other, and lose more than they gain as soon as
anything else runs, while processes only share the cores. No process outlives its parent.

Not `concurrent.futures.ProcessPoolExecutor`: one killed process breaks it, it does not say how a process died, events
would need a channel beside that of the outcome and arrive out of order, and its processes outlive a killed parent.
"""

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from typing import Any, TypeAlias

from bs6207.errors import LESS, UserError
from bs6207.runs.progress import OnEvent
from bs6207.runs.workers import Workers

Call: TypeAlias = Callable[[OnEvent], Any]  # a function of the module level with all its other arguments


class WorkerLost(UserError):
    """The process that ran a call has died."""


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_executor(
    jobs: int | None = None, preload: Sequence[str] = ()
) -> AbstractContextManager["ProcessExecutor | None"]:
    """So many processes, one per core if None, that end with the block; None for one, which is this process.

    Args:
        preload: modules that all calls need; where processes can share them, their import begins now.
    """
    jobs = jobs or cores()
    return closing(ProcessExecutor(jobs, preload)) if jobs > 1 else nullcontext()


class ProcessExecutor:
    """Up to so many processes, each driven by a thread of this one; a process that dies is replaced when needed."""

    is_local = True

    def __init__(self, jobs: int, preload: Sequence[str] = ()):
        self.threads = ThreadPoolExecutor(jobs, initializer=block_signals)
        self.workers = Workers([__name__, *preload])
        self.threads.submit(self.workers.prepare)
        self.own = threading.local()  # of each thread: its process, and the pipe to it

    def submit(self, call: Call, on_event: OnEvent) -> "Future[Any]":
        """Run a call; the future raises WorkerLost if its process dies."""
        # Pickled here, tensors travel by value; shared memory would hold a file open for each.
        return self.threads.submit(self.run, pickle.dumps(call), on_event)

    def run(self, call: bytes, on_event: OnEvent) -> Any:
        if not hasattr(self.own, "process"):
            try:
                self.own.process, self.own.pipe = self.workers.start()
            except ConnectionError as failure:
                raise WorkerLost(str(failure), LESS) from None
        process, pipe = self.own.process, self.own.pipe
        try:
            pipe.send_bytes(call)
            while (event := pickle.loads(pipe.recv_bytes()))[0] not in ("returned", "raised"):
                on_event(*event)
        except (EOFError, ConnectionError):
            del self.own.process
            pipe.close()
            code, died = self.workers.join(process), "died"
            if code < 0:
                died = "was killed" if code == -signal.SIGKILL else f"died of {signal.Signals(-code).name}"
            raise WorkerLost(f"process {process.pid} {died}", LESS) from None
        if event[0] == "raised":
            raise event[1]
        return event[1]

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        self.workers.kill()
        self.threads.shutdown(cancel_futures=True)
        self.workers.close()


def map_in_processes(
    executor: ProcessExecutor | None, function: Callable[[Any], Any], values: Iterable[Any]
) -> Iterator[Any]:
    """Apply a function to all values, as an executor's `map` does; where a process dies, this one takes its place."""
    if executor is None:
        return map(function, values)
    calls = [partial(function, value) for value in values]
    futures = [executor.submit(partial(run_silently, call), lambda *event: None) for call in calls]

    def results() -> Iterator[Any]:
        for future, call in zip(futures, calls, strict=True):
            try:
                yield future.result()
            except WorkerLost:
                yield call()

    return results()


def run_silently(call: Callable[[], Any], on_event: OnEvent) -> Any:
    return call()


def block_signals() -> None:
    """Keep ctrl-C and a hang-up, which reach all processes of a terminal, from those that this thread starts."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
