"""How tall a bump can this optimizer escape?"""

from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from bs6207.runs.caller import undisturbed

if TYPE_CHECKING:
    from pathlib import Path

    from bs6207.bump.conformance.experiment import AuditReport
    from bs6207.bump.conformance.settings import AuditSettings
    from bs6207.bump.settings import BumpSettings
    from bs6207.runs.progress import Experiment
    from bs6207.runs.run import FinishedRun, MakeReport
    from bs6207.runs.view import Result


OF_RUN = {"sweep", "noise", "trials", "animate", "no_figures", "jobs", "scheduler", "fresh"}  # not of one threshold


@undisturbed()
def threshold(optimizer: str | type, **settings: Any) -> dict[str, Any]:
    """The entry of metrics.json for one optimizer: h_max, bracket, step, settings, margin, certificate and more.

    Args:
        optimizer: a name from `bs6207.training.optimizers.OPTIMIZERS`, package.module:Class, or a class.
        settings: fields of `BumpSettings`, such as lr=0.3, beta1=0.9, distance=1.0, steps=1000.

    Raises:
        ValueError: a setting is unknown, out of range or of no use here, or there are several optimizers.
    """
    from bs6207.bump.optimizers import make_adapter
    from bs6207.bump.search import study
    from bs6207.bump.settings import BumpSettings
    from bs6207.errors import SettingsError
    from bs6207.runs.python import only, settings_of

    for name in settings.keys() & OF_RUN:
        raise SettingsError(f"threshold has no setting {name!r}", "run takes it")
    chosen = settings_of("bump", BumpSettings, {"optimizer": optimizer, **settings})
    return study(make_adapter(only("optimizer", chosen.names), chosen), chosen).metrics


@undisturbed()
def audit(
    optimizer: str | Callable[..., Any],
    *,
    rule: str | None = None,
    expect_failed: str | Sequence[str] = (),
    **keywords: Any,
) -> "AuditReport":
    """Whether an optimizer does what its name says: a report of checks, with `raise_if_failed()` for tests.

    Args:
        optimizer: a class, a name from `OPTIMIZERS`, package.module:Class, or a functools.partial of a class.
        rule: the published rule that it should equal, as in "adamw"; "other" if none; what its name says if not given.
        expect_failed: checks that may fail; those of the class attribute `expected_failed_checks` are added.
        keywords: for its constructor, such as lr=0.01; hyperparameters that are left out are varied.

    Raises:
        ValueError: the optimizer cannot be used, or there is no such rule or check.
    """
    from bs6207.bump.conformance.experiment import audit_class
    from bs6207.bump.conformance.subject import find_subject
    from bs6207.bump.settings import check_optimizer
    from bs6207.errors import SettingsError

    if isinstance(optimizer, partial) and not optimizer.args:
        keywords = optimizer.keywords | keywords
        optimizer = optimizer.func
    if not isinstance(optimizer, str) and not (callable(optimizer) and hasattr(optimizer, "__qualname__")):
        raise SettingsError(
            f"an object of {type(optimizer).__name__} is no optimizer", "give a name, or the class itself"
        )
    target = check_optimizer(optimizer) if isinstance(optimizer, str) else optimizer
    expected = [expect_failed] if isinstance(expect_failed, str) else expect_failed
    return audit_class(find_subject(target, keywords, {}), rule, expected)


@undisturbed()
def run(
    *,
    out: "str | PathLike[str] | None" = None,
    progress: bool = True,
    config: "str | PathLike[str] | None" = None,
    **settings: Any,
) -> "Result":
    """Run the experiment, as `bs6207 bump` does, and leave this process as it was.

    Args:
        out: the run folder to fill, exactly as the command does: an interrupted run there resumes, and an earlier one
            moves to the history. Without it nothing is written; `Result.save` fills a folder later.
        progress: a bar in a notebook, and a line every ten seconds elsewhere.
        config: a TOML file or the name of a preset, such as quick; `settings` win.
        settings: fields of `BumpSettings`, which are the flags of the command: optimizer="adam", lr=0.1.

    Raises:
        ValueError: a setting is unknown or out of range, with the sentence of the command.
        bs6207.errors.UserError: the run failed; what was done resumes if `out` is given.
    """
    from bs6207.bump.settings import BumpSettings
    from bs6207.runs.python import call

    return call("bump", BumpSettings, run_with, settings, out, progress, config)


def run_with(settings: "BumpSettings", folder: "Path | None", make_report: "MakeReport") -> "FinishedRun":
    """Run with checked settings, in a folder if there is one; what `run` and the command call."""
    from bs6207.bump.optimizers import require_optimizers
    from bs6207.errors import require_temporary_folder
    from bs6207.runs.run import run_experiment
    from bs6207.training.devices import describe_device, require_device

    if (settings.jobs or 2) > 1 or settings.scheduler:
        require_importable([*settings.names, settings.landscape])
    require_temporary_folder()  # torch needs one to be imported
    require_optimizers(settings)
    require_device(settings.device)
    return run_experiment("bump", settings, import_experiment, describe_device, folder, make_report)


def audit_with(settings: "AuditSettings", folder: "Path | None", make_report: "MakeReport") -> "FinishedRun":
    """Audit several optimizers with checked settings, in a folder if there is one; what the command calls."""
    from bs6207.bump.conformance.experiment import require_subjects
    from bs6207.errors import require_temporary_folder
    from bs6207.runs.run import run_experiment
    from bs6207.training.devices import describe_device, require_device

    require_temporary_folder()
    require_subjects(settings)
    require_device(settings.device)
    return run_experiment("audit", settings, import_audit, describe_device, folder, make_report)


def require_importable(names: Sequence[str]) -> None:
    """Raise SettingsError if other processes cannot import an optimizer or a landscape."""
    from bs6207.errors import SettingsError

    for name in names:
        if name.startswith("__main__:"):
            remedy = "leave out --jobs and --scheduler, or move it into a file"
            raise SettingsError(f"{name} is of this script or notebook, and other processes have none", remedy)


def import_experiment() -> "Experiment":
    from bs6207.bump.experiment import run

    return run


def import_audit() -> "Experiment":
    from bs6207.bump.conformance.experiment import run

    return run
