"""What does a discriminator add to L1 when restoring a blurred image?"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bs6207.runs.caller import undisturbed, uninterrupted

if TYPE_CHECKING:
    from bs6207.deblur.model import Model
    from bs6207.deblur.restorer import Restorer
    from bs6207.deblur.settings import DeblurSettings
    from bs6207.runs.progress import Experiment
    from bs6207.runs.run import FinishedRun, MakeReport
    from bs6207.runs.view import Result

__all__ = ["Restorer", "load", "run"]


@undisturbed()
def load(folder: str | Path) -> "Model":
    """A trained restorer from a finished run of `bs6207 deblur`.

    Returns:
        A model with `restore(images [N, C, H, W] in [0, 1], clarity)`, giving restored images of the same shape;
        clarity 0 is L1 alone, 1 the strongest discriminator that the run trained with.

    Raises:
        bs6207.errors.FolderError: the folder holds none, its file is damaged, or it takes images of one size only.
    """
    from bs6207.deblur import model

    return model.load(folder)


@undisturbed()
def run(
    *,
    out: "str | PathLike[str] | None" = None,
    progress: bool = True,
    config: "str | PathLike[str] | None" = None,
    **settings: Any,
) -> "Result":
    """Run the experiment, as `bs6207 deblur` does, and leave this process as it was.

    Args:
        out: the run folder to fill, exactly as the command does: an interrupted run there resumes, and an earlier one
            moves to the history. Without it nothing is written; `Result.save` fills a folder later.
        progress: a bar in a notebook, and a line every ten seconds elsewhere.
        config: a TOML file or the name of a preset, such as quick; `settings` win.
        settings: fields of `DeblurSettings`, which are the flags of the command: epochs=50, sigma=(0.5, 3).

    Raises:
        ValueError: a setting is unknown or out of range, with the sentence of the command.
        bs6207.errors.UserError: the run failed; what was done resumes if `out` is given.
    """
    from bs6207.deblur.settings import DeblurSettings
    from bs6207.runs.python import call

    return call("deblur", DeblurSettings, run_with, settings, out, progress, config)


def run_with(settings: "DeblurSettings", folder: "Path | None", make_report: "MakeReport") -> "FinishedRun":
    """Run with checked settings, in a folder if there is one; what `run` and the command call."""
    from bs6207.runs.run import run_experiment
    from bs6207.training.devices import describe_device, require_device

    require_device(settings.device)
    return run_experiment("deblur", settings, import_experiment, describe_device, folder, make_report)


def import_experiment() -> "Experiment":
    from bs6207.deblur.experiment import run

    return run


def __getattr__(name: str) -> Any:
    """The class `Restorer`, whose import takes a second."""
    if name != "Restorer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    with undisturbed(), uninterrupted():  # libraries add filters of warnings when they are imported
        from bs6207.deblur import restorer

    return restorer.Restorer
