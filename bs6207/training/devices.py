"""Where tensors live, how many threads work on them, and where random numbers start."""

import ctypes
import sys
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bs6207.errors import SettingsError

if TYPE_CHECKING:
    import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # as glibc's malloc.h numbers them
MOST_KEPT, LARGE = 2**28, 2**25  # bytes: of free memory, and of an array that is always given back

# Of each process: two collapse twentyfold when another process takes a core, and one does not notice.
THREADS = 1

PrecisionName: TypeAlias = Literal["auto", "fp32", "bf16"]


def require_device(name: str) -> None:
    """Check that a device asked for by name is here.

    Raises:
        SettingsError: it is not.
    """
    if name in ("auto", "cpu"):
        return
    import torch

    here = torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()
    if not here:
        raise SettingsError(f"{name} is not available here", "use --device auto")


def choose_device(name: str) -> "torch.device":
    """The device called `name`; `auto` is cuda where there is one, otherwise the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_precision(name: PrecisionName, device: "torch.device") -> "torch.dtype":
    """The number format of a training's layers; `auto` is bfloat16 where the processor multiplies in it.

    Weights, losses and scores are float32 in any case.
    """
    import torch

    if name == "auto":
        name = "bf16" if multiplies_in_bfloat16(device) else "fp32"
    return torch.bfloat16 if name == "bf16" else torch.float32


def multiplies_in_bfloat16(device: "torch.device") -> bool:
    """Whether bfloat16 is native, and so several times as fast as float32; elsewhere it is emulated, and slow."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # an older torch cannot say
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def describe_device(name: str) -> dict[str, Any]:
    """The device called `name`, and what else there determines results and time."""
    import torch

    device = choose_device(name)
    native = {place: multiplies_in_bfloat16(torch.device(place)) for place in sorted({"cpu", device.type})}
    return {"bfloat16": native, "device": str(device), "threads": THREADS}


def prepare(seed: int) -> None:
    """Start torch's random stream at `seed`, on `THREADS` threads."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)


def flush_denormals() -> None:
    """Take numbers below 1e-38 as zero: saturated sigmoids make many, and they cost up to half the time.

    For training only: it also rounds double precision, where exact answers are wanted.
    """
    import torch

    torch.set_flush_denormal(True)


def keep_memory() -> None:
    """Have the C library keep the memory that tensors leave for those of the next step, if it is glibc.

    Given back and asked for again it comes page by page, which takes up to a tenth of the time of a training.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(TRIM_THRESHOLD, MOST_KEPT)
        library.mallopt(MMAP_THRESHOLD, LARGE)
