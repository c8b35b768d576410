"""The limits of the containers around this process, read from made-up systems."""

import pytest

from bs6207.runs import memory

SYSTEMS = {  # files of the system, and the cores' time that may be taken
    "no container": ({}, None),
    "v2, without a limit": ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "v2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "v2, nested": (
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
        },
        2.0,
    ),
    "v1, nested": (
        {
            "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/a\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        0.5,
    ),
}


@pytest.mark.parametrize(("files", "cores"), SYSTEMS.values(), ids=SYSTEMS)
def test_the_smallest_share_of_time_counts(tmp_path, monkeypatch, files, cores):
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    assert memory.cores_granted() == cores
