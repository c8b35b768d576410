"""Every write of a run refused once: the finished run before it stays, and the same command goes on."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from bs6207.bump import experiment as bump_experiment
from bs6207.bump.settings import BumpSettings
from bs6207.cli.commands import run_experiment
from bs6207.cli.options import Invocation
from bs6207.errors import FolderError
from bs6207.runs.result import Result, Table, Weights
from bs6207.runs.tasks import map_tasks

WRITES = ((os, "fsync"), *((Path, name) for name in ("open", "mkdir", "touch", "rename", "replace", "unlink")))


def count(task, progress):
    """A task with a checkpoint after every step."""
    done = progress.load_checkpoint() or {"count": 0}
    for number in range(3):
        progress.record({"task": task, "number": number})
        if number >= done["count"]:
            progress.save_checkpoint(lambda number=number: {"count": number + 1})
    return task


def experiment(settings, progress, map_tasks):
    """A short run with one of everything that is written."""
    progress.expect(2)
    found = map_tasks(count, {"one": 1, "two": 2}, progress)
    table = Table(("x",), [{"x": value} for value in found.values()])
    weights = Weights({"w": torch.arange(3.0)}, {"dim": 3})
    return Result(settings, {"sum": sum(found.values())}, table, (), {"t": table}, {}, {"w": weights}, {"x.bin": b"x"})


def run(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bump_experiment, "run", experiment)
        run_experiment("bump", BumpSettings(), Invocation(out=folder, quiet=True, print_json=True))


class Refusing:
    """Passes on writes, but one: the disk is full at the n-th."""

    def __init__(self, monkeypatch, nth):
        self.nth, self.seen = nth, 0
        for owner, name in WRITES:
            monkeypatch.setattr(owner, name, self.watched(getattr(owner, name), name))

    def watched(self, write, name):
        def instead(*arguments, **options):
            mode = arguments[1] if len(arguments) > 1 else options.get("mode", "r")
            if name != "open" or set(mode) & set("wxa"):
                self.seen += 1
                if self.seen == self.nth:
                    raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))
            return write(*arguments, **options)

        return instead


def finished_sums(folder):
    """What the finished runs hold, whole."""
    runs = [file.parent for file in folder.rglob("metrics.json") if ".partial" not in file.parent.name]
    assert all((run / name).exists() for run in runs for name in ("t.csv", "w.safetensors", "x.bin", "config.toml"))
    return [json.loads((run / "metrics.json").read_text())["sum"] for run in runs]


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    """How many writes a run is."""
    place = tmp_path_factory.mktemp("points")
    run(place / "bump")
    with pytest.MonkeyPatch.context() as patch:
        refusing = Refusing(patch, 0)
        run(place / "bump")
    return refusing.seen


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_wherever_the_disk_is_full_the_finished_run_stays_and_the_same_command_goes_on(points, tmp_path, every):
    assert points > 50
    for nth in range(1, points + 1, every):
        place = tmp_path / str(nth)
        run(place / "bump")
        before = (place / "bump/metrics.json").read_bytes()
        with pytest.MonkeyPatch.context() as patch:
            Refusing(patch, nth)
            with pytest.raises(FolderError, match="No space left on device; make room and run the same command to go"):
                run(place / "bump")
        assert finished_sums(place)[0] == 3
        assert (place / "bump/metrics.json").read_bytes() == before
        run(place / "bump")
        assert set(finished_sums(place)) == {3}
        assert not (place / "bump.partial").exists()
        rows = [json.loads(line) for line in (place / "bump/history.jsonl").read_text().splitlines()]
        assert rows == [{"task": task, "number": number} for task in (1, 2) for number in range(3)]
        shutil.rmtree(place)


def test_what_was_saved_before_the_disk_was_full_is_not_done_again(tmp_path):
    (tmp_path / "cells").mkdir()
    rows = []

    class Seen:
        step = status = warn = staticmethod(lambda *words: None)
        record = rows.append

    mapped = partial(map_tasks, None, tmp_path / "cells", count, progress=Seen())
    mapped(tasks={"one": 1})
    assert len(rows) == 3
    assert mapped(tasks={"one": 1, "two": 2}) == {"one": 1, "two": 2}
    assert [row["task"] for row in rows[3:]] == [1, 1, 1, 2, 2, 2]


def test_files_that_may_not_grow_fail_the_run_in_one_sentence_and_leave_the_old_one(trained, tmp_path):
    shutil.copytree(trained("bump"), tmp_path / "outputs/bump")
    before = (tmp_path / "outputs/bump/metrics.json").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "bs6207", "bump", "--optimizer", "gd", "adam", "--steps", "50", "--jobs", "1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "File too large; make room and run the same command to go on" in done.stderr
    assert (tmp_path / "outputs/bump/metrics.json").read_bytes() == before
