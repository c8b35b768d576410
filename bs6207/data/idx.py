"""The idx format of the MNIST files."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bs6207.errors import DataError


def read_idx(path: Path, shape: tuple[int, ...], sha256: str) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes (yann.lecun.com/exdb/mnist), gzipped or not.

    Raises:
        DataError: it is truncated, of another kind or shape, or not the published file.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as failure:
        raise DataError(f"cannot read {path}: {failure}; delete it and run again") from None

    header = bytes((0, 0, 8, len(shape))) + b"".join(size.to_bytes(4, "big") for size in shape)
    if content[:4] != header[:4]:
        raise DataError(f"{path} is not an idx file of bytes with {len(shape)} dimensions; delete it and run again")
    expected = len(header) + int(np.prod(shape))
    if len(content) != expected:
        raise DataError(f"{path} holds {len(content)} bytes, not {expected}; delete it and run again")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} is not the published file (its SHA-256 differs); delete it and run again")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape).copy()
