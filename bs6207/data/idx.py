"""The idx format of the MNIST files."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from bs6207.data.memory import require_memory
from bs6207.errors import DataError


def read_idx(path: Path, dimensions: int, sha256: str | None = None) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes (yann.lecun.com/exdb/mnist), gzipped or not.

    Args:
        dimensions: of the array: 3 for images, 1 for labels.
        sha256: of the published file, gzipped as it is or unpacked; None for a file of the user's own.

    Raises:
        DataError: it is truncated, of another kind, too large for this machine, or not the published file.
    """
    start = bytes((0, 0, 8, dimensions))
    try:
        with cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(len(start) + 4 * dimensions)
            shape = tuple(int.from_bytes(header[place : place + 4], "big") for place in range(4, len(header), 4))
            if header[:4] != start or len(header) < len(start) + 4 * dimensions:
                raise DataError(
                    f"{path} is not an idx file of bytes with {dimensions} dimensions; replace it, or delete it and "
                    "run again"
                )
            require_memory(math.prod(shape), path)
            values = file.read(math.prod(shape) + 1)  # one more than there should be shows a longer file
    except (OSError, EOFError, zlib.error) as failure:
        raise DataError(f"cannot read {path}: {failure}; replace it, or delete it and run again") from None

    found, expected = len(header) + len(values), len(header) + math.prod(shape)
    if found != expected:
        holds = f"{found} bytes" if found < expected else "more bytes than its header says"
        raise DataError(f"{path} holds {holds}, not {expected}; replace it, or delete it and run again")
    if sha256 and sha256 != sha256_of(header + values) and sha256 not in checksums(path):
        raise DataError(
            f"{path} is not the published file (its SHA-256 differs); replace it, or delete it and run again"
        )
    return np.frombuffer(values, np.uint8).reshape(shape).copy()


def checksums(path: Path) -> set[str]:
    """SHA-256 of a file as it lies there and of what is packed in it; none where it cannot be read."""
    try:
        with path.open("rb") as stored:
            found = {hashlib.file_digest(stored, "sha256").hexdigest()}
        if path.suffix == ".gz":
            with gzip.GzipFile(path) as unpacked:  # bit by bit: a small file may unpack to more than memory holds
                found.add(hashlib.file_digest(unpacked, "sha256").hexdigest())
        return found
    except (OSError, EOFError, zlib.error):
        return set()


def sha256_of(content: bytes) -> str:
    """The checksum of bytes."""
    return hashlib.sha256(content).hexdigest()
