"""Every command, stopped at any instant from its first import to its last rename, ends with the same bytes."""

import os
import shutil
import signal
import sys
import time
from functools import cache, partial
from pathlib import Path

import pytest
from bench.kills import instants, kill_and_resume, leave_alone, start
from conftest import UNDRAWN, call
from forked import Stop

from bs6207.bump import experiment
from bs6207.errors import UserError
from bs6207.runs.result import Result, Table

pytestmark = pytest.mark.xdist_group("processes")

STOPPED = "bs6207: stopped; earlier runs are untouched, run the same command to go on"
KILLS = 20  # two of every turn; tests/bench/kills.py does hundreds
SECONDS = 600  # within which the first checkpoint must lie there


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """`whole(command)`: a run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    return cache(lambda command: leave_alone(command, folder))


def saved_training(outputs, process):
    """The first training that a run has saved; its process does not wait."""
    deadline = time.monotonic() + SECONDS
    while not (found := list(outputs.glob("latent.partial/cells/autoencoder-*.part"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def children(process):
    """The processes that one has started, on Linux."""
    return [child for file in Path(f"/proc/{process}/task").glob("*/children") for child in file.read_text().split()]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_asks_to_stop_has_its_exit_code_and_a_sentence(main, monkeypatch, number, code):
    monkeypatch.setattr(experiment, "run", lambda *_: signal.raise_signal(number))
    before = signal.signal(number, signal.SIG_DFL)  # nohup has a hang-up ignored
    try:
        done = main("bump", "--optimizer", "gd")
    finally:
        signal.signal(number, before)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{STOPPED}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where a process forks to be killed")
def test_a_killed_run_resumes_from_its_checkpoints_and_ends_with_the_same_files(trained, tmp_path):
    """Kill -9, and a damaged checkpoint."""
    record, part = trained("latent") / "config.toml", "again.partial/cells/autoencoder-*.part"
    line = ("latent", "--config", str(record), "--out", "again", "--jobs", "1")
    run = partial(call, *line, cwd=tmp_path, constants=UNDRAWN)
    assert run(stop=Stop(signal.SIGKILL, part)).returncode == -signal.SIGKILL
    (first,) = tmp_path.glob(part)
    first.write_bytes(first.read_bytes()[:-1])
    done = run()
    assert done.returncode == 0, done.stderr
    assert "goes on where it was interrupted" in done.stderr
    assert f"{first.name} is damaged" in done.stderr
    for file in record.parent.iterdir():
        if file.name != "env.json" and file.suffix not in (".png", ".svg"):
            assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_a_hang_up_is_no_reason_to_stop_where_nohup_has_it_ignored(main, monkeypatch):
    def hang_up(*_):
        signal.raise_signal(signal.SIGHUP)
        raise UserError("went on")

    monkeypatch.setattr(experiment, "run", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        done = main("bump", "--optimizer", "gd")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (done.returncode, done.stderr) == (1, "bs6207: went on\n")


def double(number, progress):
    progress.step("doubled")
    return 2 * number


@pytest.mark.parametrize("changed", [False, True])
def test_what_becomes_of_an_interrupted_run_is_one_sentence_that_is_so(main, monkeypatch, changed):
    def reading(data, stops=False):
        def run(settings, progress, map_tasks):
            progress.expect(1)
            found = map_tasks(double, {"one": 1}, progress, data)
            if stops:
                raise UserError("stopped")
            return Result(settings, found, Table((), ()))

        return run

    monkeypatch.setattr(experiment, "run", reading("data", stops=True))
    assert main("bump", "--optimizer", "gd").stderr == "bs6207: stopped\n"
    monkeypatch.setattr(experiment, "run", reading("other data" if changed else "data"))
    done = main("bump", "--optimizer", "gd")
    assert done.returncode == 0
    (note,) = done.stderr.splitlines()
    if changed:
        assert note.startswith("bump: begins anew, as its data or the device have changed; the interrupted run is in ")
        assert (Path(note.split(" is in ")[1]) / "cells/one.done").is_file()
    else:
        assert note == "bump: goes on where it was interrupted"


@pytest.mark.slow
def test_a_run_that_is_stopped_in_every_way_ends_with_the_bytes_of_one_that_was_left_alone(whole, tmp_path):
    """Ctrl-C, kill -9 and a damaged file, each with its exit code, while the earlier run stays as it was."""
    left_alone = whole("latent")
    (earlier := tmp_path / "latent").mkdir()
    (earlier / "metrics.json").write_text("{}")
    (earlier / "config.toml").write_text("[latent]\n")
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = start("latent", tmp_path)
        saved = saved_training(tmp_path, process)
        process.send_signal(number)
        _, message = process.communicate()
        assert process.returncode == code
        assert (earlier / "metrics.json").read_text() == "{}"
        if number == signal.SIGINT:
            assert message.splitlines()[-1] == STOPPED
            shutil.rmtree(tmp_path / "latent.partial")
    saved.write_bytes(saved.read_bytes()[:-1])
    again = start("latent", tmp_path)
    _, message = again.communicate()
    assert again.returncode == 0, message
    assert "goes on where it was interrupted" in message
    assert f"{saved} is damaged" in message
    assert left_alone.contents(tmp_path) == left_alone.contents(left_alone.outputs)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "share"), instants(KILLS, seed=6207))
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_left_alone(whole, tmp_path, command, share):
    assert kill_and_resume(whole(command), share, tmp_path) == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where /proc tells a process's children")
def test_a_killed_worker_is_replaced_and_the_run_ends_as_if_it_had_lived(whole, tmp_path):
    left_alone = whole("latent")
    process = start("latent", tmp_path)
    saved_training(tmp_path, process)
    (server,) = [
        child for child in children(process.pid) if b"serve_forks" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(int(children(server)[0]), signal.SIGKILL)
    _, message = process.communicate()
    assert process.returncode == 0, message
    assert "it is run again when no other task runs" in message
    assert left_alone.contents(tmp_path) == left_alone.contents(left_alone.outputs)
