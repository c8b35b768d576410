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


def seed_everything(seed: int) -> None:
    """Start torch's random stream at `seed`; whoever needs numpy's makes a generator of their own."""
    import torch

    torch.manual_seed(seed)
