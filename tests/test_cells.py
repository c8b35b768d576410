"""Pieces dealt to processes: the same outcomes, nobody left behind, and a death that is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bs6207.cells import WorkerError, deal

SECONDS = 20  # within which a process that should end must have ended


class Seen:
    """What was reported."""

    def __init__(self):
        self.rows, self.steps, self.told = [], [], []
        self.record, self.step, self.tell = self.rows.append, self.steps.append, self.told.append


def cube(number, progress):
    """Work that takes the longer the smaller its number, so that outcomes are ready out of order."""
    time.sleep(0.05 * (4 - number))
    progress.record({"number": number, "part": "first"})
    progress.tell(f"at {number}")
    progress.step(f"cubing {number}")
    progress.record({"number": number, "part": "last"})
    return number**3


def die(number, progress):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleep(folder, progress):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize("jobs", [1, 2, 3, None])
def test_outcomes_and_history_are_the_same_for_any_number_of_processes(jobs):
    seen = Seen()
    assert list(deal(cube, [0, 3, 1, 2], seen, jobs)) == [0, 27, 1, 8]
    assert [(row["number"], row["part"]) for row in seen.rows] == [
        (number, part) for number in (0, 3, 1, 2) for part in ("first", "last")
    ]
    assert sorted(seen.steps) == [f"cubing {number}" for number in range(4)]
    assert sorted(seen.told) == [f"at {number}" for number in range(4)]


def test_no_pieces_are_no_work():
    assert list(deal(cube, [], Seen(), 2)) == []


def test_a_worker_that_is_killed_is_told_of():
    with pytest.raises(WorkerError, match="--jobs 1"):
        list(deal(die, [0, 1, 2], Seen(), 2))


def test_an_error_in_a_worker_reaches_the_parent():
    with pytest.raises(TypeError):
        list(deal(cube, [1, "two"], Seen(), 2))


@pytest.fixture
def sleepers(tmp_path):
    """A process that has two workers asleep, and the workers' process ids."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cells import Seen, sleep
from bs6207.cells import deal
if __name__ == "__main__":
    list(deal(sleep, [{str(tmp_path)!r}] * 2, Seen(), 2))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(workers := [int(file.name) for file in tmp_path.iterdir() if file.name.isdigit()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield parent, workers
    parent.kill()
    parent.wait()


def lives(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_no_worker_outlives_its_parent(sleepers, number):
    parent, workers = sleepers
    assert all(lives(worker) for worker in workers)
    parent.send_signal(number)
    parent.wait(SECONDS)
    deadline = time.monotonic() + SECONDS
    while any(lives(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
