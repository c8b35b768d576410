"""Worker processes, and on Linux the server that they are forked from, which has imported what they need.

A fork of the caller would copy the state of torch's threads half-way. One of a server that has only imported is safe,
and need not import again; macOS libraries do not bear a fork and Windows has none, so there each worker imports.

Not multiprocessing's own server: it belongs to the caller, whose settings it would change, it runs the caller's script
again in every worker, and it stays when its last worker has ended.
"""

import gc
import logging
import multiprocessing
import os
import pickle
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from bs6207.runs.memory import keep_memory

CAN_FORK = sys.platform == "linux"
FORK, WAIT = b"f", b"w"  # what the server is asked for: a worker, and the exit code of one
NUMBER = struct.Struct("q")  # its answers: a process id or an exit code
SETUP = """import sys
sys.path[:] = {path}
from bs6207.runs import workers
workers.set_up_process()
{imports}
workers.serve_forks({control})
"""
IMPORT = """try: import {}
except ImportError: pass  # a worker that needs it will say so
"""
OOM_SCORE = "500"  # thousandths of all memory by which a worker counts as larger than it is (man 5 proc)


def set_up_process() -> None:
    """Set up a process of our own, which a process that only imports this package is not.

    Importing torch and scikit-learn makes many objects and no garbage, and to look for it as often as Python does by
    itself takes a fifth of the time. matplotlib gives advice on where to keep its list of fonts.
    """
    gc.set_threshold(100_000)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


class Server:
    """A process that imports modules, and from which workers are then forked."""

    def __init__(self, modules: Sequence[str]):
        self.lock = threading.Lock()  # it answers one question at a time
        self.control, theirs = socket.socketpair()
        with theirs:
            imports = "".join(map(IMPORT.format, modules))
            code = SETUP.format(path=sys.path, imports=imports, control=theirs.fileno())
            flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            command = [sys.executable, *flags, "-c", code]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def fork(self, pipe: Connection) -> "ForkedProcess":
        """Start a worker at the other end of a pipe; waits for the imports."""
        with self.lock:
            socket.send_fds(self.control, [FORK], [pipe.fileno()])
            return ForkedProcess(self, self.answer())

    def exit_code(self, process: int) -> int:
        """Of a worker that ends; asked once."""
        with self.lock:
            self.control.sendall(WAIT + NUMBER.pack(process))
            return self.answer()

    def answer(self) -> int:
        content = b""
        try:
            content = self.control.recv(NUMBER.size, socket.MSG_WAITALL)
        finally:
            if len(content) < NUMBER.size:  # an answer that came later would be taken for that to the next question
                self.close()
        if not content:
            raise ConnectionError("the process that starts workers died")
        return NUMBER.unpack(content)[0]

    def close(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()


class ForkedProcess:
    """A worker; what of `multiprocessing.Process` is needed here."""

    def __init__(self, server: Server, pid: int):
        self.server, self.pid = server, pid
        self.exitcode: int | None = None

    def kill(self) -> None:
        if self.exitcode is None:  # until then the server keeps its number from being given to another process
            with suppress(ProcessLookupError):  # the server was killed
                os.kill(self.pid, signal.SIGKILL)

    def join(self) -> None:
        if self.exitcode is None:
            try:
                self.exitcode = self.server.exit_code(self.pid)
            except OSError:
                self.exitcode = 1  # nobody knows any more


class Workers:
    """Starts worker processes, each at the other end of a pipe."""

    def __init__(self, modules: Sequence[str]):
        self.modules = modules
        self.server: Server | None = None
        self.lock, self.is_shut_down, self.processes = threading.Lock(), False, list[Any]()

    def prepare(self) -> None:
        """Have the modules imported, where workers can share them."""
        with self.lock:
            if self.server and self.server.process.poll() is not None:
                self.server.close()
                self.server = None
            if CAN_FORK and not self.is_shut_down and not self.server:
                self.server = Server(self.modules)

    def start(self) -> tuple[Any, Connection]:
        """A new process and the pipe to it; ConnectionError if it cannot be."""
        self.prepare()
        ours, theirs = Pipe()
        with self.lock, theirs:
            if self.is_shut_down:
                raise ConnectionError("the run has ended")
            if self.server:
                self.processes.append(self.server.fork(theirs))
            else:
                process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
                with without_main():
                    process.start()
                self.processes.append(process)
            return self.processes[-1], ours

    def join(self, process: Any) -> int:
        """The exit code of a process that ends."""
        process.join()
        return process.exitcode

    def kill(self) -> None:
        """End all processes, whatever they are doing, and start no more."""
        with self.lock:
            self.is_shut_down = True
            for process in self.processes:
                process.kill()

    def close(self) -> None:
        """Wait until all that were killed have ended, and end the server."""
        for process in self.processes:
            self.join(process)
        if self.server:
            self.server.close()


@contextmanager
def without_main() -> Iterator[None]:
    """Hide the caller's script, which multiprocessing would run again in a new process."""
    main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def serve_forks(control: int) -> NoReturn:
    """Fork a worker for every pipe that comes; ends when the parent closes its end."""
    gc.freeze()  # so that workers share this process's memory
    with socket.socket(fileno=control) as parent:
        while True:
            request, pipes, *_ = socket.recv_fds(parent, 1, 1)
            if request == FORK:
                with warnings.catch_warnings(action="ignore"):  # of threads that libraries have started, and that idle
                    child = os.fork()
                if child == 0:
                    parent.close()
                    try:
                        serve(Connection(pipes[0]))
                    finally:
                        os._exit(1)
                os.close(pipes[0])
                parent.sendall(NUMBER.pack(child))
            elif request == WAIT:
                (child,) = NUMBER.unpack(parent.recv(NUMBER.size, socket.MSG_WAITALL))
                parent.sendall(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
            else:
                os._exit(0)  # without taking anything apart: it holds the command's output open, too


def serve(pipe: Connection) -> NoReturn:
    """Run calls in a worker, one after the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Where memory is short Linux kills this process before its parent, which reports it.
    with suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as file:
        file.write(OOM_SCORE)
    set_up_process()
    keep_memory()
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=receive, args=(pipe, calls), daemon=True).start()

    def send(*event: Any) -> None:
        pipe.send_bytes(pickle.dumps(event))

    while True:
        call = calls.get()
        try:
            send("returned", pickle.loads(call)(send))
        except Exception as failure:
            failure.add_note(traceback.format_exc())  # a traceback cannot be pickled
            send("raised", picklable(failure))


def receive(pipe: Connection, calls: "queue.SimpleQueue[bytes]") -> NoReturn:
    """Receive calls and end this process when the pipe closes, as the system closes it for a parent that is killed."""
    try:
        while True:
            calls.put(pipe.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)


def picklable(failure: Exception) -> Exception:
    """The exception itself or, where it cannot be pickled, its words."""
    try:
        pickle.loads(pickle.dumps(failure))
    except Exception:
        return RuntimeError(f"{type(failure).__name__}: {failure}")
    return failure
