"""Checkpoints: the saved state and outcomes of a run's tasks, from which an interrupted run resumes.

    outputs/latent.partial/cells/autoencoder-16-0.part       a running task: networks, optimizer, random numbers
    outputs/latent.partial/cells/autoencoder-16-0.done       a finished one: its outcome and its rows of history
    outputs/latent.partial/cells/*.previous                  the previous checkpoint, used if the last one is damaged

A file is the SHA-256 of its content in hexadecimal, then the content as torch.save writes it. Only data is read back:
plain values, arrays, tensors and dataclasses that are `Checkpointable`; a pickle of anything else executes nothing.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bs6207.runs.files import failing_writes, write_whole
from bs6207.runs.result import Checkpointable

DIGEST = 64  # hexadecimal digits
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
        import torch

        stream = io.BytesIO()
        stream.write(bytes(DIGEST))
        torch.save({"fingerprint": self.fingerprint, "value": value}, stream)
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
        import torch

        try:
            with torch.serialization.safe_globals(safe_classes()):
                saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as failure:  # the checksum is right, so it was written like this
            raise ValueError("holds what is not data") from failure
        if not isinstance(saved, dict) or saved.get("fingerprint") != self.fingerprint:
            raise ValueError("was made of other data")
        return saved["value"]


def safe_classes() -> list[Any]:
    """The classes and functions a checkpoint may name: numpy's for arrays, and every `Checkpointable` dataclass."""
    import numpy as np

    dtypes = [type(np.dtype(name)) for name in DTYPES]
    builders = [value.__reduce__()[0] for value in (np.zeros(0), np.float64(0))]  # their modules vary with numpy
    classes: list[Any] = [Checkpointable]
    for parent in classes:  # which grows by the subclasses of its members
        classes += parent.__subclasses__()
    return [*dtypes, *builders, bytes, np.dtype, np.ndarray, *classes]
