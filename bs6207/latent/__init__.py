"""How many dimensions does a digit need before the ten classes separate?"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bs6207.runs.caller import undisturbed, uninterrupted

if TYPE_CHECKING:
    from bs6207.latent.estimators import LatentClusterer, LatentTransformer
    from bs6207.latent.model import Model
    from bs6207.latent.settings import LatentSettings
    from bs6207.runs.progress import Experiment
    from bs6207.runs.run import FinishedRun, MakeReport
    from bs6207.runs.view import Result

ESTIMATORS = ("LatentClusterer", "LatentTransformer")
__all__ = ["LatentClusterer", "LatentTransformer", "load", "run"]


@undisturbed()
def load(folder: str | Path, dim: int, seed: int | None = None) -> "Model":
    """A trained autoencoder from a finished run of `bs6207 latent`, such as outputs/latent.

    Args:
        dim: one of its latent sizes.
        seed: one of its seeds, the first if None.

    Returns:
        A model with `encode(images)`, from [N, C, H, W] in [0, 1] to latents, [N, dim], and `decode(latents)`.

    Raises:
        bs6207.errors.FolderError: the folder holds none of that size, or its file is damaged.
    """
    from bs6207.latent import model

    return model.load(folder, dim, seed)


@undisturbed()
def run(
    *,
    out: "str | PathLike[str] | None" = None,
    progress: bool = True,
    config: "str | PathLike[str] | None" = None,
    **settings: Any,
) -> "Result":
    """Run the experiment, as `bs6207 latent` does, and leave this process as it was.

    Args:
        out: the run folder to fill, exactly as the command does: an interrupted run there resumes, and an earlier one
            moves to the history. Without it nothing is written; `Result.save` fills a folder later.
        progress: a bar in a notebook, and a line every ten seconds elsewhere.
        config: a TOML file or the name of a preset, such as quick; `settings` win.
        settings: fields of `LatentSettings`, which are the flags of the command: dims=[2, 4], epochs=6.

    Raises:
        ValueError: a setting is unknown or out of range, with the sentence of the command.
        bs6207.errors.UserError: the run failed; what was done resumes if `out` is given.
    """
    from bs6207.latent.settings import LatentSettings
    from bs6207.runs.python import call

    return call("latent", LatentSettings, run_with, settings, out, progress, config)


def run_with(settings: "LatentSettings", folder: "Path | None", make_report: "MakeReport") -> "FinishedRun":
    """Run with checked settings, in a folder if there is one; what `run` and the command call."""
    from bs6207.runs.run import run_experiment
    from bs6207.training.devices import describe_device, require_device

    require_device(settings.device)
    return run_experiment("latent", settings, import_experiment, describe_device, folder, make_report)


def import_experiment() -> "Experiment":
    from bs6207.latent.experiment import run

    return run


def __getattr__(name: str) -> Any:
    """The estimators, whose import takes seconds."""
    if name not in ESTIMATORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    with undisturbed(), uninterrupted():  # libraries add filters of warnings when they are imported
        from bs6207.latent import estimators

    return getattr(estimators, name)
