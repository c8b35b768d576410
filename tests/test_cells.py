"""Pieces dealt to processes: the same outcomes, nobody left behind, and a death that is told."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bs6207.cells import WorkerError, workers

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


def process_id(number, progress):
    time.sleep(0.3)
    progress.step("asked")
    return os.getpid()


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
    with workers(jobs) as deal:
        assert list(deal(cube, [0, 3, 1, 2], seen)) == [0, 27, 1, 8]
    assert [(row["number"], row["part"]) for row in seen.rows] == [
        (number, part) for number in (0, 3, 1, 2) for part in ("first", "last")
    ]
    assert sorted(seen.steps) == [f"cubing {number}" for number in range(4)]
    assert sorted(seen.told) == [f"at {number}" for number in range(4)]


def test_no_pieces_are_no_work():
    with workers(2) as deal:
        assert list(deal(cube, [], Seen())) == []


def test_the_same_processes_do_what_is_dealt_later():
    seen = Seen()
    with workers(2) as deal:
        first, then = (set(deal(process_id, [0, 1, 2, 3], seen)) for _ in range(2))
    assert os.getpid() not in first | then
    assert len(first | then) == 2
    assert len(seen.steps) == 8


def test_a_worker_that_is_killed_is_told_of():
    with pytest.raises(WorkerError, match="--jobs 1"), workers(2) as deal:
        list(deal(die, [0, 1, 2], Seen()))


def test_an_error_in_a_worker_reaches_the_parent():
    with pytest.raises(TypeError), workers(2) as deal:
        list(deal(cube, [1, "two"], Seen()))


@pytest.fixture
def sleepers(tmp_path):
    """A process that has two workers asleep, and the workers' process ids."""
    code = f"""
import signal
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_cells import Seen, sleep
from bs6207.cells import workers
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what it puts behind & deaf to it
    with workers(2) as deal:
        list(deal(sleep, [{str(tmp_path)!r}] * 2, Seen()))
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(asleep := [int(file.name) for file in tmp_path.iterdir() if file.name.isdigit()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield parent, asleep
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
    parent, asleep = sleepers
    assert all(lives(worker) for worker in asleep)
    parent.send_signal(number)
    parent.wait(SECONDS)
    deadline = time.monotonic() + SECONDS
    while any(lives(worker) for worker in asleep):
        assert time.monotonic() < deadline
        time.sleep(0.05)
