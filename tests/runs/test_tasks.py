"""Tasks on processes: the same outcomes, no process left behind, and lost workers that cost little."""

import errno
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bs6207.errors import LESS, MemoryShortage
from bs6207.runs import executor as processes
from bs6207.runs import workers
from bs6207.runs.executor import local_executor, map_in_processes
from bs6207.runs.progress import FailedTask
from bs6207.runs.tasks import TaskTracker, map_tasks, task_name

pytestmark = pytest.mark.xdist_group("processes")

SECONDS = 300  # within which a process that should end must have ended


class Seen:
    """What was reported."""

    def __init__(self):
        self.rows, self.steps, self.statuses, self.warnings, self.timed = [], [], [], [], []
        self.record, self.status, self.warn = (seen.append for seen in (self.rows, self.statuses, self.warnings))

    def step(self, doing, kind, seconds):
        self.steps.append(doing)
        self.timed.append((kind, seconds))


def cube(number, progress):
    """Work that takes the longer the smaller its number, so that outcomes are ready out of order."""
    time.sleep(0.02 * (4 - number))
    progress.record({"number": number, "part": "first"})
    progress.status(f"at {number}")
    progress.step(f"cubing {number}")
    progress.record({"number": number, "part": "last"})
    return number**3


def process_id(number, progress):
    time.sleep(0.3)
    progress.step("asked")
    return os.getpid()


def count_to_four(task, progress):
    """Work that goes on where it was, and whose process dies at a number as often as its task says."""
    folder, number, deaths = task
    reached = progress.load_checkpoint() or {"rows": []}
    for row in reached["rows"]:
        progress.record(row)
        progress.step("again")
    for count in range(len(reached["rows"]), 4):
        reached["rows"].append({"number": number, "count": count})
        progress.record(reached["rows"][-1])
        progress.step("counted")
        progress.save_checkpoint(lambda: reached)
        died = len(list(Path(folder).glob(f"{number}-*")))
        if count == 2 and died < deaths:
            (Path(folder) / f"{number}-{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    """Processes of all tests are forked from one that has imported this file and what it needs."""
    shared = workers.Server([processes.__name__, "torch", __name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "Server", lambda modules: shared)
        patch.setattr(shared, "close", lambda: None)
        yield
    shared.close()


@pytest.fixture
def mapped(tmp_path):
    """`mapped(jobs, function, tasks)`: outcomes and what was seen; checkpoints stay for the next call."""
    (tmp_path / "cells").mkdir()

    def call(jobs, function, tasks, fingerprint=""):
        seen = Seen()
        with local_executor(jobs) as executor:
            tasks = tasks if isinstance(tasks, dict) else {("task", task): task for task in tasks}
            outcomes = map_tasks(executor, tmp_path / "cells", function, tasks, seen, fingerprint)
            return list(outcomes.values()), seen

    return call


@pytest.mark.parametrize("jobs", [1, 2, 3, None])
def test_outcomes_and_history_are_the_same_for_any_number_of_processes(mapped, jobs):
    outcomes, seen = mapped(jobs, cube, [0, 3, 1, 2])
    assert outcomes == [0, 27, 1, 8]
    assert [(row["number"], row["part"]) for row in seen.rows] == [
        (number, part) for number in (0, 3, 1, 2) for part in ("first", "last")
    ]
    assert sorted(seen.steps) == [f"cubing {number}" for number in range(4)]
    assert sorted(seen.statuses) == [f"at {number}" for number in range(4)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_finished_task_is_not_run_again_and_its_rows_stay_in_their_place(mapped, jobs):
    mapped(1, cube, [3, 2])
    outcomes, seen = mapped(jobs, cube, [0, 3, 1, 2])
    assert outcomes == [0, 27, 1, 8]
    assert [row["number"] for row in seen.rows] == [0, 0, 3, 3, 1, 1, 2, 2]
    assert sum("cubing" in doing for doing in seen.steps) == 2
    assert len(seen.steps) == 4
    _, seen = mapped(jobs, cube, [0, 3, 1, 2], fingerprint="other data")
    assert sum("cubing" in doing for doing in seen.steps) == 4


def test_no_tasks_are_no_work(mapped):
    assert mapped(2, cube, [])[0] == []


def test_the_same_processes_run_later_tasks(tmp_path):
    seen = Seen()
    with local_executor(2) as executor:
        first, then = (
            set(map_tasks(executor, tmp_path, process_id, {wave: wave for wave in waves}, seen).values())
            for waves in (range(4), range(4, 8))
        )
    assert os.getpid() not in first | then
    assert len(first | then) == 2
    assert len(seen.steps) == 8


def test_a_killed_process_costs_what_it_did_since_its_checkpoint(mapped, tmp_path):
    outcomes, seen = mapped(2, count_to_four, {name: (tmp_path, name, int(name == 1)) for name in range(4)})
    assert outcomes == [0, 1, 2, 3]
    assert seen.rows == [{"number": number, "count": count} for number in range(4) for count in range(4)]
    assert len(seen.steps) == 16
    assert len(seen.warnings) == 1
    assert "was killed at 1; it is run again when no other task runs" in seen.warnings[0]


def test_a_task_that_kills_every_process_is_given_up_and_the_others_are_not(mapped, tmp_path):
    outcomes, _ = mapped(2, count_to_four, {name: (tmp_path, name, 9 * (name == 1)) for name in range(4)})
    assert [outcomes[place] for place in (0, 2, 3)] == [0, 2, 3]
    assert isinstance(outcomes[1], FailedTask)
    assert outcomes[1].reason.endswith(f"was killed, 2 times; perhaps for want of memory, so {LESS}")


def test_a_task_that_another_worker_of_a_cluster_begins_anew_is_reported_and_counted_once(tmp_path):
    seen = Seen()
    tracker = TaskTracker(["one"], tmp_path, seen, "")
    for address in ("tcp://a", "tcp://b"):
        tracker.on_event("one", "start", address)
        tracker.on_event("one", "record", {"epoch": 1})
        tracker.on_event("one", "step", "epoch 1", "", 0.1)
    assert seen.warnings == ["a worker died at one; tcp://b begins it anew"]
    assert (seen.rows, seen.steps) == ([{"epoch": 1}], ["epoch 1"])


def test_an_error_in_a_worker_reaches_the_parent_with_its_place(mapped):
    with pytest.raises(TypeError) as caught:
        mapped(2, cube, [1, "two"])
    assert "in cube" in "".join(caught.value.__notes__)


def outgrow_the_gpu(number, progress):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def outgrow_torch(number, progress):
    torch.empty(2**60, dtype=torch.uint8)


def outgrow_numpy(number, progress):
    np.empty(2**60, np.uint8)


def outgrow_the_system(number, progress):
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("work", "full"),
    [
        (outgrow_the_gpu, r"the GPU's memory was full at \w+; try fewer --jobs"),
        (outgrow_torch, r"the memory was full at \w+; close other programs"),
        (outgrow_numpy, r"the memory was full at \w+; close other programs"),
        (outgrow_the_system, r"the memory was full at \w+; close other programs"),
    ],
)
def test_an_allocation_that_is_refused_is_reported_in_one_sentence(mapped, jobs, work, full):
    with pytest.raises(MemoryShortage, match=full):
        mapped(jobs, work, {"one": 1, "two": 2})


class Awkward(Exception):
    """It cannot be built again from its words, as unpickling would."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_awkwardly(number, progress):
    raise Awkward("this", "that")


def find_what_cannot_travel(number, progress):
    return lambda: number


@pytest.mark.parametrize(
    ("work", "message"), [(fail_awkwardly, "Awkward: this and that"), (find_what_cannot_travel, "pickle")]
)
def test_what_cannot_travel_is_reported_and_not_taken_for_a_death(mapped, work, message):
    with pytest.raises(Exception, match=message):
        mapped(2, work, [1, 2])


@pytest.mark.parametrize("key", [("l1", 0), "../../x", ("package.module:Class", 1), "a" * 300, "é", ("tv", 1.5)])
def test_a_key_of_any_kind_names_a_file_of_its_own(key):
    name = task_name(key)
    assert len(name.encode()) < 200
    assert Path(name).name == name
    assert name != task_name((key, "other"))


@pytest.fixture
def sleepers(tmp_path):
    """A process that has two workers asleep, and the workers' process ids."""
    script = Path(__file__).with_name("sleepers.py")
    parent = subprocess.Popen([sys.executable, script, tmp_path], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + SECONDS
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


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where /proc tells a process's children")
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=["killed", "interrupted"]
)
def test_no_worker_outlives_its_parent(sleepers, number):
    parent, asleep = sleepers
    assert all(lives(worker) for worker in asleep)
    parent.send_signal(number)
    parent.wait(SECONDS)
    deadline = time.monotonic() + SECONDS
    while any(lives(worker) for worker in asleep):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def square_or_die(task):
    """A square; every process but the one of the test dies over 3."""
    number, test_process = task
    if number == 3 and os.getpid() != test_process:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.mark.parametrize("jobs", [1, 2])
def test_map_in_processes_is_map_even_where_a_process_dies(jobs):
    tasks = [(number, os.getpid()) for number in range(6)]
    with local_executor(jobs) as executor:
        assert [*map_in_processes(executor, square_or_die, tasks)] == [0, 1, 4, 9, 16, 25]


def test_an_error_in_one_of_map_in_processes_is_raised():
    with local_executor(2) as executor, pytest.raises(TypeError):
        list(map_in_processes(executor, abs, [1, "two"]))


def inherited(value):
    """How many objects this process takes as inherited, and so never searches for garbage."""
    return gc.get_freeze_count()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: elsewhere every process imports for itself")
def test_processes_do_not_search_what_they_inherited_for_garbage():
    with local_executor(2) as executor:
        (objects,) = map_in_processes(executor, inherited, [0])
    assert objects > 1000
