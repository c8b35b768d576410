"""Whatever stands on the line or in the file: one sentence and an exit code, and nothing written where it is refused.

`main` runs in this process, with experiments that end at once.
"""

import shutil
import signal
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import typer
from conftest import standard_streams
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bs6207.bump import experiment as bump_experiment
from bs6207.bump.settings import BumpSettings
from bs6207.cli import commands as cli
from bs6207.cli.options import Invocation
from bs6207.deblur import experiment as deblur_experiment
from bs6207.deblur.settings import DeblurSettings, RestoreSettings
from bs6207.latent import experiment as latent_experiment
from bs6207.latent.settings import LatentSettings
from bs6207.runs.result import Result, Table
from bs6207.runs.settings import flag_of

EXAMPLES = 50
MANY = 40  # times as many where there is time
SETTINGS = {"bump": BumpSettings, "latent": LatentSettings, "deblur": DeblurSettings, "restore": RestoreSettings}

ADVERSARIAL = [
    *("", " ", "\t", "\n", "-", "--", "=", "==", ",", ":", "'", '"', "\\", "%", "{}", "[/]", "[bold]", "\x1b[31m"),
    *("nan", "inf", "-inf", "-1", "0", "-0", "1", "2", "2.5", "1e400", "-1e400", "1e-400", "0x10", "1_0", "٣", "½"),
    *(str(10**30), str(-(10**30)), "9" * 5000, "1e9", "True", "true", "None", "null", "a", "x=", "=x", "x=1", "a=1=2"),
    *("2,2", "2,,4", "1,a", "lr=0.1:1:3", "beta1=0:0.9:3", "lr=1:0:3", "lr=a:b:c", "lr=0:nan:2", "lr=0.1:1:1e9"),
    *(f"lr=0.1:1:{10**30}", "0.5:3", "3:1", "nan:nan", "1:2:3", ":", "nesterov=True", "a={[]:1}", r"a='\d'", "a=f(1)"),
    *("é", "日本語", "🙂", "\ud800", "\udcff", "a\udcffb", "\u202e", "\ufeff", "x" * 300, "x" * 5000, "/" * 5000),
    *(".", "..", "/", "~", "~nosuchuser", "~nosuchuser/x", "./", "folder", "./folder", "file", "./file", "file/x"),
    *("loop", "./loop", "my.toml", "folder.toml", "loop.toml", "/dev/null", "/dev/null/x", "/proc/self/mem"),
    *(
        "adam",
        "gd",
        "adm",
        "all",
        "torch.optim:Adam",
        "torch.optim:Nosuch",
        "nosuch.module:X",
        ":",
        "a:",
        ":a",
        "a:b:c",
    ),
    *("json:loads", "..:X", "é:é", "kmeans", "gmm", "mnist-5k", "auto", "mnits", "quick", "default", "cpu", "cuda"),
]
WORDS = st.one_of(
    st.sampled_from(ADVERSARIAL),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(blacklist_characters="\0/~", blacklist_categories=()), max_size=20),
)


def flags_of(command: str) -> list[str]:
    """All flags of a command, and two that it lacks."""
    return [flag_of(field) for field in {**SETTINGS[command].model_fields, **Invocation.model_fields}] + [
        "--nosuch",
        "-x",
    ]


def options_of(command: str) -> st.SearchStrategy[list[str]]:
    """A flag with what may stand beside it, or any word."""
    flags = st.sampled_from(flags_of(command))
    return st.one_of(
        flags.map(lambda flag: [flag]),
        st.tuples(flags, WORDS).map(list),
        st.tuples(flags, WORDS).map(lambda both: ["=".join(both)]),
        st.tuples(flags, st.lists(WORDS, max_size=4)).map(lambda both: [both[0], *both[1]]),
        st.tuples(flags.map(lambda flag: flag[:-1]), WORDS).map(list),
        st.lists(WORDS, min_size=1, max_size=2),
    )


LINES = st.sampled_from([*SETTINGS, *SETTINGS, ""]).flatmap(
    lambda command: st.lists(options_of(command or "bump"), max_size=4).map(lambda parts: [command, *chain(*parts)])
) | st.lists(WORDS, min_size=1, max_size=4)

LITERALS = [
    *("true", "false", "0", "-1", "1", "3", "2.5", "nan", "inf", "-inf", "1e400", "1e-400", "0x10", "1_0", "-0.0"),
    *(
        str(10**30),
        str(10**400),
        "9" * 5000,
        f"{'9' * 5000}.0",
        f"0x{'f' * 4000}",
        f"[0x{'f' * 4000}]",
        '""',
        '" "',
        '"3"',
        "'3'",
        '"nan"',
        '"\\u0000"',
    ),
    *(
        '"a\\u0000b"',
        '"./\\u0000"',
        '"/\\u0000"',
        '"\\n"',
        '"🙂"',
        f'"{"x" * 5000}"',
        f'"/{"x" * 5000}"',
        '"~nosuchuser"',
    ),
    *(
        "[]",
        "[[]]",
        "[1]",
        "[2, 2]",
        "[true]",
        '["3"]',
        "[2, 0]",
        "[nan]",
        "[1e400]",
        '[""]',
        '["a=1"]',
        '["\\u0000=1"]',
    ),
    *('["a={[]:1}"]', '["lr=0.1:1:3", "beta1=0:0.9:3"]', '["lr=0.1:1:3"]', "{}", "{a = 1}", "{a = {b = [{}]}}"),
    *("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", '"adam"', '["adam"]', '["adm"]', '["all"]', '"cpu"', '"cuda"'),
    *(
        '"mnist-5k"',
        '"./folder"',
        '"./file"',
        '["kmeans"]',
        '"0.5:3"',
        '"3:1"',
        "[1.0, 1]",
        '["file"]',
        '["my.toml"]',
        "nonsense",
        "",
        "=",
        "[",
    ),
    *("[" * 3000, "{a=" * 500, '"\\ud800"', '"open', "'''", "0b12", "01", "1__0", "1979-13-01", "+1", "\x00", "\x7f"),
]


GOOD = {"bump": "lr = 0.1", "latent": "epochs = 3", "deblur": "epochs = 3", "restore": 'images = ["file"]'}


def tables(command: str) -> st.SearchStrategy[bytes]:
    """A file with a table of a command, most keys being its own."""
    fields = list(SETTINGS[command].model_fields)
    keys = st.sampled_from(
        [*fields, *fields, *fields, "seed.x", '""', "'é'", "epoch", "optimiser", "-", "a b", "print_json"]
    )
    rows = st.lists(st.tuples(keys, st.sampled_from(LITERALS)).map(" = ".join), max_size=3).map("\n".join)
    headings = st.sampled_from(
        [*4 * [f"[{command}]"], f"[[{command}]]", f"[{command}.x]", f"{command} = 3", "[other]", ""]
    )
    return st.tuples(headings, st.sampled_from(["", GOOD[command]]), rows).map(lambda parts: "\n".join(parts).encode())


SPOILT = st.one_of(
    *3 * [st.just((b"", 0))],
    st.tuples(
        st.sampled_from([b"\xff", b"\xef\xbb\xbf", b"\x00", b"\r", b"\r\n", b"[bump]\n", b"=", b'"']),
        st.integers(0, 80),
    ),
)


@pytest.fixture
def run_main(monkeypatch, tmp_path):
    """`run_main(line, config)`: the exit code, after all claims have been checked."""

    def end_at_once(settings, progress, map_tasks):
        return Result(settings, {"done": True}, Table(("what",), [{"what": "done"}]))

    for module in (bump_experiment, latent_experiment, deblur_experiment):
        monkeypatch.setattr(module, "run", end_at_once)
    get_command, built = typer.main.get_command, typer.main.get_command(cli.app)
    monkeypatch.setattr(typer.main, "get_command", lambda app: built if app is cli.app else get_command(app))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path.with_name(f"{tmp_path.name}-matplotlib")))  # workers begin late
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    here = tmp_path / "here"

    def run(line: list[str], config: bytes = b"[bump]\n") -> int:
        shutil.rmtree(here, ignore_errors=True)
        (here / "folder").mkdir(parents=True)
        (here / "folder.toml").mkdir()
        (here / "file").write_text("no picture")
        (here / "my.toml").write_bytes(config)
        for loop in ("loop", "loop.toml"):
            (here / loop).symlink_to(loop)
        monkeypatch.chdir(here)
        before = everything(tmp_path)
        monkeypatch.setattr(sys, "argv", ["bs6207", *line])
        with standard_streams() as streams, pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code or 0
        for stream in streams:
            stream.flush()
        said = streams[1].buffer.getvalue().decode()
        assert code in (0, 1, 2)
        assert "run again with --debug" not in said, "an exception that nobody expected"
        if code:
            sentence = said.splitlines()[-1] if "--debug" in line else said.removesuffix("\n")
            assert sentence.startswith("bs6207: ")
            assert len(sentence) > len("bs6207: ")
        if code == 2:
            assert "--debug" in line or said.count("\n") == 1
            assert "\n" not in sentence
            assert not streams[0].buffer.getvalue()
            assert everything(tmp_path) == before
        return code

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def everything(folder: Path) -> set[Path]:
    """All that lies in a folder, and below."""
    return set(folder.rglob("*"))


OFTEN = pytest.mark.parametrize("often", [1, pytest.param(MANY, marks=pytest.mark.slow)])


def rules(examples: int) -> settings:
    return settings(max_examples=examples, suppress_health_check=list(HealthCheck))


@OFTEN
def test_no_line_does_harm(run_main, often):
    codes = Counter()

    @rules(often * EXAMPLES)
    @given(LINES)
    def check(line):
        codes[run_main(line)] += 1

    check()
    assert set(codes) >= ({0, 2} if often == 1 else {0, 1, 2})


NAMING = [
    *(("bump", flag) for flag in ("--optimizer", "--set", "--sweep", "--config", "--out")),
    *(("latent", flag) for flag in ("--dims", "--data")),
    *(("deblur", flag) for flag in ("--sigma", "--test-sigmas")),
    *(("restore", flag) for flag in ("--model", "--onnx", "--out")),
]


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("command", "flag"), NAMING)
def test_no_odd_word_does_harm(run_main, command, flag, every):
    pictures = ["file"] if command == "restore" else []
    for word in ADVERSARIAL[len(flag) % every :: every]:
        run_main([command, *pictures, flag, word])


@OFTEN
@pytest.mark.parametrize("command", SETTINGS)
def test_no_file_does_harm(run_main, command, often):
    codes = Counter()

    @rules(often * EXAMPLES // len(SETTINGS))
    @given(tables(command), SPOILT)
    def check(table, spoilt):
        bytes_added, place = spoilt
        codes[run_main([command, "--config", "my.toml"], table[:place] + bytes_added + table[place:])] += 1

    check()
    assert codes[2]
    assert set(codes) > {2}
