"""Every command, stopped at any instant from its first import to its last rename, ends with the same bytes."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from bench.kills import COMMANDS, instants, kill_and_resume, leave_alone, start

KILLS = 10  # one of every turn; tests/bench/kills.py does hundreds
SECONDS = 60  # within which the first checkpoint must lie there


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Every command's run that was left alone."""
    folder = tmp_path_factory.mktemp("whole")
    return {command: leave_alone(command, folder) for command in COMMANDS}


@pytest.mark.parametrize(("command", "share"), instants(KILLS, seed=6207))
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_left_alone(wholes, tmp_path, command, share):
    assert kill_and_resume(wholes[command], share, tmp_path) == ""


def put_aside(outputs, process):
    """The first training that a run has put aside; its process waits for nobody."""
    deadline = time.monotonic() + SECONDS
    while not (found := list(outputs.glob("latent.partial/cells/autoencoder-*.part"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found[0]


def children(process):
    """The processes that one has started, on Linux."""
    return [child for file in Path(f"/proc/{process}/task").glob("*/children") for child in file.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "terminated"])
def test_a_stopped_run_says_how_to_go_on_and_does_so_even_from_a_damaged_file(wholes, tmp_path, number):
    process = start("latent", tmp_path)
    aside = put_aside(tmp_path, process)
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == 128 + number
    assert "run the same command to go on" in told
    aside.write_bytes(aside.read_bytes()[:-1])
    again = start("latent", tmp_path)
    _, told = again.communicate()
    assert again.returncode == 0, told
    assert "goes on where it was interrupted" in told
    assert f"{aside} is damaged" in told
    assert wholes["latent"].contents(tmp_path) == wholes["latent"].contents(wholes["latent"].outputs)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_worker_is_replaced_and_the_run_ends_as_if_it_had_lived(wholes, tmp_path):
    process = start("latent", tmp_path)
    put_aside(tmp_path, process)
    (server,) = [
        child for child in children(process.pid) if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(int(children(server)[0]), signal.SIGKILL)
    _, told = process.communicate()
    assert process.returncode == 0, told
    assert "it goes on when no other is under way" in told
    assert wholes["latent"].contents(tmp_path) == wholes["latent"].contents(wholes["latent"].outputs)
