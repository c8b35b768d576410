"""Where tensors live, how many threads work on them, and where random numbers start."""

from typing import TYPE_CHECKING

from bs6207.errors import SettingsError

if TYPE_CHECKING:
    import torch


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
        raise SettingsError(f"{name} is not available here; use --device auto")


def choose_device(name: str) -> "torch.device":
    """The device called `name`; `auto` is cuda where there is one, otherwise the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def prepare(seed: int) -> None:
    """Start torch's random stream at `seed`, on one thread, with numbers near zero taken as zero.

    One thread: two collapse twentyfold when another process takes a core, one does not notice. Flushing denormals
    must come before the first parallel operation, or other threads keep them, and they cost up to half the time.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
