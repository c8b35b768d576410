"""The command line: one function per command."""

import gc
import shlex
import signal
import sys
import traceback
import webbrowser
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

import bs6207
from bs6207.cli.console import echo, open_streams, reader_may_leave, show, show_json
from bs6207.cli.lazy import HELP, Command, Group, command
from bs6207.errors import UserError, in_a_sentence, require_temporary_folder, together
from bs6207.runs.workers import set_up_process

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bs6207.bump.conformance.settings import AuditSettings
    from bs6207.bump.settings import BumpSettings
    from bs6207.cli.options import Invocation
    from bs6207.deblur.settings import DeblurSettings, RestoreSettings
    from bs6207.latent.settings import LatentSettings
    from bs6207.page.settings import ReportSettings
    from bs6207.runs.settings import BaseSettings, Options, Settings

STORIES: dict[str, Any] = {
    "bump": bs6207.bump.run_with,
    "latent": bs6207.latent.run_with,
    "deblur": bs6207.deblur.run_with,
    "audit": bs6207.bump.audit_with,
}
STOP_SIGNALS: list[int] = []  # that this process has received

# What --out and --json do where it is not what they do for an experiment.
RESTORED = "The folder for the restored pictures; outputs/restored if not given. Nothing in it is overwritten."
MEASURES = "Print what was measured as JSON instead of the table."
RUNS = "The folder that runs are written to; outputs if not given."
CHECKS = "Print the checks as JSON instead of the table."
PAGE = "The page to write; outputs/report.html if not given. An earlier page there is replaced, anything else is not."

app = typer.Typer(cls=Group, context_settings=HELP)


def with_options(function: Command, name: str, descriptions: "Mapping[str, str | None]") -> Any:
    """The command `name` of a function, with options for its settings."""
    from bs6207.cli import options

    return options.with_options(function, name, import_settings(name), descriptions)


def import_settings(command: str) -> "type[BaseSettings]":
    """The settings of a command; those of the others are not imported."""
    if command == "bump":
        from bs6207.bump.settings import BumpSettings

        return BumpSettings
    if command == "latent":
        from bs6207.latent.settings import LatentSettings

        return LatentSettings
    if command == "deblur":
        from bs6207.deblur.settings import DeblurSettings

        return DeblurSettings
    if command == "restore":
        from bs6207.deblur.settings import RestoreSettings

        return RestoreSettings
    if command == "audit":
        from bs6207.bump.conformance.settings import AuditSettings

        return AuditSettings
    if command == "report":
        from bs6207.page.settings import ReportSettings

        return ReportSettings
    from bs6207.runs.settings import Options

    return Options


@command(app, "bump", with_options)
def bump(settings: "BumpSettings", invocation: "Invocation") -> None:
    """How tall a bump can this optimizer escape?

    \b
    bs6207 bump --optimizer adam
    bs6207 bump --optimizer gd adam mine.py:MyOptimizer --lr 0.1
    """
    run_experiment("bump", settings, invocation)


@command(app, "latent", with_options)
def latent(settings: "LatentSettings", invocation: "Invocation") -> None:
    """How many dimensions does a digit need before the ten classes separate?

    \b
    bs6207 latent --dims 2 4 8 16
    bs6207 latent --data my_images --clusterer kmeans best --seeds 3
    """
    run_experiment("latent", settings, invocation)


@command(app, "deblur", with_options)
def deblur(settings: "DeblurSettings", invocation: "Invocation") -> None:
    """What does a discriminator add to L1 when restoring a blurred image?

    \b
    bs6207 deblur --epochs 50
    bs6207 deblur --config quick --disc-weight 0.01
    """
    run_experiment("deblur", settings, invocation)


@command(app, "restore", with_options, out=RESTORED, print_json=MEASURES)
def restore(settings: "RestoreSettings", invocation: "Invocation") -> None:
    """Restore pictures of your own with a restorer that deblur has trained.

    \b
    bs6207 restore photo.png
    bs6207 restore *.png --model outputs/deblur --clarity 0.5
    """
    from bs6207.cli.progress import ProgressReport
    from bs6207.deblur.restore import run
    from bs6207.runs.files import strict_json, write_new
    from bs6207.runs.memory import keep_memory
    from bs6207.training.devices import require_device

    require_temporary_folder()
    keep_memory()
    require_device(settings.device)
    folder = invocation.out or Path("outputs") / "restored"
    with ProgressReport("restore", lambda row: None, end_if_stopped, invocation.quiet) as progress:
        done = run(settings, folder, write_new, progress)
    if invocation.print_json:
        show_json(strict_json(done.metrics), done.written(folder))
    elif done.rows or done.onnx:
        show(done.headline, done.remarks, done.written(folder))
    for sentence in done.failures:
        print_error(sentence)
    if done.failures:
        raise typer.Exit(1)


@command(app, "audit", with_options)
def audit(settings: "AuditSettings", invocation: "Invocation") -> None:
    """Does this optimizer do what its name says? Exit code 1 if a check fails.

    \b
    bs6207 audit adam mine.py:MyAdam
    bs6207 audit torch.optim:SGD --set momentum=0.9 nesterov=True
    """
    run_experiment("audit", settings, invocation)


@command(app, "doctor", with_options, out=RUNS, print_json=CHECKS, config=None, quiet=None)
def doctor(options: "Options", invocation: "Invocation") -> None:
    """What works here, and what to do where it does not.

    \b
    bs6207 doctor
    """
    from bs6207.cli.doctor import examine
    from bs6207.runs.files import strict_json
    from bs6207.runs.result import Table

    checks = examine(invocation.out or Path("outputs"), options.device)
    broken = [check.name for check in checks if check.state == "broken"]
    conclusion = f"broken: {', '.join(broken)}" if broken else "nothing is broken"
    if invocation.print_json:
        show_json(strict_json({"checks": [asdict(check) for check in checks], "ok": not broken}), conclusion)
    else:
        rows = [asdict(check) | {"found, and what to do": f"{check.found}\n{check.remedy}".strip()} for check in checks]
        show(Table(("name", "state", "found, and what to do"), rows), (), conclusion, prose=True)
    if broken:
        raise typer.Exit(1)


@command(app, "report", with_options, out=PAGE, config=None, print_json=None, quiet=None)
def report(settings: "ReportSettings", invocation: "Invocation") -> None:
    """One offline HTML page of finished runs, to look at and to play with.

    \b
    bs6207 report --open
    bs6207 report outputs/latent outputs/history/latent-* --out compared.html
    """
    from bs6207.page.build import MARK, build
    from bs6207.page.runs import read_runs
    from bs6207.runs.files import write_again
    from bs6207.runs.result import Table

    file = invocation.out or Path("outputs") / "report.html"
    write_again(file, build(read_runs(settings.runs, Path("outputs"))), MARK)
    show(Table((), ()), (), file)
    if settings.open and not webbrowser.open(file.resolve().as_uri()):
        print_error(f"there is no browser to open; open {file} yourself")


def run_experiment(command: str, settings: "Settings", invocation: "Invocation") -> None:
    """Run an experiment in its folder and print its result."""
    from bs6207.cli.progress import ProgressReport
    from bs6207.runs.files import strict_json
    from bs6207.runs.memory import keep_memory

    keep_memory()
    folder = invocation.out or Path("outputs") / command
    make_report = partial(ProgressReport, command, end_if_stopped=end_if_stopped, quiet=invocation.quiet)
    result = STORIES[command](settings, folder, make_report).result
    if invocation.print_json:
        show_json(strict_json(result.metrics), folder)
    else:
        first = "".join(f"Look at {folder}/{name}.png first; " for name in [*result.figures][:1])
        report_command = f"bs6207 report{'' if invocation.out is None else ' ' + shlex.quote(str(invocation.out))}"
        show(result.headline, (*result.remarks, f"{first}{report_command} makes a page of it, to play with."), folder)
    if result.failures:
        raise UserError(together(result.failures))


def print_version(wanted: bool) -> None:
    if wanted:
        with reader_may_leave(sys.stdout):
            print(f"bs6207 {bs6207.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Three questions every deep-learning course asks, each answered by one command."""


def main() -> NoReturn:
    """Run the command line; exit codes: 0 done, 1 failed, 2 bad usage, 129 SIGHUP, 130 ctrl-C, 143 SIGTERM."""
    set_up_process()
    open_streams()
    for number in stopping_signals():
        signal.signal(number, stop)
    try:
        code = typer.main.get_command(app).main(sys.argv[1:] or ["--help"], "bs6207", standalone_mode=False)
    except UserError as failure:
        print_error(str(failure))
        code = failure.exit_code
    except typer.TyperException as misuse:
        print_error(misuse.format_message())
        code = misuse.exit_code
    except Stopped:
        echo("bs6207: stopped; earlier runs are untouched, run the same command to go on")
        code = 128 + STOP_SIGNALS[0]
    except Exception as failure:
        print_error(in_a_sentence(failure))
        code = 1
    gc.freeze()  # what is left goes with the process; to take it apart first takes most of a second
    sys.exit(code)


def stopping_signals() -> list[signal.Signals]:
    """SIGINT, SIGTERM, and SIGHUP unless it is ignored, as under nohup."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def print_error(sentence: str) -> None:
    """Print one line on stderr, after the traceback with --debug."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    echo(f"bs6207: {' '.join(sentence.split())}")


class Stopped(BaseException):
    """Raised on a signal to stop; no Exception, so that no handler of errors catches it."""


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Handle a signal by unwinding the stack, which releases locks."""
    STOP_SIGNALS.append(number)
    raise Stopped


def end_if_stopped() -> None:
    """Raise again what Python has dropped, as it does with exceptions in finalizers and C callbacks."""
    if STOP_SIGNALS:
        raise Stopped
