"""The command line: the only place that knows all commands."""

import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from bs6207 import __version__
from bs6207.bump.settings import BumpSettings
from bs6207.console import ProgressReport, say, show, show_json
from bs6207.deblur.settings import DeblurSettings
from bs6207.devices import require_device
from bs6207.errors import UserError
from bs6207.experiment import AnySettings, Experiment
from bs6207.latent.settings import LatentSettings
from bs6207.options import Invocation, command
from bs6207.runs import failing_writes, open_run, strict_json

INTERRUPTED, TERMINATED = 130, 143  # 128 + SIGINT, 128 + SIGTERM

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@command(app, "bump", BumpSettings)
def bump(settings: BumpSettings, invocation: Invocation) -> None:
    """How tall a bump can this optimizer escape?"""
    from bs6207.bump.candidates import candidate
    from bs6207.bump.experiment import run

    for name in settings.names:
        candidate(name, settings)  # refuses, before any file is written, what cannot be imported or will not walk
    conduct("bump", run, settings, invocation)


@command(app, "latent", LatentSettings)
def latent(settings: LatentSettings, invocation: Invocation) -> None:
    """How many numbers does a digit need before the ten classes separate?"""
    from bs6207.latent.experiment import run

    conduct("latent", run, settings, invocation)


@command(app, "deblur", DeblurSettings)
def deblur(settings: DeblurSettings, invocation: Invocation) -> None:
    """What does a discriminator add to L1 when restoring a blurred image?"""
    from bs6207.deblur.experiment import run

    conduct("deblur", run, settings, invocation)


def conduct(command: str, experiment: Experiment[AnySettings], settings: AnySettings, invocation: Invocation) -> None:
    """Run one experiment from checked settings to a published folder and a printed result."""
    require_device(settings.device)
    folder = invocation.out or Path("outputs") / command
    with (
        open_run(command, folder, settings) as run,
        ProgressReport(command, run.record, invocation.quiet) as progress,
    ):
        result = experiment(settings, progress)
        with failing_writes(folder):
            run.write_result(result)
    if invocation.print_json:
        show_json(strict_json(result.metrics), folder)
    else:
        show(result, folder)
    if result.failures:
        raise UserError("; ".join(result.failures))


def print_version(wanted: bool) -> None:
    """Answer --version, whatever else stands on the line."""
    if wanted:
        print(f"bs6207 {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Three questions every deep-learning course asks, each answered by one command."""


def main() -> NoReturn:
    """Run the command line; exit with 0 done, 1 failed, 2 misused, 130 interrupted or 143 terminated."""
    signal.signal(signal.SIGTERM, terminate)
    try:
        code = typer.main.get_command(app).main(sys.argv[1:] or ["--help"], "bs6207", standalone_mode=False)
    except UserError as failure:
        complain(str(failure))
        code = failure.exit_code
    except typer.TyperException as misuse:
        complain(misuse.format_message())
        code = misuse.exit_code
    except SystemExit as ending:
        code = ending.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as failure:
        complain(f"{type(failure).__name__}: {failure}; run again with --debug for where it happened")
        code = 1
    if code in (INTERRUPTED, TERMINATED):
        say("bs6207: stopped; earlier runs are untouched, run the same command to start again")
    sys.exit(code)


def complain(sentence: str) -> None:
    """One line on stderr, after the traceback if it was asked for."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    say(f"bs6207: {' '.join(sentence.split())}")


def terminate(signum: int, frame: FrameType | None) -> NoReturn:
    """End as on ctrl-C: locks are released, and nothing catches it on the way."""
    sys.exit(TERMINATED)
