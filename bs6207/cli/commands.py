"""The command line: the only place that knows all commands."""

import gc
import shlex
import signal
import sys
import traceback
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from bs6207 import __version__
from bs6207.bump.settings import BumpSettings
from bs6207.cli.console import echo, open_streams, reader_may_leave, show, show_json
from bs6207.cli.options import Invocation, command
from bs6207.cli.progress import ProgressReport
from bs6207.deblur.settings import DeblurSettings, RestoreSettings
from bs6207.errors import UserError, in_a_sentence, together
from bs6207.latent.settings import LatentSettings
from bs6207.page.settings import ReportSettings
from bs6207.runs.checkpoint import Checkpoints
from bs6207.runs.executor import cores, require_temporary_folder, workers
from bs6207.runs.files import failing_writes, strict_json, write_again, write_new
from bs6207.runs.folder import Run, open_run, place_for_matplotlib
from bs6207.runs.progress import Experiment, FailedTask, Key, Outcome, Piece, Progress, Work
from bs6207.runs.result import Table
from bs6207.runs.settings import Options, Settings
from bs6207.runs.tasks import Workers, each, map_tasks
from bs6207.training.devices import require_device

if TYPE_CHECKING:
    from bs6207.runs.dask import Cluster

# What pieces import when they come to it; the last is torch's compiler, which its first optimizer imports.
LATER = {
    "bump": (),
    "latent": ("bs6207.latent.experiment", "sklearn.cluster"),
    "deblur": ("torch._dynamo",),
}
MOST_LETTERS = 20  # that are told to have no font
STOPPING: list[int] = []  # the signals that have asked this process to end

app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})


@command(app, "bump", BumpSettings)
def bump(settings: BumpSettings, invocation: Invocation) -> None:
    """How tall a bump can this optimizer escape?"""
    from bs6207.bump.candidates import require_candidates

    require_temporary_folder()
    require_candidates(settings)
    run_experiment("bump", settings, invocation)


@command(app, "latent", LatentSettings)
def latent(settings: LatentSettings, invocation: Invocation) -> None:
    """How many numbers does a digit need before the ten classes separate?"""
    run_experiment("latent", settings, invocation)


@command(app, "deblur", DeblurSettings)
def deblur(settings: DeblurSettings, invocation: Invocation) -> None:
    """What does a discriminator add to L1 when restoring a blurred image?"""
    run_experiment("deblur", settings, invocation)


@command(
    app,
    "restore",
    RestoreSettings,
    out="The folder for the restored pictures; outputs/restored if not given. Nothing in it is overwritten.",
    print_json="Print what was measured as JSON instead of the table.",
)
def restore(settings: RestoreSettings, invocation: Invocation) -> None:
    """A trained deblur restorer on pictures of your own."""
    from bs6207.deblur.restore import run

    require_temporary_folder()
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


@command(
    app,
    "doctor",
    Options,
    out="The folder that runs are written to; outputs if not given.",
    print_json="Print the checks as JSON instead of the table.",
    config=None,
    quiet=None,
)
def doctor(options: Options, invocation: Invocation) -> None:
    """What works here, and what to do where it does not."""
    from bs6207.cli.doctor import examine

    checks = examine(invocation.out or Path("outputs"), options.device)
    broken = [check.name for check in checks if check.state == "broken"]
    verdict = f"broken: {', '.join(broken)}" if broken else "nothing is broken"
    if invocation.print_json:
        show_json(strict_json({"checks": [asdict(check) for check in checks], "ok": not broken}), verdict)
    else:
        rows = [asdict(check) | {"found, and what to do": f"{check.found}\n{check.remedy}".strip()} for check in checks]
        show(Table(("name", "state", "found, and what to do"), rows), (), verdict, prose=True)
    if broken:
        raise typer.Exit(1)


@command(
    app,
    "report",
    ReportSettings,
    out="The page to write; outputs/report.html if not given. An earlier page there is replaced, anything else is not.",
    config=None,
    print_json=None,
    quiet=None,
)
def report(settings: ReportSettings, invocation: Invocation) -> None:
    """One offline HTML page of finished runs, to look at and to play with."""
    from bs6207.page.build import MARK, build
    from bs6207.page.runs import read_runs

    file = invocation.out or Path("outputs") / "report.html"
    write_again(file, build(read_runs(settings.runs, Path("outputs"))), MARK)
    show(Table((), ()), (), file)
    if settings.open and not webbrowser.open(file.resolve().as_uri()):
        print_error(f"there is no browser to open; open {file} yourself")


def run_experiment(command: str, settings: Settings, invocation: Invocation) -> None:
    """Run the experiment of that name from checked settings to a published folder and a printed result."""
    require_temporary_folder()
    require_device(settings.device)
    settings = settings.model_copy(update={"jobs": settings.jobs or cores()})
    module = f"bs6207.{command}.experiment"
    folder = invocation.out or Path("outputs") / command
    with (
        workers_of(settings.scheduler) as there,
        open_run(command, folder, settings) as run,
        place_for_matplotlib(run),
        ProgressReport(command, run.record, end_if_stopped, invocation.quiet) as progress,
        workers(settings.jobs, [module, *LATER[command]]) as processes,
    ):
        experiment: Experiment = import_module(module).run  # now, while the processes are being prepared
        if run.interrupted:
            progress.warn(run.interrupted)
        if there and there.remark:
            progress.warn(there.remark)
        result = experiment(settings, progress, partial(map_tasks_of, run, there or processes))
        with failing_writes(folder):
            boxes = run.write_result(result, partial(each, processes))
        if boxes:
            progress.warn(
                f"no installed font has {boxes[:MOST_LETTERS]}, so figures show boxes; install one that has, such as "
                "Noto Sans of that script"
            )
    if invocation.print_json:
        show_json(strict_json(result.metrics), folder)
    else:
        show(result.headline, (*result.remarks, how_to_see(invocation.out)), folder)
    if result.failures:
        raise UserError(together(result.failures))


def map_tasks_of(
    run: Run,
    workers: Workers | None,
    work: Work[Piece, Outcome],
    pieces: Mapping[Key, Piece],
    progress: Progress,
    given: str = "",
    meanwhile: Callable[[], object] | None = None,
) -> dict[Key, Outcome | FailedTask]:
    """Get pieces of a run done; where one was interrupted, what became of that is told first."""
    if told := run.use(given):
        progress.warn(told)
    return map_tasks(workers, Checkpoints(run.cells), work, pieces, progress, given, meanwhile)


@contextmanager
def workers_of(scheduler: str | None) -> "Iterator[Cluster | None]":
    """The workers of a scheduler; None without one, and then Dask is not imported."""
    if scheduler is None:
        yield None
        return
    from bs6207.runs.dask import Cluster

    found = Cluster(scheduler)
    try:
        yield found
    finally:
        found.end()


def how_to_see(out: Path | None) -> str:
    """The sentence that leads from a finished run to its page."""
    return f"bs6207 report{'' if out is None else ' ' + shlex.quote(str(out))} makes a page of it, to play with."


def print_version(wanted: bool) -> None:
    """Answer --version, whatever else stands on the line."""
    if wanted:
        with reader_may_leave(sys.stdout):
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
    """Run the command line; exit with 0 done, 1 failed, 2 misused, 129 hung up, 130 interrupted or 143 terminated."""
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
    except Stopped as stopped:
        echo("bs6207: stopped; earlier runs are untouched, run the same command to go on")
        code = 128 + stopped.number
    except Exception as failure:
        print_error(in_a_sentence(failure))
        code = 1
    gc.freeze()  # what is left goes with the process; to take it apart first takes most of a second
    sys.exit(code)


def stopping_signals() -> list[signal.Signals]:
    """The signals that ask this process to end; a hang-up is none where it is ignored, as nohup wants."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def print_error(sentence: str) -> None:
    """One line on stderr, after the traceback if it was asked for."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    echo(f"bs6207: {' '.join(sentence.split())}")


class Stopped(BaseException):
    """A signal asks this process to end; no handler of mere errors may stand in its way."""

    def __init__(self, number: int):
        self.number = number


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """End at once, by unwinding: locks are released on the way."""
    STOPPING.append(number)
    raise Stopped(number)


def end_if_stopped() -> None:
    """End now if the first attempt was lost: Python drops what is raised inside finalizers and C callbacks."""
    if STOPPING:
        raise Stopped(STOPPING[0])
