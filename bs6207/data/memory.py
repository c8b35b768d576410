"""How much fits into memory: images are read whole, and a run holds them several times over."""

import os
from pathlib import Path

from bs6207.errors import DataError

COPIES = 12  # bytes that a run holds for each byte of pixels, at most; latent on all of MNIST: 11.6
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def require_memory(pixel_bytes: int, source: Path) -> None:
    """Check that a run on that many bytes of pixels fits into this machine.

    Raises:
        DataError: it does not.
    """
    has = memory()
    if has is not None and (needed := COPIES * pixel_bytes) > has:
        raise DataError(
            f"the images of {source} need about {needed / 2**30:,.1f} GiB of memory and there are {has / 2**30:,.1f}; "
            "give fewer or smaller images"
        )


def memory() -> int | None:
    """Bytes of memory here, of the container where there is one; None where the system does not say."""
    try:
        bytes_here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
    try:
        return min(bytes_here, int(CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit: "max"
        return bytes_here
