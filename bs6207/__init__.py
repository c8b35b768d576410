"""Three questions every deep-learning course asks, each answered by one command."""

from os import PathLike
from typing import TYPE_CHECKING

from bs6207 import bump, deblur, latent
from bs6207._version import __version__
from bs6207.runs.caller import same_random_state

if TYPE_CHECKING:
    from bs6207.runs.view import Result

__all__ = ["__version__", "bump", "deblur", "latent", "load_run"]


@same_random_state()
def load_run(folder: "str | PathLike[str]") -> "Result":
    """A finished run of any command, as `run` of its story returns it.

    Raises:
        bs6207.errors.FolderError: the folder holds none, or it cannot be read.
    """
    from bs6207.runs import view

    return view.load_run(folder)
