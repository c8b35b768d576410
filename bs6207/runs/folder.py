"""The folder of a run: locked while it is filled, published in one rename, and never overwritten.

    outputs/latent/                 the last run that finished
    outputs/latent.partial/         the run under way, or one that was interrupted: the same command goes on with it
    outputs/history/latent-<UTC>/   every earlier run
    outputs/.latent.lock            held by the one process that fills the folder

Nothing else in the package writes files.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path, user_config_path

from bs6207.errors import FolderError, UserError
from bs6207.runs.files import failing_writes, strict_json, sync_folder, to_csv, write_whole
from bs6207.runs.manifest import code_and_versions, environment_facts
from bs6207.runs.result import METADATA, Result, Row
from bs6207.runs.settings import Settings

RECORD = "config.toml"  # a folder that holds one is a run
CELLS = "cells"  # the folder of checkpoints in the partial folder
MANIFEST, FINGERPRINT = "manifest.json", "fingerprint"  # what must match to resume: settings and versions; data
FONTS = "matplotlib"  # a folder, where matplotlib has none
HEADLINE, REMARKS = "headline", "remarks.txt"  # what the command prints: the table, and a sentence a line


class Run:
    """A run under way; what it writes stays in the partial folder until it is published."""

    def __init__(self, command: str, folder: Path):
        self.command, self.folder, self.started = command, folder, time.time()
        self.partial = folder.with_name(folder.name + ".partial")
        self.cells = self.partial / CELLS
        self.archived = ""  # or a sentence on an interrupted run that is not resumed
        self.may_resume = False  # whether there is an interrupted run, and `resume` decides
        self.machine: Mapping[str, Any] = {"device": None, "threads": None}  # for env.json

    def begin(self, settings: Settings) -> None:
        """Prepare the partial folder, and archive an interrupted run that cannot be resumed."""
        self.settings = settings
        required = strict_json({"settings": settings.model_dump(), **code_and_versions(self.command)})
        if self.partial.exists():
            self.may_resume = not settings.fresh and required == self.read(MANIFEST)
            if not self.may_resume:
                place = self.archive(self.partial)
                which = "the interrupted run" if settings.fresh else "an interrupted run of other settings or versions"
                self.archived = f"begins anew; {which} is in {place}"
        self.cells.mkdir(parents=True, exist_ok=True)
        write_whole(self.cells / MANIFEST, required.encode())
        if not self.may_resume:
            self.write("history.jsonl", b"")
        self.write_settings(settings)
        self.write_environment()

    def resume(self, fingerprint: str) -> str:
        """Resume an interrupted run if its data and device are the same, or else archive it; a sentence on that."""
        sentence = "goes on where it was interrupted" if self.may_resume else ""
        with failing_writes(self.partial):
            if self.may_resume and self.read(FINGERPRINT) not in (None, fingerprint):
                place = self.archive(self.partial)
                self.begin(self.settings)
                sentence = f"begins anew, as its data or the device have changed; the interrupted run is in {place}"
            if self.may_resume:
                self.write("history.jsonl", b"")  # its rows are in the checkpoints
            write_whole(self.cells / FINGERPRINT, fingerprint.encode())
        self.may_resume = False
        return sentence

    def read(self, name: str) -> str | None:
        """A file beside the checkpoints, None if it cannot be read."""
        try:
            return (self.cells / name).read_text()
        except (OSError, UnicodeDecodeError):
            return None

    def write(self, name: str, content: bytes) -> None:
        write_whole(self.partial / name, content)

    def record(self, row: Row) -> None:
        """Append one row to history.jsonl; it is on disk when this returns."""
        with failing_writes(self.partial), (self.partial / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(strict_json(row, indent=None))
            file.flush()
            os.fsync(file.fileno())

    def write_settings(self, settings: Settings) -> None:
        """Write config.toml, which `--config` takes to run the same again."""
        lines = [f"# bs6207 {self.command} --config {RECORD} runs this again.", f"[{self.command}]"]
        # A JSON scalar or list is a TOML value too, but for DEL, which TOML wants escaped; None has none, and is the
        # default where it is allowed.
        for key, value in settings.model_dump(exclude_none=True).items():
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f"))
        self.write(RECORD, ("\n".join(lines) + "\n").encode())

    def write_environment(self, seconds: float | None = None) -> None:
        """Write env.json: all that may differ between two runs of the same settings, clock times included."""
        facts = {**environment_facts(self.started), **self.machine, "seconds": seconds}
        self.write("env.json", strict_json(facts).encode())

    def write_result(self, result: Result, map_figures: Callable[..., Iterable[Any]] = map) -> str:
        """Write the result of an experiment; return the letters on its figures for which no font is installed."""
        drawings: Iterable[Any] = ()
        if result.figures:
            from bs6207.figures import drawn

            drawings = map_figures(drawn, result.figures.values())  # begun now, fetched after the rest is written
        for name, table in {HEADLINE: result.headline, **result.tables}.items():
            self.write(f"{name}.csv", to_csv(table).encode())
        self.write(REMARKS, "".join(f"{' '.join(sentence.split())}\n" for sentence in result.remarks).encode())
        for name, weights in result.weights.items():
            from safetensors.torch import save

            tensors = {key: tensor.contiguous() for key, tensor in weights.tensors.items()}
            self.write(f"{name}.safetensors", save(tensors, {METADATA: strict_json(weights.facts, indent=None)}))
        for name, content in result.files.items():
            self.write(name, content)
        boxes = set[str]()
        for name, (files, without_font) in zip(result.figures, drawings, strict=True):
            boxes |= {*without_font}
            for kind, content in files.items():
                self.write(f"{name}.{kind}", content)
        self.write_settings(result.settings)
        self.write("metrics.json", strict_json(result.metrics).encode())
        self.write_environment(round(time.time() - self.started, 3))
        return "".join(sorted(boxes))

    def archive(self, folder: Path) -> Path:
        """Move a folder into the history, under the time it was last written; nothing is ever deleted."""
        when = datetime.fromtimestamp(folder.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%SZ")
        history = self.folder.parent / "history"
        history.mkdir(exist_ok=True)
        names = (history / f"{folder.name}-{when}{f'-{number}' if number > 1 else ''}" for number in count(1))
        return folder.rename(next(name for name in names if not name.exists()))

    def publish(self) -> None:
        """Move the finished run to its own name, and the run that was there before to the history.

        Checkpoints are removed last: killed a moment earlier, the same command still publishes this run.
        """
        earlier = self.archive(self.folder) if is_run(self.folder, self.command) else None
        try:
            self.partial.rename(self.folder)
        except OSError:
            if earlier:
                earlier.rename(self.folder)
            raise
        sync_folder(self.folder.parent)
        self.remove_checkpoints()

    def remove_checkpoints(self) -> None:
        shutil.rmtree(self.folder / CELLS, ignore_errors=True)


@contextmanager
def open_run(command: str, folder: Path, settings: Settings) -> Iterator[Run]:
    """Lock `folder`, check that it can be written, and publish the run if the block ends well."""
    with locked(command, folder) as run:
        with failing_writes(run.folder.parent):
            run.remove_checkpoints()  # a run that was killed while it was published has not
            run.begin(settings)
        try:
            yield run
        except UserError:
            if {file.name for file in run.cells.glob("*")} <= {MANIFEST, FINGERPRINT, FONTS}:  # and no checkpoint
                shutil.rmtree(run.partial, ignore_errors=True)
            raise
        with failing_writes(run.folder.parent):
            run.publish()


def copy_run(command: str, source: Path, folder: Path) -> None:
    """Copy the files of a finished run into a folder; what lies there moves to the history."""
    files = {file.name: file.read_bytes() for file in sorted(source.iterdir()) if file.is_file()}
    with locked(command, folder) as run, failing_writes(run.folder.parent):
        if run.partial.exists():
            run.archive(run.partial)
        run.partial.mkdir()
        for name, content in files.items():
            run.write(name, content)
        run.publish()


@contextmanager
def locked(command: str, folder: Path) -> Iterator[Run]:
    """Lock `folder` for a run of `command`; FolderError if it is busy, something else, or cannot be written."""
    with failing_writes(folder):
        run = Run(command, folder.resolve())  # a link stays where it is, and what it points to is filled
        is_empty = run.folder.is_dir() and not any(run.folder.iterdir())
        if run.folder.exists() and not is_run(run.folder, command) and not is_empty:
            raise FolderError(f"{folder} exists and is not a run of bs6207 {command}; choose another --out")
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        file = run.folder.with_name(f".{run.folder.name}.lock")
        file.touch()  # so that a folder that cannot be written is told apart from a lock that is held
        lock = FileLock(file, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            busy = f"{folder} is being filled by {holder(run.partial)}"
            raise FolderError(busy, "wait for it, or choose another --out") from None
    try:
        yield run
    finally:
        lock.release()


def holder(partial: Path) -> str:
    """The process that fills a partial folder, as in "process 123"."""
    try:
        return f"process {json.loads((partial / 'env.json').read_text())['pid']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def is_run(folder: Path, command: str) -> bool:
    record = folder / RECORD
    return record.is_file() and f"[{command}]" in record.read_text("utf-8", errors="replace").split("\n")


@contextmanager
def matplotlib_folder(run: Run) -> Iterator[None]:
    """Have matplotlib keep its list of fonts with the run where the user's own folders cannot be written."""
    if "MPLCONFIGDIR" in os.environ or (is_writable(user_config_path) and is_writable(user_cache_path)):
        yield
        return
    os.environ["MPLCONFIGDIR"] = str(run.cells / FONTS)
    try:
        yield
    finally:
        del os.environ["MPLCONFIGDIR"]


def is_writable(path_of: Callable[..., Path]) -> bool:
    try:
        return os.access(path_of("matplotlib", ensure_exists=True), os.W_OK)
    except (OSError, RuntimeError):  # a user without a home has none
        return False


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file, which is left as it was."""
    before = lock.stat()
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
    finally:  # some versions of filelock write to the file
        os.utime(lock, ns=(before.st_atime_ns, before.st_mtime_ns))
