"""What the container around this process may take: Linux control groups, of either version, and those around them.

docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/.
"""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
MOUNTS = {1: "sys/fs/cgroup/{controller}", 2: "sys/fs/cgroup"}  # by version


def control_groups(controller: str, root: Path = ROOT) -> Iterator[tuple[int, Path]]:
    """Version and folder of every control group around this process, of each version the innermost first.

    Args:
        controller: `memory` or `cpu`.
    """
    inside: dict[int, tuple[str, ...]] = dict.fromkeys(MOUNTS, ())
    for line in text_of(root / "proc/self/cgroup").splitlines():
        controllers, path = line.split(":", 2)[1:]
        if not controllers or controller in controllers.split(","):  # version 2 names none
            parts = Path(path).parts[1:]
            inside[1 if controllers else 2] = parts if ".." not in parts else ()  # outside of what is mounted here
    for version, parts in inside.items():
        for depth in range(len(parts), -1, -1):  # in a container the innermost may be mounted as the outermost
            yield version, root.joinpath(MOUNTS[version].format(controller=controller), *parts[:depth])


def cores_granted(root: Path = ROOT) -> float | None:
    """How many cores' time may be taken; None where nothing limits it."""
    granted = []
    for version, group in control_groups("cpu", root):
        files = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        numbers = " ".join(text_of(group / name) for name in files).split()
        if len(numbers) == 2 and all(number.isdigit() for number in numbers):  # no limit: "max", or -1
            granted.append(int(numbers[0]) / int(numbers[1]))
    return min(granted, default=None)


def text_of(file: Path) -> str:
    """What a file of the system holds; nothing where it cannot be read."""
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
