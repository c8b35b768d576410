"""Run calls on a Dask cluster: a scheduler that the user has started, and the workers that have joined it.

Only this module knows Dask (distributed.dask.org). Workers do not see this computer's checkpoints: when one dies, its
call begins anew on another.
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
from bs6207.runs.executor import Call, WorkerLost
from bs6207.runs.manifest import code_and_versions
from bs6207.runs.memory import keep_memory
from bs6207.runs.progress import OnEvent
from bs6207.runs.workers import picklable

TIMEOUT = 10  # seconds in which a scheduler must answer
CLOSE_TIMEOUT = 2  # seconds
LIVE = ("step", "status")  # events that are sent at once; all but `status` come again with the outcome
HERE = code_and_versions()  # when this was imported, and with it the code that will run the calls
LOCK = threading.Lock()  # random numbers and rounding belong to the process, whatever threads it has
CANNOT_IMPORT = "cannot import bs6207; install the same version there as here"


class DaskExecutor:
    """The workers of a scheduler, which may come and go; the scheduler gives the call of one that dies to another."""

    is_local = False

    def __init__(self, address: str):
        from distributed import Client
        from distributed.security import Security

        for name in logging.root.manager.loggerDict:
            if name.startswith("distributed"):
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # every failure is reported in one sentence
        if address.startswith("tls:") and not Security().get_connection_args("client").get("ssl_context"):
            remedy = "name them in Dask's configuration, distributed.comm.tls (see its docs)"
            raise UserError(f"{address} wants certificates", remedy)
        self.address, self.topic = address, f"bs6207-{uuid.uuid4().hex}"
        self.listeners: dict[int, OnEvent] = {}  # by the number of the call
        self.numbers = itertools.count()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of versions, which are compared below
                self.client = Client(address, timeout=TIMEOUT, set_as_default=False)
        except (OSError, TypeError, ValueError, RuntimeError) as failure:
            reason = str(failure).splitlines()[0].rstrip(".") if str(failure) else type(failure).__name__
            remedy = "start one with: dask scheduler, or leave out --scheduler"
            raise UserError(f"no scheduler answers at {address} ({reason})", remedy) from failure
        try:
            workers = self.client.run(code_and_versions_here, on_error="return")
            for worker, found in workers.items():
                require_same_code(found, worker)
        except BaseException:
            self.close()
            raise
        self.remark = "" if workers else f"waits for workers; start some with: dask worker {address} --nthreads 1"
        self.executor = self.client.get_executor(pure=False)
        self.client.subscribe_topic(self.topic, self.on_live_event)

    def submit(self, call: Call, on_event: OnEvent) -> "Future[Any]":
        """Run a call; the future raises WorkerLost if its workers keep dying.

        All its events are reported again with the outcome, after `replay`, as workers may have died half-way.
        """
        number, result = next(self.numbers), Future[Any]()
        self.listeners[number] = on_event

        def finish(answer: "Future[bytes]") -> None:
            from distributed import KilledWorker

            del self.listeners[number]
            try:
                outcome, events = pickle.loads(answer.result())
            except CancelledError:
                gone = f"the scheduler at {self.address} is gone; start it again and run the same command to go on"
                result.set_exception(UserError(gone))
            except KilledWorker as death:
                died = f"{death.allowed_failures + 1} workers died in turn"
                result.set_exception(WorkerLost(died, "give each worker more"))
            except Exception as failure:
                is_missing = isinstance(failure, ImportError) and "bs6207" in str(failure)
                result.set_exception(UserError(f"a worker {CANNOT_IMPORT}") if is_missing else failure)
            else:
                for event in (("replay",), *events):
                    on_event(*event)
                result.set_result(outcome)

        self.executor.submit(run, pickle.dumps(call), HERE, self.topic, number).add_done_callback(finish)
        return result

    def on_live_event(self, message: tuple[float, tuple[Any, ...]]) -> None:
        number, *event = message[1]
        if on_event := self.listeners.get(number):
            on_event(*event)

    def close(self) -> None:
        """Leave the scheduler, which forgets the jobs that nobody waits for any more."""
        with suppress(Exception):  # it may be gone
            self.client.close(timeout=CLOSE_TIMEOUT)


def run(call: bytes, wanted: Mapping[str, Any], topic: str, number: int) -> bytes:
    """Run a call on a worker: its outcome and its events, pickled, as tensors and arrays then arrive as they were."""
    from distributed import get_worker

    worker, events = get_worker(), list[tuple[Any, ...]]()
    require_same_code(HERE, worker.address, wanted)

    def on_event(*event: Any) -> None:
        if event[0] in LIVE:
            worker.log_event(topic, (number, *event))
        if event[0] != "status":
            events.append(event)

    keep_memory()
    with LOCK:
        worker.log_event(topic, (number, "start", worker.address))
        try:
            return pickle.dumps((pickle.loads(call)(on_event), events))
        except Exception as failure:
            raise picklable(failure) from failure


def code_and_versions_here() -> Mapping[str, Any]:
    return HERE


def require_same_code(found: Any, worker: str, wanted: Mapping[str, Any] = HERE) -> None:
    """Raise UserError unless a worker has the wanted code and versions, without which outcomes would differ."""
    if isinstance(found, BaseException):
        raise UserError(f"the worker {worker} {CANNOT_IMPORT}")
    theirs = {**found, **found["versions"]}
    for name, version in {**wanted, **wanted["versions"]}.items():
        if name != "versions" and theirs.get(name) != version:
            other = "other code of bs6207" if name == "code" else f"{name} {theirs.get(name)} instead of {version}"
            raise UserError(f"the worker {worker} has {other}; install the same versions there as here, or restart it")
