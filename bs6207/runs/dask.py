"""Jobs done by a Dask cluster: a scheduler that somebody has started, and the workers that have joined it.

Only this module knows Dask (distributed.dask.org). What a cluster is told stays what the processes of this computer are
told: a job, and who hears of it. Nothing is put aside where a job is done; when its worker dies, it begins anew.
"""

import itertools
import logging
import pickle
import threading
import uuid
import warnings
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from bs6207.errors import UserError
from bs6207.runs.executor import Hear, Job, WorkerError, portable
from bs6207.runs.manifest import made_by
from bs6207.runs.memory import keep_memory

PATIENCE = 10  # seconds in which a scheduler must answer
CLOSE_TIMEOUT = 2  # seconds to take leave of it
LIVE = ("step", "status")  # news that is passed on at once; all of it comes with the outcome
MADE_BY = made_by()  # when this was imported, and with it the code that will do the jobs
LOCK = threading.Lock()  # random numbers and rounding belong to the process, whatever threads it has


class Cluster:
    """The workers of a scheduler, which may come and go; the scheduler gives the job of one that dies to another.

    Attributes:
        are_here: false: they do not see this computer's files.
        remark: what the user should know before waiting; empty if there is nothing.
    """

    are_here = False

    def __init__(self, address: str):
        from distributed import Client
        from distributed.security import Security

        for name in logging.root.manager.loggerDict:
            if name.startswith("distributed"):
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # what goes wrong is told in one sentence
        if address.startswith("tls:") and not Security().get_connection_args("client").get("ssl_context"):
            raise UserError(
                f"{address} wants certificates; name them in Dask's configuration, distributed.comm.tls (see its docs)"
            )
        self.address, self.topic = address, f"bs6207-{uuid.uuid4().hex}"
        self.hearing: dict[int, Hear] = {}
        self.numbers = itertools.count()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of versions, which are compared below
                self.client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, TypeError, ValueError, RuntimeError) as failure:
            said = str(failure).splitlines()[0].rstrip(".") if str(failure) else type(failure).__name__
            raise UserError(
                f"no scheduler answers at {address} ({said}); start one with: dask scheduler, or leave out --scheduler"
            ) from failure
        try:
            there = self.client.run(manifest_of_worker, on_error="return")
            for worker, found in there.items():
                require_same(found, worker)
        except BaseException:
            self.end()
            raise
        self.remark = "" if there else f"waits for workers; start some with: dask worker {address} --nthreads 1"
        self.executor = self.client.get_executor(pure=False)
        self.client.subscribe_topic(self.topic, self.pass_on)

    def submit(self, job: Job, hear: Hear) -> "Future[Any]":
        """Have a job done; the future holds its outcome, or a WorkerError.

        All that a job tells is told anew with its outcome, after `anew`, as workers may have died half-way.
        """
        number, done = next(self.numbers), Future[Any]()
        self.hearing[number] = hear

        def end(told: "Future[bytes]") -> None:
            from distributed import KilledWorker

            del self.hearing[number]
            try:
                outcome, news = pickle.loads(told.result())
            except CancelledError:
                lost = f"the scheduler at {self.address} is gone; start it again and run the same command to go on"
                done.set_exception(UserError(lost))
            except KilledWorker as death:
                done.set_exception(WorkerError(deaths(death), "give each worker more"))
            except Exception as failure:
                done.set_exception(UserError(f"a worker {CANNOT_IMPORT}") if is_missing(failure) else failure)
            else:
                hear("anew", None)
                for kind, what in news:
                    hear(kind, what)
                done.set_result(outcome)

        self.executor.submit(do, pickle.dumps(job), MADE_BY, self.topic, number).add_done_callback(end)
        return done

    def pass_on(self, event: tuple[float, tuple[int, str, Any]]) -> None:
        """Tell what a job tells while it is done."""
        number, kind, what = event[1]
        if hear := self.hearing.get(number):
            hear(kind, what)

    def end(self) -> None:
        """Leave the scheduler, which forgets the jobs that nobody waits for any more."""
        with suppress(Exception):  # it may be gone
            self.client.close(timeout=CLOSE_TIMEOUT)


CANNOT_IMPORT = "cannot import bs6207; install the same version there as here"


def do(job: bytes, wanted: Mapping[str, Any], topic: str, number: int) -> bytes:
    """Do a job on a worker: its outcome and all it told, pickled, as tensors and arrays then arrive as they were.

    Raises:
        UserError: this worker has other versions than who sent the job.
    """
    from distributed import get_worker

    worker, news = get_worker(), list[tuple[str, Any]]()
    require_same(MADE_BY, worker.address, wanted)

    def hear(kind: str, what: Any) -> None:
        if kind in LIVE:
            worker.log_event(topic, (number, kind, what))
        if kind != "status":
            news.append((kind, what))

    keep_memory()
    with LOCK:
        worker.log_event(topic, (number, "begin", worker.address))
        try:
            return pickle.dumps((pickle.loads(job)(hear), news))
        except Exception as failure:
            raise portable(failure) from failure


def manifest_of_worker() -> Mapping[str, Any]:
    """What a worker would do jobs with."""
    return MADE_BY


def require_same(found: Any, worker: str, wanted: Mapping[str, Any] = MADE_BY) -> None:
    """Check that a worker has the code and the versions that are wanted, without which outcomes would differ.

    Raises:
        UserError: it has not, or has no bs6207 at all.
    """
    if isinstance(found, BaseException):
        raise UserError(f"the worker {worker} {CANNOT_IMPORT}")
    for name, version in {**wanted, **wanted["versions"]}.items():
        theirs = {**found, **found["versions"]}.get(name)
        if name != "versions" and theirs != version:
            what = "other code of bs6207" if name == "code" else f"{name} {theirs} instead of {version}"
            raise UserError(f"the worker {worker} has {what}; install the same versions there as here, or restart it")


def deaths(killed: Any) -> str:
    """How often the workers of a job have died, in words."""
    return f"{killed.allowed_failures + 1} workers died in turn"


def is_missing(failure: Exception) -> bool:
    """Whether a worker could not even find this package."""
    return isinstance(failure, ImportError) and "bs6207" in str(failure)
