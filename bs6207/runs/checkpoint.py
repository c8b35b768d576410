"""What the pieces of a run have put aside, so that one that was killed goes on where it was.

    outputs/latent.partial/cells/made_for.json, made_of      what all that lies here was made for, and of (runs.py)
    outputs/latent.partial/cells/autoencoder-16-0.part       a piece under way: networks, optimizer, random numbers
    outputs/latent.partial/cells/autoencoder-16-0.done       a finished one: its outcome and its rows of history
    outputs/latent.partial/cells/*.previous                  the one before, should the last be found damaged

A file is the SHA-256 of all that follows, in hexadecimal, and then what torch.save makes. It is read as data: plain
values, arrays, tensors and the dataclasses that are `Checkpointable`; a pickle that asks for anything else
executes nothing.
"""

import hashlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bs6207.runs.files import failing_writes, write_whole
from bs6207.runs.progress import Steps
from bs6207.runs.result import Checkpointable, State

PATIENCE = 30  # times as long as the last writing took must pass until the next: it costs 3 % of the time at most
DIGEST = 64  # hexadecimal digits
NUMBERS = ("float32", "float64", "int32", "int64", "uint8", "bool")  # what arrays may hold


class Damaged(Exception):
    """A file that is not what was written, or was made of something else; the message says which."""


@dataclass(frozen=True)
class Checkpoints:
    """The folder in which the pieces of one run put aside what they have."""

    folder: Path

    def write(self, name: str, value: Any, given: str) -> None:
        """Put a value aside in place of the one before, which is kept.

        Args:
            given: what it was made of beside the settings.
        """
        import torch

        stream = io.BytesIO()
        stream.write(bytes(DIGEST))
        torch.save({"given": given, "value": value}, stream)
        whole = stream.getbuffer()  # networks may be large, so they are in memory once
        whole[:DIGEST] = hashlib.sha256(whole[DIGEST:]).hexdigest().encode()
        file = self.folder / name
        with failing_writes(file):
            if file.exists():
                file.replace(previous(file))
            write_whole(file, whole)

    def read(self, name: str, given: str, note: Callable[[str], None]) -> Any | None:
        """The value put aside last or, where that is damaged, the one before; None if there is none."""
        file = self.folder / name
        for place in (file, previous(file)):
            try:
                return opened(place, given)
            except FileNotFoundError:
                continue
            except (Damaged, OSError) as failure:
                note(f"{place} {failure}, so it is not used")
        return None


def previous(file: Path) -> Path:
    """Where the one before is kept."""
    return file.with_name(file.name + ".previous")


def opened(file: Path, given: str) -> Any:
    """What a file holds.

    Raises:
        Damaged: it is not whole, was made of something else, or holds more than data.
    """
    found: Any = None
    digest, content = (whole := file.read_bytes())[:DIGEST], whole[DIGEST:]
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise Damaged("is damaged")
    import torch

    try:
        with torch.serialization.safe_globals(readable()):
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as failure:  # the checksum is right: somebody wrote it so
        raise Damaged("holds what is not data") from failure
    if not isinstance(found, dict) or found.get("given") != given:
        raise Damaged("was made of other data")
    return found["value"]


def readable() -> list[Any]:
    """The classes and functions that may stand in a file: numpy's for arrays, and every `Checkpointable` dataclass."""
    import numpy as np

    kinds: list[Any] = [type(np.dtype(name)) for name in NUMBERS]
    one = np.float64(0).__reduce__()[0]  # these two have moved between versions of numpy
    return [*kinds, bytes, np.dtype, np.ndarray, np.zeros(0).__reduce__()[0], one, *subclasses(Checkpointable)]


def subclasses(parent: type) -> list[type]:
    """All classes under one."""
    children: list[type] = parent.__subclasses__()
    return [*children, *(deeper for child in children for deeper in subclasses(child))]


class CheckpointedProgress:
    """Steps of one piece whose progress is put aside: `keep` and `kept` of `TaskProgress`."""

    def __init__(self, steps: Steps, checkpoints: Checkpoints, name: str, given: str):
        self.steps, self.status, self.record, self.warn = steps, steps.status, steps.record, steps.warn
        self.checkpoints, self.name, self.given = checkpoints, f"{name}.part", given
        self.due = 0.0
        self.done = self.done_before = 0  # steps

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        """One step is done, or reported again."""
        self.done += 1
        self.steps.step(doing, kind, 0.0 if self.done <= self.done_before else seconds)

    def save_checkpoint(self, state: Callable[[], State]) -> None:
        """Put aside how far this piece is, if the last time is long enough ago."""
        if (start := time.monotonic()) >= self.due:
            self.checkpoints.write(self.name, {"done": self.done, "state": state()}, self.given)
            self.due = (end := time.monotonic()) + PATIENCE * (end - start)

    def load_checkpoint(self) -> State | None:
        """How far it was."""
        found = self.checkpoints.read(self.name, self.given, self.warn)
        if found is None:
            return None
        self.done_before = found["done"]
        return found["state"]
