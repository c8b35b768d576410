"""The idx format of the MNIST files, and where the four files of a data set lie."""

import gzip
import hashlib
import io
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bs6207.data.images import sha256_of
from bs6207.errors import DataError
from bs6207.runs.memory import require_memory

IDX_FILES = {  # name: dimensions; the same four of every published data set
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}
IDX_NAME = re.compile(r"(.*?)-?(train|t10k|test)-(images|labels)-?idx[13](-ubyte)?(-gz)?")  # with - for every sign
BLOCK = 2**20  # bytes that are read at once
GZIPPED = b"\x1f\x8b"  # how such a file begins, RFC 1952; an idx file begins with two zeros
MOST_WRAPPINGS = 2  # a file gzipped by its publisher, and once more on the way
REPLACE = "replace it, or delete it and run again"


def read_idx(path: Path, dimensions: int, sha256: str | None = None) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes (yann.lecun.com/exdb/mnist), gzipped, twice or not, whatever its name says.

    Raises:
        DataError: it is truncated, of another kind, too large for this machine, or not the published file, whose
            `sha256`, if given, is that of the file as it is or unpacked.
    """
    start = bytes((0, 0, 8, dimensions))
    try:
        with unpacked(path, MOST_WRAPPINGS) as file:
            header = file.read(len(start) + 4 * dimensions)
            shape = tuple(int.from_bytes(header[place : place + 4], "big") for place in range(4, len(header), 4))
            if header[:4] != start or len(header) < len(start) + 4 * dimensions:
                raise DataError(f"{path} is not an idx file of bytes with {dimensions} dimensions", REPLACE)
            require_memory(math.prod(shape), path)
            values, count = np.empty(math.prod(shape), np.uint8), 0
            while got := file.readinto(values.data[count : count + BLOCK]):  # no copy of the whole in memory
                count += got
            is_longer = bool(file.read(1))
    except PermissionError as failure:
        raise DataError(f"cannot read {path}: {failure.strerror}", "see that you may read it") from None
    except (OSError, EOFError, zlib.error) as failure:
        raise DataError(f"cannot read {path}: {failure}", REPLACE) from None
    if count < len(values) or is_longer:
        holds = "more bytes than its header says" if is_longer else f"{len(header) + count} bytes"
        raise DataError(f"{path} holds {holds}, not {len(header) + len(values)}", REPLACE)
    if sha256 and sha256 != sha256_of(header, values) and sha256 not in checksums(path):
        raise DataError(f"{path} is not the published file (its SHA-256 differs)", REPLACE)
    return values.reshape(shape)


@contextmanager
def unpacked(path: Path, most: int) -> Iterator[io.BufferedReader]:
    """A stream of the content of a file that is gzipped at most `most` times."""
    with path.open("rb") as packed:
        file = packed
        while most and file.peek(len(GZIPPED)).startswith(GZIPPED):
            file, most = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=file, mode="rb"))), most - 1
        yield file


def checksums(path: Path) -> set[str]:
    """SHA-256 of a file and of its unpacked content; empty where it cannot be read."""
    try:
        with path.open("rb") as packed, unpacked(path, most=1) as content:
            return {hashlib.file_digest(file, "sha256").hexdigest() for file in (packed, content)}
    except (OSError, EOFError, zlib.error):
        return set()


def find_idx(folder: Path, stem: str, only_gzipped: bool = False) -> Path:
    """The raw file, or else the gzipped one, there or not; also with a dot in its name, or in a folder of that name."""
    spelled = (stem, stem.replace("-idx", ".idx"))
    raw = [] if only_gzipped else [place / name for name in spelled for place in (folder, folder / name)]
    gzipped = [folder / f"{name}.gz" for name in spelled]
    return next((file for file in (*raw, *gzipped) if file.is_file()), gzipped[0])


def parse_idx_name(file: Path) -> tuple[str, str] | None:
    """The data set and the stem in `IDX_FILES` that a file name stands for, in any usual spelling; None for others."""
    if not (match := IDX_NAME.fullmatch(re.sub(r"[\W_]", "-", file.name.casefold()))):
        return None
    data_set, part, kind = match.group(1, 2, 3)
    beginning = f"{part.replace('test', 't10k')}-{kind}"
    return data_set, next(stem for stem in IDX_FILES if stem.startswith(beginning))
