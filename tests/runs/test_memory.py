"""What memory can be had, of the machine and of containers around it, and what glibc keeps of it."""

import ctypes
import subprocess
import sys

import pytest

from bs6207.errors import DataError
from bs6207.runs import memory as module
from bs6207.runs.memory import Need, available, in_words, memory, processor_flags, require_room

MIB = 2**20
NONE = str(2**63 - 4096)  # how version 1 says that there is no limit

MACHINE = {"proc/meminfo": f"MemTotal: {23 * 1024 * 1024} kB\nMemAvailable:    {18 * 1024 * 1024} kB\n"}
GIB = 2**30

SYSTEMS = {  # files of the system; the memory that there is, and that can be had
    "no container": (MACHINE, 23 * GIB, 18 * GIB),
    "v2, in a namespace of its own": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{3 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon 1\nactive_file {512 * MIB}\ninactive_file {256 * MIB}\n",
        },
        3 * GIB,
        GIB + 768 * MIB,
    ),
    "v2, without a limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 23 * GIB, 18 * GIB),
    "v2, nested: the one around it is the smallest": (
        {
            "proc/self/cgroup": "0::/user.slice/job 7/step\n",
            "sys/fs/cgroup/user.slice/memory.max": f"{8 * GIB}",
            "sys/fs/cgroup/user.slice/memory.current": f"{GIB}",
            "sys/fs/cgroup/user.slice/job 7/memory.max": f"{4 * GIB}",
            "sys/fs/cgroup/user.slice/job 7/memory.high": f"{3 * GIB}",
            "sys/fs/cgroup/user.slice/job 7/memory.current": f"{GIB}",
            "sys/fs/cgroup/user.slice/job 7/step/memory.max": "max",
        },
        3 * GIB,
        2 * GIB,
    ),
    "v2, nested: the largest is the fullest": (
        {
            "proc/self/cgroup": "0::/a/b",
            "sys/fs/cgroup/a/memory.max": f"{8 * GIB}",
            "sys/fs/cgroup/a/memory.current": f"{7 * GIB}",
            "sys/fs/cgroup/a/b/memory.max": f"{4 * GIB}",
            "sys/fs/cgroup/a/b/memory.current": "0",
        },
        4 * GIB,
        GIB,
    ),
    "v2, seen from a namespace inside": (
        {
            "proc/self/cgroup": "0::/../../elsewhere",
            "sys/fs/cgroup/memory.max": f"{2 * GIB}",
            "sys/fs/cgroup/elsewhere/memory.max": "1",
        },
        2 * GIB,
        2 * GIB,
    ),
    "v1, nested": (
        {
            "proc/self/cgroup": "9:name=systemd:/\n5:cpu,cpuacct:/x\n4:memory:/docker/ab\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NONE,
            "sys/fs/cgroup/memory/docker/memory.limit_in_bytes": f"{3 * GIB}",
            "sys/fs/cgroup/memory/docker/memory.usage_in_bytes": f"{GIB}",
            "sys/fs/cgroup/memory/docker/memory.stat": f"cache 9\ntotal_inactive_file {512 * MIB}\n",
            "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": NONE,
            "sys/fs/cgroup/memory/docker/ab/memory.usage_in_bytes": f"{GIB}",
        },
        3 * GIB,
        2 * GIB + 512 * MIB,
    ),
    "v1, where the container is mounted as the root": (
        {
            "proc/self/cgroup": "4:hugetlb,memory:/docker/ab\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{3 * GIB}",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}",
        },
        3 * GIB,
        2 * GIB,
    ),
    "v1, where only a group out of sight has a limit": (
        {
            "proc/self/cgroup": "4:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NONE,
            "sys/fs/cgroup/memory/memory.stat": f"hierarchical_memory_limit {3 * GIB}\n",
        },
        3 * GIB,
        3 * GIB,
    ),
    "a container that is full": (
        {"sys/fs/cgroup/memory.max": f"{GIB}", "sys/fs/cgroup/memory.current": f"{2 * GIB}"},
        GIB,
        0,
    ),
}


@pytest.mark.parametrize(("files", "has", "free"), SYSTEMS.values(), ids=SYSTEMS)
def test_the_memory_of_the_smallest_container_counts_and_what_is_free_in_the_fullest(
    tmp_path, monkeypatch, files, has, free
):
    for name, content in (MACHINE | files).items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert memory() == has
    assert available() == free


def test_this_machine_says_how_much_memory_it_has():
    assert memory() > 2**28
    assert 0 < available() <= memory()


def test_as_many_tasks_are_held_at_once_as_there_are_processes():
    need = Need(1, [[5, 40, 20], [50]])
    assert need.of(1) == 1 + 50
    assert need.of(2) == 1 + 60 + module.SERVER + 2 * module.WORKER
    assert need.of(99) == 1 + 65 + module.SERVER + 3 * module.WORKER


WAYS = [  # free GiB; the end of the sentence
    (9, "--jobs 2 needs 8.6 GiB"),
    (7, "--jobs 1 needs 4.0 GiB"),
    (3.5, "--batch-size 8 with --jobs 1 needs 3.0 GiB"),
    (1, "images of 8 x 8 pixels with --jobs 1 needs 1.0 GiB"),
    (0.5, "free some, or give fewer and smaller images"),
]


@pytest.mark.parametrize(("free", "end"), WAYS)
def test_what_does_not_fit_is_refused_with_what_would(monkeypatch, free, end):
    task = Need(0, [[4 * GIB] * 3])
    less = [("--batch-size 8", Need(0, [[3 * GIB]])), ("images of 8 x 8 pixels", Need(0, [[GIB]]))]
    monkeypatch.setattr(module, "available", lambda: 13 * GIB)
    require_room("deblur", task, 3, less)
    monkeypatch.setattr(module, "available", lambda: int(free * GIB))
    with pytest.raises(DataError) as refused:
        require_room("deblur", task, 3, less)
    has = in_words(int(free * GIB))
    assert str(refused.value) == f"deblur needs about 12.7 GiB of memory and {has} can be had; {end}"


def test_where_the_system_does_not_say_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(module, "available", lambda: None)
    require_room("deblur", Need(0, [[2**60]]), 1, ())


def test_without_a_list_of_memory_the_system_is_asked_for_all_there_is(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "ROOT", tmp_path)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": GIB // 4096}
    monkeypatch.setattr(module.os, "sysconf", pages.__getitem__)
    assert memory() == available() == GIB
    monkeypatch.delattr(module.os, "sysconf")  # as on Windows
    assert memory() is available() is None


HAS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")

STEPS = """
from resource import RUSAGE_SELF, getrusage
import torch
from bs6207.runs.memory import keep_memory

keep_memory()
for _ in range(10):
    tensors = [torch.ones(400_000) for _ in range(20)]
    del tensors
    print(getrusage(RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(not HAS_GLIBC, reason="needs glibc: no other C library is told what to keep")
@pytest.mark.slow
def test_the_memory_of_tensors_is_kept_for_the_next_ones():
    stdout = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True).stdout
    pages = [int(line) for line in stdout.split()]
    assert pages[-1] - pages[4] < 500  # that had to be asked for anew; 8,000 in every step if nothing is kept


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 fma\n\nprocessor : 1\nflags\t\t: fpu\n", {"fpu", "avx2", "fma"}),
        ("", set()),
    ],
)
def test_what_a_processor_can_do_is_read_where_the_system_says_it(monkeypatch, tmp_path, text, flags):
    monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert processor_flags() == flags
