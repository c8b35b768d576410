"""The folder of a run: locked while it is filled, published in one rename, and never overwritten.

    outputs/latent/                 the last run that finished
    outputs/latent.partial/         the run under way, or one that was interrupted: the same command goes on with it
    outputs/history/latent-<UTC>/   every earlier run
    outputs/.latent.lock            held by the one process that fills the folder

Nothing else in the package writes files.
"""

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock, Timeout
from platformdirs import user_cache_path, user_config_path

from bs6207 import __version__
from bs6207.errors import FolderError, UserError
from bs6207.runs.files import failing_writes, strict_json, sync_folder, to_csv, write_whole
from bs6207.runs.manifest import VERSIONED, git_commit, identity
from bs6207.runs.result import METADATA, Result, Row
from bs6207.runs.settings import Settings

RECORD = "config.toml"  # a folder that holds one is a run
CELLS = "cells"  # where the pieces of a run under way put aside what they have, see checkpoints.py
MADE_FOR, MADE_OF = "made_for.json", "made_of"  # the settings and versions of a run under way, and its data
FONTS = "matplotlib"  # a folder, where matplotlib has none
HEADLINE, REMARKS = "headline", "remarks.txt"  # what the command prints: the table, and a sentence a line
Each: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]  # `map`, or one of its kind


class Run:
    """A run under way; what it writes stays in the partial folder until it is published.

    Attributes:
        interrupted: what became of an interrupted run that does not go on, in words; empty if there was none.
        resumes: whether one was found that goes on if its data are the same, which `use` is told.
    """

    def __init__(self, command: str, folder: Path):
        self.command = command
        self.folder = folder
        self.partial = folder.with_name(folder.name + ".partial")
        self.cells = self.partial / CELLS
        self.history = folder.parent / "history"
        self.started = time.time()
        self.interrupted = ""
        self.resumes = False

    def begin(self, settings: Settings) -> None:
        """Find out whether an interrupted run may go on, and lay the folder out for this one."""
        self.settings = settings
        made_for = identity(settings)
        if self.partial.exists():
            self.resumes = not settings.fresh and made_for == self.put_aside(MADE_FOR)
            if not self.resumes:
                place = self.archive(self.partial)
                what = "the interrupted run" if settings.fresh else "an interrupted run of other settings or versions"
                self.interrupted = f"begins anew; {what} is in {place}"
        self.cells.mkdir(parents=True, exist_ok=True)
        write_whole(self.cells / MADE_FOR, made_for.encode())
        if not self.resumes:
            self.write("history.jsonl", b"")
        self.write_settings(settings)
        self.write_environment(settings)

    def use(self, given: str) -> str:
        """Go on with what an interrupted run put aside if it was made of the same data, or else begin anew.

        Args:
            given: what outcomes depend on beside the settings, such as the checksum of the data.

        Returns:
            Which of the two it was, in words; empty if no run was interrupted.
        """
        told = ""
        with failing_writes(self.partial):
            if self.resumes:
                self.resumes = False
                told = "goes on where it was interrupted"
                if self.put_aside(MADE_OF) not in (None, given):
                    place = self.archive(self.partial)
                    self.begin(self.settings)
                    told = f"begins anew, as what it reads has changed; the interrupted run is in {place}"
                self.write("history.jsonl", b"")  # its rows are put aside with the pieces they are of
            write_whole(self.cells / MADE_OF, given.encode())
        return told

    def put_aside(self, name: str) -> str | None:
        """What the run that left the partial folder was made for or of, if that can be read."""
        try:
            return (self.cells / name).read_text()
        except (OSError, UnicodeDecodeError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write one file so that it is whole or absent."""
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

    def write_environment(self, settings: Settings, seconds: float | None = None) -> None:
        """Write env.json: all that may differ between two runs of the same settings, clock times included."""
        environment = {
            "argv": sys.argv,
            "commit": git_commit(),
            "device": settings.device,
            "pid": os.getpid(),
            "platform": platform.platform(),
            "python": platform.python_version(),
            "seconds": seconds,
            "start": datetime.fromtimestamp(self.started, UTC).isoformat(timespec="seconds"),
            "threads": sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None,
            "versions": {"bs6207": __version__, **{name: version(name) for name in VERSIONED}},
        }
        self.write("env.json", strict_json(environment).encode())

    def write_result(self, result: Result, each: Each = map) -> str:
        """Write all that an experiment found; the letters on its figures for which no font is installed.

        Args:
            each: a `map`, which may have several figures drawn at once, and while this process does other things.
        """
        from bs6207.figures import drawn

        files_of_figures = each(drawn, result.figures.values())  # begun now, fetched when the rest is written
        for name, table in {HEADLINE: result.headline, **result.tables}.items():
            self.write(f"{name}.csv", to_csv(table).encode())
        self.write(REMARKS, "".join(f"{' '.join(sentence.split())}\n" for sentence in result.remarks).encode())
        for name, weights in result.weights.items():
            from safetensors.torch import save

            tensors = {key: tensor.contiguous() for key, tensor in weights.tensors.items()}
            self.write(f"{name}.safetensors", save(tensors, {METADATA: strict_json(weights.facts, indent=None)}))
        for name, content in result.files.items():
            self.write(name, content)
        boxes = ""
        for name, (files, without_font) in zip(result.figures, files_of_figures, strict=True):
            boxes += without_font
            for kind, content in files.items():
                self.write(f"{name}.{kind}", content)
        self.write_settings(result.settings)
        self.write("metrics.json", strict_json(result.metrics).encode())
        self.write_environment(result.settings, round(time.time() - self.started, 3))
        return "".join(sorted(set(boxes)))

    def archive(self, folder: Path) -> Path:
        """Move a folder into the history, under the time it was last written; nothing is ever deleted."""
        when = datetime.fromtimestamp(folder.stat().st_mtime, UTC).strftime("%Y%m%dT%H%M%SZ")
        self.history.mkdir(exist_ok=True)
        name, place, count = f"{folder.name}-{when}", None, 1
        while place is None or place.exists():
            place = self.history / (name if count == 1 else f"{name}-{count}")
            count += 1
        folder.rename(place)
        return place

    def publish(self) -> None:
        """Show the finished run under its own name; the run that was there before moves to the history.

        What the pieces have put aside goes last: killed a moment earlier, the same command still publishes this run.
        """
        earlier = self.archive(self.folder) if is_run(self.folder, self.command) else None
        try:
            self.partial.rename(self.folder)
        except OSError:
            if earlier:
                earlier.rename(self.folder)
            raise
        sync_folder(self.folder.parent)
        self.clear()

    def forget(self) -> None:
        """Remove what a refused run leaves if none of its pieces has put anything aside to go on with."""
        if all(file.name in (MADE_FOR, MADE_OF, FONTS) for file in self.cells.glob("*")):
            shutil.rmtree(self.partial, ignore_errors=True)

    def clear(self) -> None:
        """Remove what the pieces of the finished run have put aside."""
        shutil.rmtree(self.folder / CELLS, ignore_errors=True)


@contextmanager
def open_run(command: str, folder: Path, settings: Settings) -> Iterator[Run]:
    """Lock `folder`, prove that it can be written, and publish it if the block ends well.

    Raises:
        FolderError: another process fills this folder, it holds something else, or the disk refuses a write.
    """
    with failing_writes(folder):
        run = Run(command, folder.resolve())  # a link stays where it is, and what it points to is filled
        if run.folder.exists() and not is_run(run.folder, command) and not is_empty_folder(run.folder):
            raise FolderError(f"{folder} exists and is not a run of bs6207 {command}; choose another --out")
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        place = run.folder.with_name(f".{run.folder.name}.lock")
        place.touch()  # so that a place that cannot be written is told apart from a lock that is held
        lock = FileLock(place, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise FolderError(
                f"{folder} is being filled by {holder(run.partial)}; wait for it, or choose another --out"
            ) from None
    try:
        with failing_writes(run.folder.parent):
            run.clear()  # a run that was killed while it was published has not
            run.begin(settings)
        try:
            yield run
        except UserError:
            run.forget()
            raise
        with failing_writes(run.folder.parent):
            run.publish()
    finally:
        lock.release()


def holder(partial: Path) -> str:
    """The process that fills a partial folder, in words."""
    try:
        return f"process {json.loads((partial / 'env.json').read_text())['pid']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def is_run(folder: Path, command: str) -> bool:
    """Whether a folder was filled by this command."""
    record = folder / RECORD
    return record.is_file() and f"[{command}]" in record.read_text("utf-8", errors="replace").split("\n")


def is_empty_folder(folder: Path) -> bool:
    """Whether a run may take this place."""
    return folder.is_dir() and not any(folder.iterdir())


@contextmanager
def place_for_matplotlib(run: Run) -> Iterator[None]:
    """Have matplotlib keep its list of fonts with the run where the user's own folders cannot be written."""
    if "MPLCONFIGDIR" in os.environ or all(map(can_hold, (user_config_path, user_cache_path))):
        yield
        return
    os.environ["MPLCONFIGDIR"] = str(run.cells / FONTS)
    try:
        yield
    finally:
        del os.environ["MPLCONFIGDIR"]


def can_hold(place: Callable[[str], Path]) -> bool:
    """Whether matplotlib can write to one of its folders, which it makes if it is not there."""
    try:
        place("matplotlib").mkdir(parents=True, exist_ok=True)
        return os.access(place("matplotlib"), os.W_OK)
    except (OSError, RuntimeError):  # a user without a home has none
        return False


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file; one that nobody holds is taken for an instant and left as it was."""
    before = lock.stat()
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
    finally:  # some versions of filelock write to the file
        os.utime(lock, ns=(before.st_atime_ns, before.st_mtime_ns))
