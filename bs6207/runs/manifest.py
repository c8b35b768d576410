"""What must be equal for a run to resume from a checkpoint, and the facts about this machine that env.json records."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType
from typing import Any

from bs6207._version import __version__

PACKAGE = Path(__file__).parents[1]
STORIES = ("bump", "latent", "deblur")
ROOMS = {"audit": "bump/conformance"}  # of experiments whose folder has another name
NOT_RESULTS = ("cli", "page", "figures.py")  # of the package: code that cannot change the outcome of a task

# Packages whose versions can change the outcome of a task.
LIBRARIES = (
    *("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "scikit-network"),
    *("pillow", "matplotlib", "umap-learn"),  # which read and degrade images, and project latents
)
IN_ENVIRONMENT = ("torch", "torchvision", "numpy", "scikit-learn", "scikit-image", "matplotlib")


def code_and_versions(*commands: str) -> dict[str, Any]:
    """What determines the outcomes of these commands, all if none are named, beside settings and data."""
    return {
        "code": code_hash(*(commands or STORIES)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in LIBRARIES},
    }


@cache  # a process may start many runs
def version_of(package: str) -> str | None:
    """The version that is installed, None for an extra that is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def room_of(command: str) -> str:
    """The folder of the package that holds the experiment of a command."""
    return ROOMS.get(command, command)


def code_hash(*commands: str) -> str:
    """Hash of the code that the experiments of these commands can reach, without comments and docstrings."""
    unseen = {file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py")}
    unseen -= {file for file in unseen if {*file.parts} & {*NOT_RESULTS}}
    seen: dict[Path, str] = {}
    todo = [Path(room_of(command), "experiment.py") for command in commands]
    while todo:
        if (file := todo.pop()) in unseen:
            unseen.remove(file)
            seen[file], imports = analyze((PACKAGE / file).read_bytes())
            todo += imports
    return hashlib.sha256("".join(seen[file] for file in sorted(seen)).encode()).hexdigest()


@cache
def analyze(source: bytes) -> tuple[str, set[Path]]:
    """What the code of a file does, and files of the package that it may import; not all of those exist."""
    content, imports = list[Any](), set[Path]()
    # Docstrings and asserts go with `optimize`; comments are in no code.
    codes = [compile(source, "", "exec", dont_inherit=True, optimize=2)]
    for code in codes:  # which grows by the functions and classes inside
        # All that determines what code does, without the lines where it stands.
        content += code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_flags
        content.append(code.co_exceptiontable)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                codes.append(constant)
            else:  # a set in an order that is the same in every process
                content.append(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
        imports |= {*imported(code)}
    return repr(content), imports


def imported(code: CodeType) -> Iterator[Path]:
    modules = [parts for package, *parts in (name.split(".") for name in code.co_names) if package == PACKAGE.name]
    tuples = [constant for constant in code.co_consts if isinstance(constant, tuple)] if modules else []
    names = [part for constant in tuples for part in constant if isinstance(part, str)]  # of `from ... import names`
    for parts in modules:
        for module in (Path(*parts), *(Path(*parts, name) for name in names)):
            yield module / "__init__.py"
            if module.name:
                yield module.with_suffix(".py")


def environment_facts(started: float) -> dict[str, Any]:
    """What env.json says beside device, threads and seconds, of a run that `started` at these seconds of the epoch."""
    return {
        "argv": sys.argv,
        "commit": git_commit(),
        "pid": os.getpid(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "start": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "versions": {"bs6207": __version__, **{name: version_of(name) for name in IN_ENVIRONMENT}},
    }


def git_commit() -> str | None:
    """The commit of the checkout this package runs from; None for an installed one."""
    command = ["git", "-C", str(PACKAGE), "rev-parse", "HEAD"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return None
