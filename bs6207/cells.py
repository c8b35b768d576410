"""Independent pieces of work, dealt to processes.

A piece is a function of the module level and one argument; its outcome must not depend on which process it ran in.
Each process computes on one thread: two threads of one process lose more than they gain as soon as anything else
runs, while processes only share the cores.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Any, Literal, NoReturn, TypeAlias

from bs6207.errors import UserError
from bs6207.experiment import Deal, Outcome, Piece, Row, Steps, in_turn

News: TypeAlias = tuple[int, Literal["step", "tell", "row"], Any]  # of which piece, and what it says

LOOK = 0.2  # seconds between two looks at what the processes have done


class WorkerError(UserError):
    """A process that was working for this one has died."""


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(jobs: int | None = None) -> Iterator[Deal]:
    """A way to deal pieces to processes, which start when they are first needed and end with the block.

    Args:
        jobs: how many processes; one per core if None. 1 is this process.

    Raises:
        WorkerError: a process has died.
    """
    jobs = jobs or cores()
    if jobs == 1:
        yield in_turn
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the state of torch's threads half-way
    news = context.SimpleQueue()
    lifeline, held = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, initializer=begin, initargs=(lifeline, news))
    try:
        yield partial(deal, pool, news)
    except BrokenProcessPool:
        raise WorkerError("a worker process died, perhaps for want of memory; run again with --jobs 1") from None
    finally:
        held.close()
        pool.shutdown(cancel_futures=True)


def deal(
    pool: ProcessPoolExecutor,
    news: "SimpleQueue[News]",
    work: Callable[[Piece, Steps], Outcome],
    pieces: Sequence[Piece],
    progress: Steps,
) -> Iterator[Outcome]:
    """The outcomes of all pieces, in their order; one piece alone is done here.

    Steps are shown as they happen. The history keeps to the order of the pieces: the rows of the first one that is not
    finished are recorded as they come, those of the later ones when it is their turn.
    """
    if len(pieces) <= 1:
        yield from in_turn(work, pieces, progress)
        return
    waiting: dict[int, list[Row]] = {place: [] for place in range(len(pieces))}
    # Pickled here, tensors travel by value; the pool would put each into shared memory and hold a file open for it.
    futures = [pool.submit(follow, pickle.dumps((work, piece)), place) for place, piece in enumerate(pieces)]
    for place, future in enumerate(futures):
        done = False
        while not done:
            done = bool(wait([future], timeout=LOOK).done)
            while not news.empty():
                of, kind, what = news.get()
                if kind == "row":
                    waiting[of].append(what)
                else:
                    getattr(progress, kind)(what)
            for row in waiting[place]:
                progress.record(row)
            waiting[place].clear()
        yield pickle.loads(future.result())


NEWS: list["SimpleQueue[News]"] = []  # in a worker: the queue to the parent


def begin(lifeline: Connection, news: "SimpleQueue[News]") -> None:
    """Start a worker: ctrl-C is for the parent to handle, and when it lets go of the lifeline the worker ends.

    It lets go by closing its end, and the system closes it for a parent that was killed: nobody is left behind.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    NEWS.append(news)
    threading.Thread(target=end_with, args=(lifeline,), daemon=True).start()


def end_with(lifeline: Connection) -> NoReturn:
    """Wait for the end of the lifeline, then end this process whatever it is doing."""
    lifeline.poll(None)
    os._exit(1)


class Messenger:
    """Tells the parent of the steps and rows of one piece."""

    def __init__(self, place: int):
        self.place = place

    def step(self, doing: str) -> None:
        """One step is done."""
        NEWS[0].put((self.place, "step", doing))

    def tell(self, doing: str) -> None:
        """What a long step is at."""
        NEWS[0].put((self.place, "tell", doing))

    def record(self, row: Row) -> None:
        """A row of history."""
        NEWS[0].put((self.place, "row", row))


def follow(pickled: bytes, place: int) -> bytes:
    """Do a piece in a worker."""
    work, piece = pickle.loads(pickled)
    return pickle.dumps(work(piece, Messenger(place)))
