"""Runs bs6207 again and again, each time in a process of its own, forked from one that has imported what it needs.

Starting Python and importing torch take most of the time of a short command, and the tests run hundreds. What is forked
differs from `python -m bs6207` in its imports alone.
"""

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

Constants = Mapping[str, Mapping[str, Any]]  # by module and name

IMPORTED = (
    "bs6207.bump.experiment",
    "bs6207.latent.experiment",
    "bs6207.latent.probes",
    "bs6207.deblur.experiment",
    "bs6207.deblur.restore",
    "bs6207.report.page",
    "matplotlib.backends.backend_svg",
    "sklearn.cluster",
    "torch._dynamo",
)
LIMIT = 1800  # seconds; what takes longer, beside other tests on a slow machine, hangs and is killed


@cache
def server() -> subprocess.Popen[str]:
    """The process to fork from, which ends when its input does."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)
    return process


def run(
    arguments: Sequence[str], cwd: Path, environment: Mapping[str, str], constants: Constants
) -> subprocess.CompletedProcess[str]:
    """`bs6207` with these arguments, run to its end with other values of some `constants`."""
    asked, answered = server().stdin, server().stdout
    assert asked is not None
    assert answered is not None
    with NamedTemporaryFile() as out, NamedTemporaryFile() as err:
        line = [arguments, str(cwd), {**environment}, [out.name, err.name], constants]
        print(json.dumps(line), file=asked, flush=True)
        code = int(answered.readline())
        return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())


def serve() -> None:
    """Fork for every line of the input, and answer with the exit code."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # or every fork would soon copy it all
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            os._exit(become(*json.loads(line)))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(
    arguments: list[str], cwd: str, environment: dict[str, str], streams: list[str], constants: Constants
) -> int:
    """Be the command, to the end; to take the interpreter apart too would cost a second."""
    from bs6207.cli import main

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
    serve()
