"""Checkpoints: the saved state and outcomes of a run's tasks, from which an interrupted run resumes.

    outputs/latent.partial/cells/autoencoder-16-0.part       a running task: networks, optimizer, random numbers
    outputs/latent.partial/cells/autoencoder-16-0.done       a finished one: its outcome and its rows of history
    outputs/latent.partial/cells/*.previous                  the previous checkpoint, used if the last one is damaged

A file is the SHA-256 of its content in hexadecimal, then the content as torch.save writes it or, from a process without
torch and so without tensors, as a pickle. Only data is read back: plain values, arrays, tensors and dataclasses that
are `Checkpointable`; a pickle of anything else executes nothing.
"""

import hashlib
import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bs6207.runs.files import failing_writes, write_whole
from bs6207.runs.result import Checkpointable

DIGEST = 64  # hexadecimal digits
PICKLE = b"\x80"  # a pickle begins with it, and no file of torch's
PROTOCOL = 4  # of pickles: the last that names nothing else for arrays than `safe_classes` has
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")  # of arrays


@dataclass(frozen=True)
class Checkpoint:
    """One value in a file, and its previous value beside it."""

    file: Path
    fingerprint: str  # of the data the value was computed from

    @property
    def previous(self) -> Path:
        return self.file.with_name(self.file.name + ".previous")

    def save(self, value: Any) -> None:
        stream = io.BytesIO()
        stream.write(bytes(DIGEST))
        saved = {"fingerprint": self.fingerprint, "value": value}
        if "torch" in sys.modules:
            import torch

            torch.save(saved, stream)
        else:
            pickle.dump(saved, stream, PROTOCOL)
        whole = stream.getbuffer()  # a view: networks may be large
        whole[:DIGEST] = hashlib.sha256(whole[DIGEST:]).hexdigest().encode()
        with failing_writes(self.file):
            if self.file.exists():
                self.file.replace(self.previous)
            write_whole(self.file, whole)

    def load(self, warn: Callable[[str], None]) -> Any | None:
        """The value saved last or, where that is damaged, the previous one; None if there is none."""
        for file in (self.file, self.previous):
            try:
                return self.read(file)
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as failure:
                warn(f"{file} {failure}, so it is not used")
        return None

    def read(self, file: Path) -> Any:
        """The value in a file; the message of a ValueError completes the sentence "FILE ..."."""
        content = file.read_bytes()
        digest, content = content[:DIGEST], content[DIGEST:]
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise ValueError("is damaged")
        try:
            saved = (load_pickle if content.startswith(PICKLE) else load_tensors)(io.BytesIO(content))
        except Exception as failure:  # the checksum is right, so it was written like this
            raise ValueError("holds what is not data") from failure
        if not isinstance(saved, dict) or saved.get("fingerprint") != self.fingerprint:
            raise ValueError("was made of other data")
        return saved["value"]


def load_tensors(stream: io.BytesIO) -> Any:
    import torch

    with torch.serialization.safe_globals(safe_classes()):
        return torch.load(stream, map_location="cpu", weights_only=True)


def load_pickle(stream: io.BytesIO) -> Any:
    return DataUnpickler(stream).load()


class DataUnpickler(pickle.Unpickler):
    """Reads a pickle that names nothing but `safe_classes`."""

    def find_class(self, module: str, name: str) -> Any:
        for known in safe_classes():
            if (known.__module__, known.__qualname__) == (module, name):
                return known
        raise pickle.UnpicklingError(f"{module}.{name} is not data")


def safe_classes() -> list[Any]:
    """The classes and functions a checkpoint may name: numpy's for arrays, and every `Checkpointable` dataclass."""
    import numpy as np

    dtypes = [type(np.dtype(name)) for name in DTYPES]
    builders = [value.__reduce__()[0] for value in (np.zeros(0), np.float64(0))]  # their modules vary with numpy
    classes: list[Any] = [Checkpointable]
    for parent in classes:  # which grows by the subclasses of its members
        classes += parent.__subclasses__()
    return [*dtypes, *builders, bytes, np.dtype, np.ndarray, *classes]
