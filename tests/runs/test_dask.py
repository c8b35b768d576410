"""A real scheduler and real workers on this computer: the same bytes, whoever dies."""

import filecmp
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, Future
from contextlib import closing
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import distributed
import pytest
from conftest import Watched, call

from bs6207.errors import UserError
from bs6207.runs import dask as cluster
from bs6207.runs.executor import WorkerLost
from bs6207.runs.tasks import map_tasks

pytestmark = pytest.mark.xdist_group("cluster")

PACKAGE = Path(__file__).parents[2] / "bs6207"
SECONDS = 900  # in which what is waited for must happen
VARIES = {"env.json"}  # of the files of a run
SWEEP = {"lr": [0.005], "seed": [0, 1, 2]}
SWEPT = [
    *("latent --data mnist-5k --dims 8 --epochs 1 --train-images 300 --batch-size 16 --skip-probes".split()),
    *("--sweep", *(f"{name}={','.join(map(str, values))}" for name, values in SWEEP.items())),
]
CELLS = 3
KERNELS = ("gd", "momentum", "nesterov", "adam", "adamw", "rmsprop")
DIAGRAMS = ["bump", "--steps", "100", "--sweep", "lr=0.01:0.5:160", "distance=1:9:256", "--optimizer"]
LINES = {"bump": [*DIAGRAMS, *KERNELS[:CELLS]], "latent": SWEPT}


def until(happened, what):
    """Wait for something."""
    end = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)


class Site:
    """A scheduler and its workers."""

    def __init__(self, folder, **environment):
        self.folder, self.environment = folder, os.environ | {"BS6207_DATA": ""} | environment
        self.processes, file = [], folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        until(lambda: file.is_file() and file.read_text().rstrip().endswith("}"), "a scheduler")  # it is empty at first
        self.address = json.loads(file.read_text())["address"]

    def start(self, *words):
        """A process of Dask's."""
        line = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
        with (self.folder / f"{len(self.processes)}.log").open("w") as log:
            self.processes.append(subprocess.Popen(line, stdout=log, stderr=log, env=self.environment, cwd=self.folder))
        return self.processes[-1]

    def worker(self, nanny="--no-nanny"):
        """One more worker, once it has joined."""
        log = self.folder / f"{len(self.processes)}.log"
        worker = self.start("worker", self.address, "--nthreads", "1", nanny)
        until(lambda: "Registered to" in log.read_text(), "a worker")
        return worker

    def done(self):
        """How many calls its workers have done, once they are idle."""
        code = (
            "import sys, time; from distributed import Client\n"
            "with Client(sys.argv[1]) as client:\n"
            "    under_way = lambda dask_worker: len(dask_worker.state.executing)\n"  # those nobody waits for too
            "    while any(client.processing().values()) or any(client.run(under_way).values()): time.sleep(0.1)\n"
            "    print(sum(client.run(lambda dask_worker: dask_worker.state.executed_count).values()))"
        )
        return int(subprocess.run([sys.executable, "-c", code, self.address], capture_output=True, check=True).stdout)

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def sites(tmp_path):
    """`sites(**environment)`: a scheduler of its own, which ends with the test."""
    started = []

    def start(**environment):
        (folder := tmp_path / f"site{len(started)}").mkdir()
        started.append(Site(folder, **environment))
        return started[-1]

    yield start
    for site in started:
        site.end()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A scheduler; its workers come and go."""
    place = Site(tmp_path_factory.mktemp("site"))
    yield place
    place.end()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """`alone(story)`: its sweep as one process leaves it."""

    @cache
    def run(story):
        folder = tmp_path_factory.mktemp("alone")
        done = call(*LINES[story], "--jobs", "1", cwd=folder)
        assert done.returncode == 0, done.stderr
        return folder / "outputs" / story

    return run


def command(folder, *words):
    """The command, begun."""
    line, environment = [sys.executable, "-m", "bs6207", *words], os.environ | {"BS6207_DATA": ""}
    return subprocess.Popen(line, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def finished(folder):
    """Tasks whose outcomes have been saved."""
    return len([*folder.glob("outputs/*.partial/cells/*.done")])


def assert_same(one, other):
    """Two runs left the same bytes."""
    names = {file.name for file in one.iterdir()} - VARIES
    assert names == {file.name for file in other.iterdir()} - VARIES
    assert filecmp.cmpfiles(one, other, names, shallow=False)[1:] == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("story", LINES)
def test_a_worker_that_is_killed_halfway_changes_nothing(site, alone, tmp_path, story):
    first, second = site.worker(), site.worker()
    run = command(tmp_path, *LINES[story], "--scheduler", site.address)
    until(lambda: finished(tmp_path) >= 1, "a cell")
    first.kill()
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, said
    assert_same(alone(story), tmp_path / "outputs" / story)
    assert second.poll() is None


@pytest.mark.slow
def test_a_client_that_is_killed_halfway_goes_on_with_what_is_missing(site, alone, tmp_path):
    site.worker()
    run = command(tmp_path, *SWEPT, "--scheduler", site.address)
    until(lambda: finished(tmp_path) >= 1, "a cell")
    run.send_signal(signal.SIGKILL)
    run.communicate()
    before, missing = site.done(), CELLS - finished(tmp_path)
    assert 0 < missing < CELLS
    run = command(tmp_path, *SWEPT, "--scheduler", site.address)
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 0, said
    assert "goes on where it was interrupted" in said
    assert site.done() - before == missing
    assert_same(alone("latent"), tmp_path / "outputs/latent")


@pytest.mark.slow
def test_diagrams_of_all_kernels_are_one_sweep_and_no_number_is_rounded_as_the_trainings_before_wanted_it(
    site, tmp_path
):
    site.worker()
    for line in (("--scheduler", site.address), ("--jobs", "1", "--out", "outputs/alone")):
        run = command(tmp_path, *DIAGRAMS, *KERNELS, *line)
        _, said = run.communicate(timeout=SECONDS)
        assert run.returncode == 0, said
    assert_same(tmp_path / "outputs/alone", tmp_path / "outputs/bump")
    assert len([*(tmp_path / "outputs/bump").glob("phase_diagram_*.npz")]) == 6


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_reported_and_what_is_done_is_kept(sites, alone, tmp_path):
    site = sites()
    site.worker()
    run = command(tmp_path, *SWEPT, "--scheduler", site.address)
    until(lambda: finished(tmp_path) >= 1, "a cell")
    site.scheduler.kill()
    _, said = run.communicate(timeout=SECONDS)
    gone = f"bs6207: the scheduler at {site.address} is gone; start it again and run the same command to go on"
    assert (run.returncode, said.splitlines()[-1]) == (1, gone)
    assert finished(tmp_path) >= 1
    assert "Traceback" not in said
    run = command(tmp_path, *SWEPT, "--jobs", "2")
    assert "goes on where it was interrupted" in run.communicate(timeout=SECONDS)[1]
    assert_same(alone("latent"), tmp_path / "outputs/latent")


@pytest.mark.slow
def test_a_worker_with_other_code_is_refused_before_anything_is_written(sites, tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "other/bs6207", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "other/bs6207/errors.py").open("a") as file:
        file.write("CHANGED = True\n")
    site = sites(PYTHONPATH=str(tmp_path / "other"))
    site.worker()
    run = command(tmp_path, "bump", "--scheduler", site.address)
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 1
    assert said.startswith("bs6207: the worker tcp://127.0.0.1:")
    assert said.endswith("has other code of bs6207; install the same versions there as here, or restart it\n")
    assert not (tmp_path / "outputs").exists()


def double(number, progress):
    progress.record({"number": number})
    progress.step("doubled")
    return 2 * number


def test_tasks_on_a_real_scheduler_have_the_outcomes_and_the_news_of_tasks_here(tmp_path):
    seen, tasks = Watched(), {f"task {number}": number for number in range(5)}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as site,
        closing(cluster.DaskExecutor(site.scheduler_address)) as executor,
    ):
        assert map_tasks(executor, tmp_path, double, tasks, seen) == {name: 2 * n for name, n in tasks.items()}
    assert seen.steps == 5
    assert sorted(row["number"] for row in seen.rows) == [*range(5)]
    assert len([*tmp_path.glob("*.done")]) == 5


def test_a_worker_of_other_code_other_versions_or_without_the_package_is_refused_by_its_address():
    here = cluster.HERE
    cluster.require_same_code(here, "tcp://x")
    for found, message in (
        ({**here, "code": "other"}, "has other code of bs6207"),
        ({**here, "python": "2.7"}, "has python 2.7 instead of "),
        ({**here, "versions": {**here["versions"], "numpy": "0.1"}}, "has numpy 0.1 instead of "),
        (ImportError("no bs6207"), "cannot import bs6207"),
    ):
        with pytest.raises(UserError, match=f"the worker tcp://x {message}.*; install the same version"):
            cluster.require_same_code(found, "tcp://x")


def talk(on_event):
    """A call that tells all kinds of news."""
    on_event("step", "one")
    on_event("status", "half-way")
    on_event("record", {"epoch": 1})
    return 7


def fail(on_event):
    raise ValueError("no")


def test_a_worker_reports_at_once_what_is_live_and_with_the_outcome_what_is_kept(monkeypatch):
    message = []
    worker = SimpleNamespace(address="tcp://x", log_event=lambda topic, news: message.append(news))
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    outcome, news = pickle.loads(cluster.run(pickle.dumps(talk), cluster.HERE, "topic", 3))
    assert (outcome, news) == (7, [("step", "one"), ("record", {"epoch": 1})])
    assert message == [(3, "start", "tcp://x"), (3, "step", "one"), (3, "status", "half-way")]
    with pytest.raises(ValueError, match="no"):
        cluster.run(pickle.dumps(fail), cluster.HERE, "topic", 4)


class Connection:
    """A client of a scheduler whose workers are of the code `there`; its one call ends as the test wants it."""

    there: ClassVar = {}

    def __init__(self, address, **options):
        self.future, self.is_open = Future(), True
        Connection.last = self

    def run(self, function, on_error):
        return self.there

    def get_executor(self, pure):
        return self

    def submit(self, *call):
        return self.future

    def subscribe_topic(self, topic, handler):
        self.status = handler

    def close(self, timeout):
        self.is_open = False


ENDS = [  # what a call ends with, and what is made of it
    (CancelledError(), UserError, "the scheduler at tcp://x is gone; start it again and run the same command"),
    (distributed.KilledWorker("job", None, 2), WorkerLost, "3 workers died in turn"),
    (ModuleNotFoundError("No module named 'bs6207'"), UserError, "a worker cannot import bs6207"),
    (ValueError("anything else"), ValueError, "anything else"),
]


@pytest.mark.parametrize(("ending", "kind", "message"), ENDS)
def test_however_a_job_fails_it_is_reported_in_a_sentence(monkeypatch, ending, kind, message):
    monkeypatch.setattr(distributed, "Client", Connection)
    ended = cluster.DaskExecutor("tcp://x").submit(talk, lambda *event: None)
    Connection.last.future.set_exception(ending)
    with pytest.raises(kind, match=message):
        ended.result()


def test_news_of_a_job_are_passed_on_while_it_lasts_and_all_that_is_kept_with_its_outcome(monkeypatch):
    monkeypatch.setattr(distributed, "Client", Connection)
    site, events = cluster.DaskExecutor("tcp://x"), []
    assert site.remark.startswith("waits for workers; start some with: dask worker tcp://x")
    ended = site.submit(talk, lambda *event: events.append(event))
    Connection.last.status((0.0, (0, "step", "one")))
    Connection.last.future.set_result(pickle.dumps((7, [("step", "one"), ("record", {"epoch": 1})])))
    Connection.last.status((0.0, (0, "step", "too late")))
    assert ended.result() == 7
    assert events == [("step", "one"), ("replay",), ("step", "one"), ("record", {"epoch": 1})]


def test_a_cluster_of_other_code_is_left_at_once(monkeypatch):
    monkeypatch.setattr(distributed, "Client", Connection)
    monkeypatch.setattr(Connection, "there", {"tcp://w": ImportError("no bs6207")})
    with pytest.raises(UserError, match="the worker tcp://w cannot import bs6207"):
        cluster.DaskExecutor("tcp://x")
    assert not Connection.last.is_open


def test_a_scheduler_that_wants_certificates_is_told_where_they_are_named():
    with pytest.raises(UserError, match="tls://x wants certificates; name them in Dask's configuration"):
        cluster.DaskExecutor("tls://x")


def test_no_scheduler_is_reported_in_one_sentence_before_anything_is_written(main, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    done = main("bump", "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("bs6207: no scheduler answers at tcp://127.0.0.1:9 (")
    assert done.stderr.endswith("start one with: dask scheduler, or leave out --scheduler\n")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


DEADLY = """
import os, sys, time
from pathlib import Path
from bs6207.runs.tasks import map_tasks
from bs6207.runs.dask import DaskExecutor

class Seen:
    def __init__(self): self.rows, self.steps = [], []
    def record(self, row): self.rows.append(row)
    def step(self, doing, kind, seconds): self.steps.append(doing)
    def status(self, doing): pass
    warn = expect = status

def work(task, progress):
    progress.record({"task": task})
    progress.step(task)
    if task == "deadly":
        time.sleep(0.5)  # so that its events have left
        os._exit(1)
    return task.upper()

if __name__ == "__main__":
    Path("cells").mkdir()
    cluster, seen = DaskExecutor(sys.argv[1]), Seen()
    import deadly
    tasks = {name: name for name in ("one", "deadly", "two")}
    print([*map_tasks(cluster, Path("cells"), deadly.work, tasks, seen).values()])
    print([row["task"] for row in seen.rows], len(seen.steps))
    cluster.close()
"""


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_given_up_and_the_others_are_not(sites, tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    site = sites(PYTHONPATH=str(tmp_path), DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    site.worker("--nanny")
    line = [sys.executable, "deadly.py", site.address]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    outcomes, message = done.stdout.splitlines()
    lost = "deadly: 1 workers died in turn, 2 times; perhaps for want of memory, so give each worker more"
    assert outcomes == f"['ONE', FailedTask(reason={lost!r}), 'TWO']"
    assert message == "['one', 'two'] 3"  # a step of the deadly one was told while it lived
