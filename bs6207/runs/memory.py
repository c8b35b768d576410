"""How much memory there is, how much of it can be had, and whether a run fits into it."""

import ctypes
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from bs6207.errors import DataError
from bs6207.runs.containers import ROOT, control_groups, text_of

COPIES = 3  # bytes that are held for each byte of pixels while images are read and split
SERVER, WORKER = 300 * 2**20, 150 * 2**20  # bytes: what workers are forked from, and each at its start


class Files(NamedTuple):
    """Where a control group says what memory it may take.

    Attributes:
        limits: files that hold a number of bytes; where there is no limit, "max" or a number beyond all memory.
        used: the file of the bytes in use, those of `cached` included.
        cached: keys in memory.stat of file pages, which are given up where memory is short.
    """

    limits: tuple[str, ...]
    used: str
    cached: tuple[str, ...]


FILES = {  # by version
    1: Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
    2: Files(("memory.max", "memory.high"), "memory.current", ("active_file", "inactive_file")),
}


def memory(root: Path = ROOT) -> int | None:
    """Bytes of memory here, of the container where there is one; None where the system does not say."""
    return least([limit for limit, _ in limits(root)], of_the_machine("MemTotal", root))


def available(root: Path = ROOT) -> int | None:
    """Bytes of memory that can be had beside what is in use; None where the system does not say."""
    return least([max(0, limit - used) for limit, used in limits(root)], of_the_machine("MemAvailable", root))


def least(of_containers: list[int], of_machine: int | None) -> int | None:
    """The smallest of them, None where nothing is known."""
    return min([*of_containers, *([] if of_machine is None else [of_machine])], default=None)


def of_the_machine(key: str, root: Path) -> int | None:
    """A line of /proc/meminfo in bytes or, where there is none, all memory of the machine."""
    for line in text_of(root / "proc/meminfo").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and bytes in use of every control group around this process that has a limit; file pages do not count."""
    for version, group in control_groups("memory", root):
        files = FILES[version]
        numbers = dict(line.split() for line in text_of(group / "memory.stat").splitlines())
        found = [text_of(group / name).strip() for name in files.limits]
        found.append(numbers.get("hierarchical_memory_limit", ""))  # version 1: of groups out of sight, too
        if known := [int(limit) for limit in found if limit.isdigit()]:
            cached = sum(int(numbers.get(key, 0)) for key in files.cached)
            yield min(known), max(0, int(text_of(group / files.used) or 0) - cached)


@dataclass(frozen=True)
class Need:
    """Bytes of memory that a run takes at its peak, beside what this process holds when it begins.

    Attributes:
        here: taken by this process whatever the tasks take, for what they find.
        waves: what each task takes; the tasks of a wave run at the same time, as far as there are processes.
    """

    here: int
    waves: Sequence[Sequence[int]]

    def of(self, processes: int) -> int:
        """With so many processes; one is this process itself."""
        together = max(sum(sorted(wave, reverse=True)[:processes]) for wave in self.waves)
        busy = min(processes, max(map(len, self.waves)))
        return self.here + together + (SERVER + busy * WORKER if processes > 1 else 0)


def require_room(what: str, need: Need, jobs: int, less: Iterable[tuple[str, Need]]) -> None:
    """Check that a run fits into the memory that can be had.

    Args:
        jobs: processes that share its tasks.
        less: what could be given instead, in words, and what would be needed then with one process.

    Raises:
        DataError: it does not fit; the message says what would.
    """
    free = available()
    if free is None or (needed := need.of(jobs)) <= free:
        return
    fewer = ((f"--jobs {count}", need.of(count)) for count in range(jobs - 1, 0, -1))
    with_one = " with --jobs 1" if jobs > 1 else ""
    ways = chain(fewer, ((f"{words}{with_one}", other.of(1)) for words, other in less))
    fits = next((f"{words} needs {in_words(size)}" for words, size in ways if size <= free), None)
    raise DataError(
        f"{what} needs about {in_words(needed)} of memory and {in_words(free)} can be had; "
        f"{fits or 'free some, or give fewer and smaller images'}"
    )


def require_memory(pixel_bytes: int, source: Path) -> None:
    """Check that so many bytes of pixels can be read.

    Raises:
        DataError: they do not fit.
    """
    free = available()
    if free is not None and (needed := COPIES * pixel_bytes) > free:
        raise DataError(
            f"the images of {source} need about {in_words(needed)} of memory and {in_words(free)} can be had; give "
            "fewer or smaller images"
        )


def in_words(count: int) -> str:
    """Bytes, for people."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
MOST_FREE, LARGE = 2**28, 2**25  # bytes: free memory that the process keeps; arrays from this size on are returned


def keep_memory() -> None:
    """Have glibc keep freed memory for the next allocation, for the rest of this process: call it in our own only.

    Returned to the system and asked for again it comes page by page, which takes up to a tenth of a training's time.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(TRIM_THRESHOLD, MOST_FREE)
        library.mallopt(MMAP_THRESHOLD, LARGE)
