"""Files that are written whole or not at all; nothing else in the package writes."""

import csv
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from bs6207.errors import FolderError
from bs6207.runs.result import Table


def write_whole(file: Path, content: bytes | memoryview, replace: bool = True) -> bool:
    """Write one file so that it is whole or absent: under a temporary name, synced, renamed; whether it was written.

    Without `replace`, a name that is taken, or about to be, is left alone.
    """
    temporary = temporary_of(file)
    try:
        try:
            stream = temporary.open("wb" if replace else "xb")
        except FileExistsError:
            return False
        try:
            with stream:
                if not replace and os.path.lexists(file):  # a link that leads nowhere counts too
                    return False
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as failure:
        failure.filename = str(file)  # and not the temporary name
        raise
    return True


def temporary_of(file: Path) -> Path:
    """Temporary name of a file: always the same, and short, as the file's own may be as long as a name can be."""
    return file.with_name(f".{hashlib.sha256(os.fsencode(file.name)).hexdigest()[:16]}.tmp")


def write_new(file: Path, content: bytes, flag: str = "--out") -> Path:
    """Write one file under its name or, where that is taken, with -2, -3, ... after it; the name it got.

    A name that becomes too long for the file system by that, or by its suffix, loses letters at the end of its stem.
    """
    with failing_writes(file, flag):
        file.parent.mkdir(parents=True, exist_ok=True)
        stem, count = file.stem, 1
        while True:
            free = file.with_name(f"{stem}{'' if count == 1 else f'-{count}'}{file.suffix}")
            try:
                if write_whole(free, content, replace=False):
                    sync_folder(file.parent)
                    return free
                count += 1
            except OSError as failure:
                if failure.errno != errno.ENAMETOOLONG or len(stem) == 1:
                    raise
                stem = stem[:-1]


def fill_with_links(folder: Path, files: Mapping[Path, Path]) -> None:
    """Fill a new or empty folder, whole or not at all, with symbolic links or, where the system makes none, copies.

    Args:
        files: by name within the folder, the file that a link leads to.

    Raises:
        FolderError: there is something in the folder, or it cannot be written.
    """
    with failing_writes(folder, "--link"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=".links-") as temporary:
            for name, file in files.items():
                link = Path(temporary, "links", name)
                link.parent.mkdir(parents=True, exist_ok=True)
                try:
                    link.symlink_to(file)
                except (NotImplementedError, OSError):  # a file system or an account without links
                    write_whole(link, file.read_bytes())
            if folder.is_dir() and any(folder.iterdir()):
                raise FolderError(f"{folder} is not empty, and nothing is overwritten", "choose another --link")
            if folder.is_dir():
                folder.rmdir()  # which Windows would not replace
            Path(temporary, "links").rename(folder)


def write_again(file: Path, content: bytes, kind: bytes) -> None:
    """Write one file, in place of an earlier one if that is of its kind: it begins with `kind`, as `content` does."""
    with failing_writes(file):
        if file.exists():
            with file.open("rb") as stream:
                if stream.read(len(kind)) != kind:
                    raise FolderError(f"{file} exists and is something else; choose another --out")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)


@contextmanager
def failing_writes(folder: Path, flag: str = "--out") -> Iterator[None]:
    """Report a refused write in one sentence, as a FolderError."""
    try:
        yield
    except OSError as failure:
        remedy = f"choose {'a shorter' if failure.errno == errno.ENAMETOOLONG else 'another'} {flag}"
        if failure.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            remedy = f"make room and run the same command to go on, or {remedy}"
        where = failure.filename or folder
        raise FolderError(f"cannot write {where}: {failure.strerror or failure}", remedy) from failure


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def strict_json(value: Any, indent: int | None = 2) -> str:
    """JSON that any reader takes, ending its line: sorted keys, and null where a number is not finite."""
    return json.dumps(finite(value), sort_keys=True, indent=indent, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The same value with None for every number that JSON cannot hold, and numpy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_csv(table: Table) -> str:
    """Comma-separated values with a header; floats in full, so that reading them back loses nothing."""
    lines = list[str]()
    # A carriage return is quoted only if lines end with one.
    writer = csv.DictWriter(SimpleNamespace(write=lines.append), table.columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(table.rows)
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)
