"""What the tests share: the command run as users run it, in an empty folder and without any data but the embedded."""

import gc
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import torch

import bs6207.processes  # which has garbage looked for seldom

gc.set_threshold(700, 10, 10)  # often again, or what one test leaves open is found, and told, in another
torch.set_num_threads(1)  # as the commands do: two threads collapse beside another test process

Command = Callable[..., subprocess.CompletedProcess[str]]


def call(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `bs6207` with `arguments` in a process of its own: forked, unless Python is to start in another environment.

    On macOS, where libraries do not bear a fork, and on Windows it starts anew too.
    """
    own = {"BS6207_DATA": "", "XDG_CACHE_HOME": str(cwd.with_name(cwd.name + "-cache"))}
    if not environment and sys.platform == "linux":
        return forked.run(arguments, cwd, os.environ | own)
    return subprocess.run(
        [sys.executable, "-m", "bs6207", *arguments],
        cwd=cwd,
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        timeout=forked.PATIENCE,
    )


def pytest_collection_modifyitems(items):
    """The longest files first, so that in the end no worker is left alone with one."""
    items.sort(key=lambda item: item.path.name not in ("test_killed.py", "test_quick_runs.py"))


class Watched:
    """Progress that is only counted; a note fails the test, as nobody would read it."""

    def __init__(self):
        self.rows, self.expected, self.steps = [], 0, 0

    def expect(self, steps):
        self.expected += steps

    def step(self, doing):
        self.steps += 1

    def tell(self, doing):
        pass

    def record(self, row):
        self.rows.append(row)

    def note(self, sentence):
        raise AssertionError(sentence)

    def keep(self, state):
        pass

    def kept(self):
        return None


class Interrupted(Exception):
    """The process ends here."""


class Shelf(Watched):
    """Keeps what is put aside last, as bytes, and ends the training after so many epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs, self.aside = epochs, None

    def keep(self, state):
        self.aside = io.BytesIO()
        torch.save(state(), self.aside)
        self.epochs -= 1
        if self.epochs == 0:
            raise Interrupted

    def kept(self):
        return torch.load(io.BytesIO(self.aside.getvalue()), weights_only=False) if self.aside else None


@pytest.fixture
def bs6207(tmp_path: Path) -> Command:
    """`bs6207(*arguments)` in the test's own empty folder."""
    return lambda *arguments, **options: call(*arguments, **{"cwd": tmp_path} | options)


@pytest.fixture(autouse=True)
def _denormals():
    """Training takes the tiniest numbers as zero, for the whole process; the next test wants them back."""
    yield
    torch.set_flush_denormal(False)
