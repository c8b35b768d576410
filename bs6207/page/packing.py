"""Bytes and arrays as text that the page's script reads back: deflated, then base64."""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = 3  # of a rounded number: whole steps from -2^23 to 2^23


def pack(values: NDArray[Any]) -> dict[str, Any]:
    """An array with its shape; uint8 stays, everything else becomes float32."""
    kind, dtype = ("uint8", "<u1") if values.dtype == np.uint8 else ("float32", "<f4")
    return {"kind": kind, "shape": list(values.shape), "data": deflate(values.astype(dtype).tobytes())}


def pack_rounded(values: NDArray[np.float64], steps: NDArray[np.float32]) -> dict[str, Any]:
    """A matrix rounded to multiples of a step for each row, lowest bytes first; ValueError beyond 2^23 steps from 0."""
    counts = np.round(values / steps[:, None])
    if np.abs(counts).max() >= 2 ** (8 * BYTES - 1):
        raise ValueError(f"{np.abs(values).max()} is too large for steps of {steps.min()}")
    planes = counts.astype("<i4").view(np.uint8).reshape(-1, 4).T[:BYTES]
    # Nothing in random digits repeats, and to look for it takes seconds; only the highest bytes are short.
    data = deflate(planes.tobytes(), zlib.Z_HUFFMAN_ONLY)
    return {"kind": "rounded", "steps": pack(steps), "shape": list(values.shape), "data": data}


def deflate(content: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> str:
    compressor = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, strategy)
    return base64.b64encode(compressor.compress(content) + compressor.flush()).decode()
