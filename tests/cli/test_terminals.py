"""Wherever the output goes: to a closed pipe, a full disk, a narrow terminal, one without colours, or nowhere."""

import os
import pty
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import forked
import pytest
from rich.console import Console

from bs6207.cli import console
from bs6207.cli.progress import ProgressReport
from bs6207.runs import report as reporting
from bs6207.runs.result import Table
from bs6207.runs.table import fitting

COMMAND = f"{sys.executable} -m bs6207"
BUMP = f"{COMMAND} bump --optimizer gd --steps 20"
REFUSED = f"{COMMAND} bump --optimizer adm"
FULL = "bs6207: cannot print to stdout: No space left on device; what the run wrote is whole\n"

LINES = {  # in bash: the exit code, and the run that is written
    "stdout into a reader that leaves": (f"{BUMP} | head -1 >/dev/null", 0, "bump"),
    "json into one that leaves": (f"{BUMP} --json | head -c 1 >/dev/null", 0, "bump"),
    "stderr into one that leaves": (f"{BUMP} --json 2> >(true) >/dev/null", 0, "bump"),
    "a refusal into one that leaves": (f"{REFUSED} 2> >(true)", 2, None),
    "stderr closed": (f"{BUMP} --json >/dev/null 2>&-", 0, "bump"),
    "all closed": (f"{BUMP} <&- >&- 2>&-", 0, "bump"),
    "a refusal, all closed": (f"{REFUSED} <&- >&- 2>&-", 2, None),
    "a full disk": (f"{BUMP} >/dev/full", 1, "bump"),
    "the version on a full disk": (f"{COMMAND} --version >/dev/full", 1, None),
    "a refusal on a full disk": (f"{REFUSED} 2>/dev/full", 2, None),
}


@pytest.mark.parametrize(
    ("line", "code", "written"),
    [pytest.param(*case, id=name, marks=pytest.mark.slow if case[2] else ()) for name, case in LINES.items()],
)
def test_a_stream_that_takes_nothing_changes_neither_the_run_nor_its_exit_code(tmp_path, line, code, written):
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code
    assert not done.stdout
    said = done.stderr.replace("outputs/bump\n", "")  # with --json, where the run lies
    assert said == (FULL if code == 1 else "")
    assert [path.name for path in tmp_path.glob("outputs/[!.]*")] == ([written] if written else [])
    if written:
        assert (tmp_path / "outputs/bump/metrics.json").is_file()


def on_device(device: str, tmp_path, *arguments: str, **environment: str) -> int:
    """The exit code of a run whose output goes to a device."""
    own = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm-256color", "BS6207_DATA": ""}
    return forked.run(arguments, tmp_path, own | environment, {}, terminal=device).returncode


def test_a_disk_that_is_full_fails_the_run_whose_table_it_should_take_and_the_run_is_whole(tmp_path):
    assert on_device("/dev/full", tmp_path, "bump", "--optimizer", "gd", "--steps", "20") == 1
    assert (tmp_path / "outputs/bump/metrics.json").is_file()


def on_terminal(tmp_path, *arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code, and what a terminal is sent."""
    parent, child = pty.openpty()

    def sent() -> bytes:
        read = b""
        with suppress(OSError):  # how Linux says that the other end is closed
            while more := os.read(parent, 65536):
                read += more
        return read

    with ThreadPoolExecutor(1) as reader:
        sending = reader.submit(sent)
        try:
            code = on_device(os.ttyname(child), tmp_path, *arguments, **environment)
        finally:
            os.close(child)  # or the reader waits for ever
        read = sending.result().decode()
    os.close(parent)
    return code, read


def test_a_terminal_gets_colours_and_a_live_bar_unless_it_wants_none(tmp_path):
    code, sent = on_terminal(tmp_path, "bump", "--optimizer", "gd", "--steps", "20")
    assert (code, "\x1b[" in sent) == (0, True)
    code, sent = on_terminal(tmp_path, "bump", "--optimizer", "gd", "--steps", "20", NO_COLOR="1")
    assert (code, "\x1b" in sent) == (0, False)
    assert "h_max" in sent


ENCODINGS = [  # the environment, a folder, and how it is printed
    ({"PYTHONIOENCODING": "ascii"}, "größe", r"gr\xf6\xdfe"),
    ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "size", "size"),
]


@pytest.mark.parametrize(("encoding", "folder", "printed"), ENCODINGS)
def test_letters_that_an_encoding_lacks_are_escaped(bs6207, trained, tmp_path, encoding, folder, printed):
    (tmp_path / folder).mkdir()
    page = ("report", str(trained("bump")), "--out", f"{folder}/page.html")
    done = bs6207(*page, DISPLAY="", WAYLAND_DISPLAY="", **encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{printed}/page.html"
    assert (tmp_path / folder / "page.html").is_file()


WIDE = Table(
    ("optimizer", "h_max", "at step", "valid for"),
    [
        {"optimizer": "adam", "h_max": "0.4101842951299659", "at step": 6, "valid for": "all steps (proved)"},
        {"optimizer": "torch.optim:AdamW", "h_max": "—", "at step": 1000, "valid for": "1000 steps [bold]"},
    ],
)


@pytest.mark.parametrize("width", [36, 40, 60, 70, 80, 200])
def test_every_value_of_a_table_is_in_one_piece_at_any_width(width):
    terminal = Console(width=width, color_system=None)
    with terminal.capture() as captured:
        terminal.print(fitting(WIDE, terminal))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    for row in WIDE.rows:
        for value in row.values():
            assert any(re.search(rf"(^|\s){re.escape(str(value))}(\s|$)", line) for line in lines)
    is_side_by_side = any("adam" in line and "0.41" in line for line in lines)
    assert is_side_by_side == (width >= 70)


def test_headings_are_broken_before_the_table_is():
    table = Table(("name", "a long heading"), [{"name": "x", "a long heading": 1.5}])
    terminal = Console(width=24, color_system=None)
    with terminal.capture() as captured:
        terminal.print(fitting(table, terminal))
    assert [line.split() for line in captured.get().splitlines() if line.strip(" ─")] == [
        ["a", "long"],
        ["name", "heading"],
        ["x", "1.5"],
    ]


def test_a_value_longer_than_the_terminal_is_folded_and_not_cut():
    path = "outputs/" + "x" * 100
    terminal = Console(width=40, color_system=None)
    with terminal.capture() as captured:
        terminal.print(fitting(Table(("written",), [{"written": path}]), terminal))
    assert "".join(captured.get().split()).removeprefix("written") == path


def test_without_a_terminal_a_line_says_how_far_it_is_and_how_long_it_will_take(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 12.0, 30.0, 48.0, 66.0])
    monkeypatch.setattr(reporting.time, "monotonic", lambda: next(clock))
    report = ProgressReport("latent", lambda row: None)
    report.expect(8)
    report.status("reading")
    for epoch in range(1, 5):
        report.step(f"dim 2, epoch {epoch}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "latent: dim 2, epoch 1, 1 of 8 done, 12 s",
        "latent: dim 2, epoch 2, 2 of 8 done, 30 s",
        "latent: dim 2, epoch 3, 3 of 8 done, 48 s, about 75 s to go",
        "latent: dim 2, epoch 4, 4 of 8 done, 66 s, about 65 s to go",
    ]


@pytest.mark.parametrize("force", [{}, {"FORCE_COLOR": "1"}, {"TTY_INTERACTIVE": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_a_log_gets_plain_lines_and_no_moving_cursor_whatever_colours_it_is_promised(monkeypatch, capsys, force):
    for name, value in force.items():
        monkeypatch.setenv(name, value)
    with ProgressReport("latent", lambda row: None) as report:
        report.expect(2)
        report.last_line -= reporting.PLAIN_INTERVAL
        report.step("one")
        report.step("two")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["latent: one"]
    assert not any("\x1b" in line for line in lines)


def test_names_move_no_cursor_and_turn_nothing_around(capsys):
    name = "a\x1b[31mb\nc\u202ed\te\u200cf"
    console.show(Table(("picture", "score"), [{"picture": name, "score": "1"}]), [f"{name} is told of"], "folder")
    console.echo(f"bs6207: {name}")
    out, err = capsys.readouterr()
    assert "a\ufffd[31mb c\ufffdd e\u200cf is told of\nfolder\n" in out
    assert err == "bs6207: a\ufffd[31mb c\ufffdd e\u200cf\n"
    assert not {"\x1b", "\u202e", "\t"} & {*out, *err}
