"""Runs bs6207 again and again, each time in a process of its own, forked from one that has imported what it needs.

Starting Python and importing torch take most of the time of a short command, and the tests run hundreds. What is forked
differs from `python -m bs6207` in its imports alone. All test processes share the one that imports.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple, TextIO

Constants = Mapping[str, Mapping[str, Any]]  # by module and name


class Stop(NamedTuple):
    """A signal that a run is sent once its working directory holds a file of this pattern."""

    signal: int
    pattern: str


IMPORTED = (
    "bs6207.bump.experiment",
    "bs6207.latent.experiment",
    "bs6207.latent.evaluation",
    "bs6207.deblur.experiment",
    "bs6207.deblur.restore",
    "bs6207.page.build",
    "matplotlib.backends.backend_svg",
    "sklearn.cluster",
    "torch._dynamo",
)
LIMIT = 1800  # seconds; what takes longer, beside other tests on a slow machine, hangs and is killed


def start() -> None:
    """Start the process to fork from, which imports nothing until it is asked and ends when this one does."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address(os.getpid()))
        listening.listen()
        command = [sys.executable, __file__, str(listening.fileno())]
        pipe = subprocess.PIPE  # not a file, which Python would seek in, as it looks at stdout only at start
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=[listening.fileno()])
    atexit.register(process.__exit__, None, None, None)


def address(controller: int) -> str:
    """Of the socket, by the process that hands out the tests; it is in no folder (man 7 unix, abstract)."""
    return f"\0bs6207-tests-{controller}"


@cache
def server() -> TextIO:
    """A connection of this test process to the process to fork from."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()))
        return connection.makefile("rw")


def run(
    arguments: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    constants: Constants,
    stop: Stop | None = None,
    terminal: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """`bs6207` with these arguments, run to its end with other values of some `constants`.

    Args:
        terminal: a device that gets both streams, which are then empty in what is returned.
    """
    with NamedTemporaryFile() as out, NamedTemporaryFile() as err:
        streams = [terminal, terminal] if terminal else [out.name, err.name]
        line = [stop, arguments, str(cwd), {**environment}, streams, constants]
        print(json.dumps(line), file=server(), flush=True)
        code = int(server().readline())
        return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())


def serve(listening: socket.socket) -> None:
    """Fork a process for every connection, until the process that has started this one ends."""
    from bs6207.data.sources import embedded_digits
    from bs6207.figures import own_letters
    from bs6207.runs.manifest import code_and_versions

    while sys.stdin not in select.select([sys.stdin, listening], [], [])[0]:
        connection, _ = listening.accept()
        for name in IMPORTED:
            import_module(name)
        code_and_versions(), embedded_digits(), own_letters()  # once for all forks
        gc.freeze()  # or every fork would soon copy it all
        if os.fork() == 0:
            listening.close()
            answer(connection.makefile("rw"))
            os._exit(0)
        connection.close()


def answer(connection: TextIO) -> None:
    """Fork for every line that is asked, and answer with the exit code."""
    for line in connection:
        stop, *command = json.loads(line)
        if (child := os.fork()) == 0:
            os._exit(become(*command))
        status = until(Stop(*stop), Path(command[1]), child) if stop else os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), file=connection, flush=True)


def until(stop: Stop, cwd: Path, child: int) -> int:
    """Send a child its signal in time; the status it ends with."""
    while not any(cwd.glob(stop.pattern)):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(child, stop.signal)
    return os.waitpid(child, 0)[1]


def become(
    arguments: list[str], cwd: str, environment: dict[str, str], streams: list[str], constants: Constants
) -> int:
    """Be the command, to the end; to take the interpreter apart too would cost a second."""
    from bs6207.cli.commands import main

    for module, values in constants.items():
        for name, value in values.items():
            setattr(import_module(module), name, value)
    signal.alarm(LIMIT)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate((os.devnull, *streams)):
        os.dup2(os.open(name, os.O_RDWR), number)
    sys.path[0] = ""
    sys.argv = ["bs6207", *arguments]
    try:
        main()
    except SystemExit as end:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        return int(end.code or 0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
