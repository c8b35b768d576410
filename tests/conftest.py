"""What the tests share: the command run as users run it, in an empty folder and without any data but the embedded."""

import gc
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import forked
import hypothesis
import numpy as np
import pytest
from filelock import FileLock
from threadpoolctl import threadpool_limits

from bs6207.cli import commands as cli

# torch and matplotlib are imported where they are used: the process that only hands tests out waits for neither.

# The same examples on every machine, and none too slow for a busy one.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("project")

gc.set_threshold(100_000)  # as in the processes of the commands

RUNS = {  # the trained fixtures: one short run of every story, which all tests of finished runs read
    "bump": "bump",
    "latent": "latent --config quick --dims 2 4 --epochs 3 --train-images 1000 --jobs 1",
    "deblur": "deblur --config quick --epochs 3 --train-images 160 --test-images 20 --test-sigmas 1.5 "
    "--batch-size 8 --jobs 1",
}
EVERY_STEP = {"bs6207.runs.report": {"PLAIN_INTERVAL": 0}}  # a line for every step, not every ten seconds
UNDRAWN = {"bs6207.figures": {"FORMATS": []}}  # figures are made and not written
HURRY = {  # evaluators that train for a few steps, and few images to tune on: their scores are tested elsewhere
    "bs6207.deblur.evaluators": {"DISC_STEPS": 80, "TWO_SAMPLE_STEPS": 5, "CLASSIFIER_STEPS": [30, 30]},
    "bs6207.deblur.blur": {"FOLLOWED_IMAGES": 30, "LONGEST_SIDE": 160},
    "bs6207.deblur.classical": {"TUNING_IMAGES": 10, "TUNING_CROPS": 1, "TV_ITERATIONS": 20},
    "bs6207.deblur.training": {"CROPS": 48},
}

# Tests that share what is slow to start or to train. A group goes to one worker, the longest first, but for "latent",
# which forks nothing: so one worker computes while the other waits for the imports of what is forked.
GROUPS = ("processes", "latent", "deblur", "browser", "cluster", "evaluators", "onnx")

READ_AT_START = ("PYTHON", "LC_", "MPL")  # environment variables that Python or matplotlib reads as it is imported

Command = Callable[..., subprocess.CompletedProcess[str]]


def call(
    *arguments: str,
    cwd: Path,
    constants: forked.Constants | None = None,
    stop: forked.Stop | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run `bs6207` with `arguments` in a process of its own: forked, unless `environment` is read when Python starts.

    On macOS, where libraries do not bear a fork, and on Windows it starts anew too, and `constants` keep their values.
    """
    own = {"BS6207_DATA": "", "XDG_CACHE_HOME": str(cwd.with_name(cwd.name + "-cache"))}
    if sys.platform == "linux" and not any(name.startswith(READ_AT_START) for name in environment):
        return forked.run(arguments, cwd, os.environ | own | environment, constants or {}, stop)
    return subprocess.run(
        [sys.executable, "-m", "bs6207", *arguments],
        cwd=cwd,
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        timeout=forked.LIMIT,
    )


def arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file, which is closed again."""
    with np.load(file) as held:
        return dict(held)


@contextmanager
def standard_streams() -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    """What a terminal of UTF-8 would get: stdout, which is strict, and stderr, which is not."""
    before = sys.stdout, sys.stderr
    sys.stdout = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict")
    sys.stderr = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    try:
        yield sys.stdout, sys.stderr
    finally:
        sys.stdout, sys.stderr = before


def pytest_configure(config):
    if sys.platform == "linux" and not hasattr(config, "workerinput"):  # for all its workers
        forked.start()


def pytest_collection_finish(session):
    """What has been imported stays, and the search for garbage need not go through it again and again."""
    import torch

    gc.collect()
    gc.freeze()
    torch.set_num_threads(1)  # as the commands do: two threads collapse beside another test process
    threadpool_limits(1)  # of scikit-learn and numpy too, in tests that call them outside of a task


def pytest_collection_modifyitems(items):
    """Groups first and among them the longest, so that in the end no worker is left alone with one."""

    def place(item) -> int:
        group = item.get_closest_marker("xdist_group")
        return GROUPS.index(group.args[0]) if group else len(GROUPS)

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _style() -> Iterator[None]:
    """Tests look at figures that are not rendered, which otherwise are in the house style only while they are."""
    from bs6207.figures import house_style

    with house_style():
        yield


class Watched:
    """Progress that is only counted; a warning fails the test, as nobody would read it."""

    def __init__(self):
        self.rows, self.expected, self.steps = [], 0, 0

    def expect(self, steps, kind=""):
        self.expected += steps

    def step(self, doing, kind="", seconds=None):
        self.steps += 1

    def status(self, doing):
        pass

    def record(self, row):
        self.rows.append(row)

    def warn(self, sentence):
        raise AssertionError(sentence)

    def save_checkpoint(self, state):
        pass

    def load_checkpoint(self):
        return None


class Interrupted(Exception):
    """The process ends here."""


class Shelf(Watched):
    """Keeps the last checkpoint, as bytes, and ends the training after so many epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs, self.aside = epochs, None

    def save_checkpoint(self, state):
        import torch

        self.aside = io.BytesIO()
        torch.save(state(), self.aside)
        self.epochs -= 1
        if self.epochs == 0:
            raise Interrupted

    def load_checkpoint(self):
        import torch

        return torch.load(io.BytesIO(self.aside.getvalue()), weights_only=False) if self.aside else None


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Callable[[str, Callable[[Path], Any]], Path]:
    """`shared(name, make)`: a folder that the first test process to ask for it fills by `make(folder)`; all read it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], Any]) -> Path:
        folder, done = base / name / "here", base / name / "done"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a process left that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def trained(shared) -> Callable[[str], Path]:
    """`trained(story)`: the run folder of that story's run in `RUNS`, to be read and not written."""

    def run(line: str, cwd: Path) -> None:
        done = call(*line.split(), cwd=cwd, constants=HURRY | EVERY_STEP)
        assert done.returncode == 0, done.stderr
        (cwd / "stdout").write_text(done.stdout)
        (cwd / "stderr").write_text(done.stderr)

    return lambda story: shared(story, lambda folder: run(RUNS[story], folder)) / "outputs" / story


@pytest.fixture
def main(tmp_path: Path, monkeypatch) -> Command:
    """`main(*arguments)`: the command in this process and the test's own folder; for what ends before any work."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(gc, "freeze", lambda: None)  # as if this process ended there,
    monkeypatch.setattr(gc, "set_threshold", lambda count: None)  # or a file left open is reported in another test, and
    monkeypatch.setattr(cli, "STOP_SIGNALS", [])  # had not been asked to stop before
    monkeypatch.setenv("BS6207_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.with_name(tmp_path.name + "-cache")))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["bs6207", *arguments])
        handlers = {number: signal.getsignal(number) for number in cli.stopping_signals()}
        with standard_streams() as streams, pytest.raises(SystemExit) as ended:
            try:
                cli.main()
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        for stream in streams:
            stream.flush()
        out, err = (stream.buffer.getvalue().decode() for stream in streams)
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, out, err)

    return run


@pytest.fixture
def bs6207(tmp_path: Path) -> Command:
    """`bs6207(*arguments)` in the test's own empty folder."""
    return lambda *arguments, **options: call(*arguments, **{"cwd": tmp_path} | options)


@pytest.fixture
def undrawn(bs6207: Command) -> Command:
    """`bs6207` without the files of figures, which take half of a short run."""
    return partial(bs6207, constants=UNDRAWN)
