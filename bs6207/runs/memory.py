"""Memory and cores that this process may take, of the machine and of its containers, and whether a run fits.

Containers are Linux control groups: docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/.
"""

import ctypes
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, NoReturn

from bs6207.errors import DataError

ROOT = Path("/")
MOUNTS = {1: "sys/fs/cgroup/{controller}", 2: "sys/fs/cgroup"}  # by version
# Files of a control group, by version: limits in bytes, "max" or a number beyond all memory where there is none; bytes
# in use; and the keys in memory.stat of file pages, which count as in use but are given up where memory is short.
FILES = {
    1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_active_file", "total_inactive_file")),
    2: (("memory.max", "memory.high"), "memory.current", ("active_file", "inactive_file")),
}

COPIES = 3  # bytes that are held for each byte of pixels while images are read and split
SERVER, WORKER = 300 * 2**20, 150 * 2**20  # bytes: what workers are forked from, and each at its start


def control_groups(controller: Literal["memory", "cpu"]) -> Iterator[tuple[int, Path]]:
    """Version and folder of every control group around this process, of each version the innermost first."""
    inside: dict[int, tuple[str, ...]] = dict.fromkeys(MOUNTS, ())
    for line in text_of(ROOT / "proc/self/cgroup").splitlines():
        controllers, path = line.split(":", 2)[1:]
        if not controllers or controller in controllers.split(","):  # version 2 names none
            parts = Path(path).parts[1:]
            inside[1 if controllers else 2] = parts if ".." not in parts else ()  # outside of what is mounted here
    for version, parts in inside.items():
        for depth in range(len(parts), -1, -1):  # in a container the innermost may be mounted as the outermost
            yield version, ROOT.joinpath(MOUNTS[version].format(controller=controller), *parts[:depth])


def cores_granted() -> float | None:
    """How many cores' time may be taken; None where nothing limits it."""
    granted = []
    for version, group in control_groups("cpu"):
        files = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        numbers = " ".join(text_of(group / name) for name in files).split()
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):  # no limit: "max", or -1
            granted.append(int(numbers[0]) / int(numbers[1]))
    return min(granted, default=None)


def text_of(file: Path) -> str:
    """The content of a file of the system; empty where it cannot be read."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def processor_flags() -> set[str]:
    """What the processor can do, by Linux's names, such as avx2; empty on other systems."""
    lines = text_of(ROOT / "proc/cpuinfo").splitlines()
    return next(({*line.partition(":")[2].split()} for line in lines if line.startswith("flags")), set())


def memory() -> int | None:
    """Bytes of memory here, of the container where there is one; None where the system does not say."""
    return min([*(limit for limit, _ in limits()), *of_machine("MemTotal")], default=None)


def available() -> int | None:
    """Bytes of memory that can be had beside what is in use; None where the system does not say."""
    return min([*(max(0, limit - used) for limit, used in limits()), *of_machine("MemAvailable")], default=None)


def of_machine(key: str) -> list[int]:
    """A line of /proc/meminfo in bytes or, where there is none, all memory of the machine; empty if unknown."""
    for line in text_of(ROOT / "proc/meminfo").splitlines():
        if line.startswith(f"{key}:"):
            return [int(line.split()[1]) * 1024]
    try:
        return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return []


def limits() -> Iterator[tuple[int, int]]:
    """Limit and bytes in use of every control group around this process that has a limit; file pages do not count."""
    for version, group in control_groups("memory"):
        limit_files, used_file, cached_keys = FILES[version]
        numbers = dict(line.split() for line in text_of(group / "memory.stat").splitlines())
        texts = [text_of(group / name).strip() for name in limit_files]
        texts.append(numbers.get("hierarchical_memory_limit", ""))  # version 1: of groups out of sight, too
        if known := [int(text) for text in texts if text.isdigit()]:
            cached = sum(int(numbers.get(key, 0)) for key in cached_keys)
            yield min(known), max(0, int(text_of(group / used_file) or 0) - cached)


@dataclass(frozen=True)
class Need:
    """Bytes of memory that a run takes at its peak, beside what this process holds when it begins."""

    here: int  # taken by this process whatever the tasks take, for their outcomes
    waves: Sequence[Sequence[int]]  # by task; those of a wave run at the same time, as far as there are processes

    def of(self, processes: int) -> int:
        """With so many processes; for one, tasks run in this process."""
        together = max(sum(sorted(wave, reverse=True)[:processes]) for wave in self.waves)
        busy = min(processes, max(map(len, self.waves)))
        return self.here + together + (SERVER + busy * WORKER if processes > 1 else 0)


def require_room(what: str, need: Need, jobs: int, less: Iterable[tuple[str, Need]]) -> None:
    """Check that a run fits into the memory that can be had; DataError says what would.

    Args:
        jobs: processes that share its tasks.
        less: smaller runs, in words, and what each needs.
    """
    free = available()
    if free is None or (needed := need.of(jobs)) <= free:
        return
    fewer = ((f"--jobs {count}", need.of(count)) for count in range(jobs - 1, 0, -1))
    smaller = ((f"{words}{' with --jobs 1' if jobs > 1 else ''}", other.of(1)) for words, other in less)
    fits = (f"{words} needs {in_words(size)}" for words, size in chain(fewer, smaller) if size <= free)
    refuse(what, "needs", needed, free, next(fits, "free some, or give fewer and smaller images"))


def require_memory(pixel_bytes: int, source: Path) -> None:
    """Check that so many bytes of pixels can be read, or raise DataError."""
    free = available()
    if free is not None and (needed := COPIES * pixel_bytes) > free:
        refuse(f"the images of {source}", "need", needed, free, "give fewer or smaller images")


def refuse(what: str, verb: str, needed: int, free: int, remedy: str) -> NoReturn:
    raise DataError(f"{what} {verb} about {in_words(needed)} of memory and {in_words(free)} can be had", remedy)


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
