"""Where tensors live, in which precision, and the state of torch while a task runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from bs6207.errors import SettingsError
from bs6207.runs.memory import processor_flags

if TYPE_CHECKING:
    import torch

# Of each process: two collapse twentyfold when another process takes a core, and one does not notice.
THREADS = 1

BFLOAT16 = ("avx512_bf16", "amx_bf16")  # what an x86 processor has that multiplies so, by Linux's and torch's names

PrecisionName: TypeAlias = Literal["auto", "fp32", "bf16"]


def require_device(name: str) -> None:
    """Raise SettingsError if a device is not available."""
    if name in ("auto", "cpu"):
        return
    import torch

    if not (torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available()):
        raise SettingsError(f"{name} is not available here", "use --device auto")


def choose_device(name: str) -> "torch.device":
    """`auto` is cuda if available, otherwise the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_precision(name: PrecisionName, device: "torch.device") -> "torch.dtype":
    """The number format of a training's layers, not of weights and losses; `auto` is bfloat16 where that is native."""
    import torch

    in_bfloat16 = multiplies_in_bfloat16(device.type) if name == "auto" else name == "bf16"
    return torch.bfloat16 if in_bfloat16 else torch.float32


def multiplies_in_bfloat16(kind: str) -> bool:
    """Whether bfloat16 is native on a device of this type, and so several times as fast as float32."""
    if kind == "cpu" and sys.platform == "linux":  # which says it without torch
        return bool(processor_flags() & {*BFLOAT16})
    import torch

    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # in older versions of torch
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BFLOAT16)


def describe_device(name: str) -> dict[str, Any]:
    """The device called `name`, and what else there determines results and time."""
    kind = name if name == "cpu" else choose_device(name).type
    native = {place: multiplies_in_bfloat16(place) for place in sorted({"cpu", kind})}
    return {"bfloat16": native, "device": kind, "threads": THREADS}


def prepare(seed: int) -> None:
    """Seed torch's random numbers on the CPU and use `THREADS` threads; `preserve_torch_state` undoes both."""
    import torch

    torch.set_num_threads(THREADS)
    torch.default_generator.manual_seed(seed)


@contextmanager
def preserve_torch_state() -> Iterator[None]:
    """Restore torch's number of threads and its random state on the CPU after the block, or the function decorated."""
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@contextmanager
def flush_denormals() -> Iterator[None]:
    """Round numbers below 1e-38 to zero in the block, or the function decorated, and then as before.

    Saturated sigmoids make many, and they cost up to half the time. For training only: float64 is rounded too.
    """
    import torch

    flushed_before = sys.float_info.min / 2 == 0  # torch cannot say
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed_before)
