"""The run folder: locked, published in one rename, never overwritten, strict JSON."""

import csv
import errno
import io
import json
import math
import os
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import example, given
from hypothesis import strategies as st

from bs6207.bump import experiment
from bs6207.bump.settings import BumpSettings
from bs6207.cli.options import read_settings
from bs6207.errors import DataError, FolderError
from bs6207.latent.settings import LatentSettings
from bs6207.runs import folder as folder_module
from bs6207.runs.files import fill_with_links, strict_json, to_csv, write_new, write_whole
from bs6207.runs.finished import RunFolder
from bs6207.runs.folder import Run, is_held, is_run, matplotlib_folder, open_run
from bs6207.runs.result import Links, Result, Table
from bs6207.runs.settings import Settings, setting

SETTINGS = BumpSettings()


def finish(folder, metrics):
    """A whole run that found `metrics`."""
    with open_run("bump", folder, SETTINGS) as run:
        run.record({"x": 1})
        run.write_result(Result(SETTINGS, metrics, Table((), ())))


def test_a_finished_run_lies_at_its_own_path_and_the_earlier_ones_in_the_history(tmp_path):
    for turn in range(3):  # within one second, so that two would take the same name
        finish(tmp_path / "bump", {"turn": turn})
    assert json.loads((tmp_path / "bump/metrics.json").read_text()) == {"turn": 2}
    earlier = sorted((tmp_path / "history").iterdir())
    assert sorted(json.loads((run / "metrics.json").read_text())["turn"] for run in earlier) == [0, 1]
    assert not (tmp_path / "bump.partial").exists()


def test_a_run_that_fails_leaves_the_finished_one_alone_and_its_own_rows_behind(tmp_path):
    finish(tmp_path / "bump", {"turn": 0})
    with pytest.raises(ZeroDivisionError), open_run("bump", tmp_path / "bump", SETTINGS) as run:
        run.record({"epoch": 1})
        raise ZeroDivisionError
    assert json.loads((tmp_path / "bump/metrics.json").read_text()) == {"turn": 0}
    assert (tmp_path / "bump.partial/history.jsonl").read_text() == '{"epoch": 1}\n'


@pytest.mark.parametrize("done", [False, True])
def test_a_refused_run_leaves_only_what_it_had_done(tmp_path, done):
    with pytest.raises(DataError), open_run("bump", tmp_path / "bump", SETTINGS) as run:
        if done:
            (run.cells / "x.done").write_bytes(b"found")
        raise DataError("too few images")
    assert (tmp_path / "bump.partial").exists() == done
    assert not (tmp_path / "bump").exists()


@pytest.mark.parametrize(
    ("changes", "goes_on"),
    [({}, True), ({"jobs": 2}, True), ({"lr": 0.1}, False), ({"fresh": True}, False), (None, False)],
    ids=["same", "other jobs", "other settings", "fresh", "other code"],
)
def test_an_interrupted_run_goes_on_with_the_same_settings_and_moves_to_the_history_with_others(
    tmp_path, changes, goes_on, monkeypatch
):
    with pytest.raises(ZeroDivisionError), open_run("bump", tmp_path / "bump", SETTINGS) as run:
        (run.cells / "x.done").write_bytes(b"found")
        raise ZeroDivisionError
    if changes is None:
        monkeypatch.setattr("platform.machine", lambda: "another")
    with open_run("bump", tmp_path / "bump", SETTINGS.model_copy(update=changes or {})) as run:
        assert (run.cells / "x.done").exists() == goes_on
        assert ("begins anew" in run.archived) == (not goes_on)
        assert run.resume("") == "goes on where it was interrupted" * goes_on
        assert run.resume("") == ""
    kept = [run.name for run in (tmp_path / "history").iterdir()] if (tmp_path / "history").exists() else []
    assert len(kept) == (not goes_on)
    assert all(name.startswith("bump.partial-") for name in kept)
    assert not (tmp_path / "bump/cells").exists()


@pytest.mark.parametrize("changed", [False, True])
def test_an_interrupted_run_whose_data_have_changed_moves_to_the_history_as_it_was(tmp_path, changed):
    with pytest.raises(ZeroDivisionError), open_run("bump", tmp_path / "bump", SETTINGS) as run:
        assert run.resume("sha256") == ""
        (run.cells / "x.done").write_bytes(b"found")
        run.record({"epoch": 1})
        raise ZeroDivisionError
    with open_run("bump", tmp_path / "bump", SETTINGS) as run:
        assert run.archived == ""
        message = run.resume("another" if changed else "sha256")
        assert (run.cells / "x.done").exists() == (not changed)
        assert (run.partial / "history.jsonl").read_bytes() == b""
        assert (run.partial / "env.json").is_file()
    if changed:
        (place,) = (tmp_path / "history").iterdir()
        assert message == f"begins anew, as its data or the device have changed; the interrupted run is in {place}"
        assert (place / "cells/x.done").read_bytes() == b"found"
        assert (place / "history.jsonl").read_text() == '{"epoch": 1}\n'
    else:
        assert message == "goes on where it was interrupted"
        assert not (tmp_path / "history").exists()


def test_a_run_that_was_killed_while_it_was_published_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("bs6207.runs.folder.Run.remove_checkpoints", lambda run: None)
    finish(tmp_path / "bump", {"turn": 0})
    assert (tmp_path / "bump/cells").exists()
    monkeypatch.undo()
    finish(tmp_path / "bump", {"turn": 1})
    (earlier,) = (tmp_path / "history").iterdir()
    assert not (earlier / "cells").exists()


def test_a_second_run_on_the_same_folder_is_refused_by_the_pid_of_the_first(tmp_path):
    with open_run("bump", tmp_path / "bump", SETTINGS):
        with pytest.raises(FolderError, match=f"is being filled by process {os.getpid()}"):
            finish(tmp_path / "bump", {})
        finish(tmp_path / "other", {})


def test_a_folder_of_other_things_is_never_taken(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("words")
    with pytest.raises(FolderError, match="not a run"):
        finish(tmp_path / "thesis", {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_a_run_of_another_command_is_never_taken(tmp_path):
    finish(tmp_path / "mine", {"turn": 0})
    with (
        pytest.raises(FolderError, match="not a run of bs6207 latent"),
        open_run("latent", tmp_path / "mine", LatentSettings()),
    ):
        pytest.fail("the experiment must not start")
    assert json.loads((tmp_path / "mine/metrics.json").read_text()) == {"turn": 0}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_a_link_and_what_it_points_to_is_filled(tmp_path, is_there):
    scratch = tmp_path / "scratch/run"
    if is_there:
        scratch.mkdir(parents=True)
    (tmp_path / "link").symlink_to(scratch)
    for turn in range(2):
        finish(tmp_path / "link", {"turn": turn})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((scratch / "metrics.json").read_text()) == {"turn": 1}
    assert len(list((tmp_path / "scratch/history").iterdir())) == 1


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "new").mkdir()
    finish(tmp_path / "new", {"turn": 0})
    assert (tmp_path / "new/metrics.json").is_file()


def test_outputs_that_cannot_be_written_are_found_at_the_start(tmp_path):
    (tmp_path / "outputs").write_text("a file where the folder should be")
    with pytest.raises(FolderError, match="cannot write"), open_run("bump", tmp_path / "outputs/bump", SETTINGS):
        pytest.fail("the experiment must not start")


def test_a_disk_that_fills_up_in_the_middle_leaves_the_finished_run_alone(tmp_path, monkeypatch):
    finish(tmp_path / "bump", {"turn": 0})

    def full(handle):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), open_run("bump", tmp_path / "bump", SETTINGS) as run:
        monkeypatch.setattr(os, "fsync", full)
        run.write("metrics.json", b"{}")
    monkeypatch.undo()
    assert not (tmp_path / "bump.partial/metrics.json").exists()
    assert json.loads((tmp_path / "bump/metrics.json").read_text()) == {"turn": 0}


def test_config_toml_gives_the_settings_back(tmp_path):
    settings = BumpSettings(optimizer=["adam"], lr=1e-7, eps=1e-8, distance=2.0)
    with open_run("bump", tmp_path / "bump", settings):
        pass
    text = (tmp_path / "bump/config.toml").read_text()
    assert tomllib.loads(text)["bump"]["eps"] == 1e-8
    assert read_settings(BumpSettings, "bump", {}, str(tmp_path / "bump/config.toml")) == settings


@pytest.mark.parametrize("name", ["a\x7fb", "a\nb", 'a"b', "a\\b", "a\x1fb"])
def test_a_folder_of_any_name_comes_back_from_config_toml(tmp_path, name):
    (tmp_path / name).mkdir()
    settings = LatentSettings(data=str(tmp_path / name))
    with open_run("latent", tmp_path / "latent", settings):
        pass
    assert read_settings(LatentSettings, "latent", {}, str(tmp_path / "latent/config.toml")) == settings


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))), min_size=1))
def test_any_text_comes_back_from_csv(rows):
    written = to_csv(Table(("a", "b"), [{"a": a, "b": b} for a, b in rows]))
    assert [*csv.reader(io.StringIO(written, newline=""))] == [["a", "b"], *map(list, rows)]


def test_env_json_says_what_made_the_run(tmp_path):
    finish(tmp_path / "bump", {})
    environment = json.loads((tmp_path / "bump/env.json").read_text())
    assert environment["versions"]["torch"]
    assert environment["seconds"] >= 0
    assert environment["pid"] == os.getpid()


def test_json_is_strict_and_sorted():
    text = strict_json({"b": math.nan, "a": [np.float64(math.inf), np.float32(0.5), np.arange(2)], 3: (1, None)})
    assert json.loads(text, parse_constant=pytest.fail) == {"3": [1, None], "a": [None, 0.5, [0, 1]], "b": None}
    assert list(json.loads(text)) == ["3", "a", "b"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_come_back_exactly_from_csv_and_json(number):
    assert float(to_csv(Table(("x",), [{"x": number}])).splitlines()[1]) == number
    assert json.loads(strict_json(number)) == number


CELLS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(CELLS, min_size=1, max_size=3))
@example(["a\rb", "\r", "\n"])
@example(["\x00", "\x7f", "\u2028"])
def test_names_of_any_letters_come_back_from_csv(names):
    row = {str(place): name for place, name in enumerate(names)}
    table = Table(list(row), [row])
    with TemporaryDirectory() as folder:
        (Path(folder) / "names.csv").write_bytes(to_csv(table).encode())
        read = RunFolder(Path(folder), "", "latent", {}, {}, {}).table("names")
    assert [list(row.values()) for row in read.rows] == [names]


class Named(Settings):
    """Settings of any letters."""

    name: str = setting("", "A name.")
    names: list[str] = setting([], "Names.")


@given(CELLS)
@example('\x00\r\n\t\x1b\x7f\x85\u2028"\\')
def test_settings_of_any_letters_come_back_from_config_toml(name):
    with TemporaryDirectory() as folder:
        run = Run("latent", Path(folder) / "latent")
        run.partial.mkdir()
        run.write_settings(settings := Named(name=name, names=[name, name]))
        assert is_run(run.partial, "latent")
        assert not is_run(run.partial, "bump")
        assert read_settings(Named, "latent", {}, str(run.partial / "config.toml")) == settings


def test_a_remark_is_one_line_whatever_letters_the_names_in_it_have(tmp_path):
    with open_run("bump", tmp_path / "bump", SETTINGS) as run:
        run.write_result(Result(SETTINGS, {}, Table((), ()), ("class a\r\nb\u2028c is large", "and d")))
    folder = RunFolder(tmp_path / "bump", "", "bump", {}, {}, {})
    assert folder.remarks == ["class a b c is large", "and d"]


def test_a_lock_without_a_record_is_reported_all_the_same(tmp_path):
    with FileLock(tmp_path / ".bump.lock"), pytest.raises(FolderError, match="is being filled by another process"):
        finish(tmp_path / "bump", {})
    assert is_held(tmp_path / ".bump.lock") is False


def test_a_name_that_is_taken_gets_a_number_and_what_had_it_stays(tmp_path):
    files = [write_new(tmp_path / "new/x.png", content) for content in (b"first", b"second", b"third")]
    assert [file.name for file in files] == ["x.png", "x-2.png", "x-3.png"]
    assert [file.read_bytes() for file in files] == [b"first", b"second", b"third"]


@pytest.mark.parametrize(
    "failure", [None, NotImplementedError(), *(OSError(code, "no links") for code in (errno.EPERM, errno.EOPNOTSUPP))]
)
def test_where_links_cannot_be_made_there_are_copies_and_nothing_is_overwritten(tmp_path, monkeypatch, failure):
    picture, folder = tmp_path / "a.png", tmp_path / "new/links"
    picture.write_bytes(b"picture")
    if failure:
        monkeypatch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(failure))
    names = [Path("0/deep/a.png"), Path("1/a.png")]
    fill_with_links(folder, dict.fromkeys(names, picture))
    for name in names:
        assert (folder / name).is_symlink() == (failure is None)
        assert (folder / name).read_bytes() == picture.read_bytes() == b"picture"
        assert [*(folder / name).parent.iterdir()] == [folder / name]
    with pytest.raises(FolderError, match="is not empty, and nothing is overwritten; choose another --link"):
        fill_with_links(folder, {Path("a.png"): picture})
    assert {*tmp_path.rglob("*.png")} == {picture, *(folder / name for name in names)}
    assert [*folder.parent.iterdir()] == [folder]
    (tmp_path / "empty").mkdir()
    fill_with_links(tmp_path / "empty", {Path("a.png"): picture})
    assert (tmp_path / "empty/a.png").read_bytes() == b"picture"


def test_links_are_made_whole_and_once_the_run_is_published(main, tmp_path, monkeypatch):
    folder, files = tmp_path / "links", {Path(name): tmp_path / "a.png" for name in "ab"}
    monkeypatch.setattr(experiment, "run", lambda *_: Result(SETTINGS, {}, Table((), ()), links=Links(folder, files)))
    make = Path.symlink_to

    def stopped(link, file):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "symlink_to", lambda link, file: (stopped if link.name == "b" else make)(link, file))
    assert main("bump").returncode == 130
    assert not folder.exists()
    assert (tmp_path / "outputs/bump/metrics.json").exists()
    assert {file.name for file in tmp_path.iterdir()} == {"outputs"}
    monkeypatch.setattr(Path, "symlink_to", make)
    assert main("bump").returncode == 0
    assert {link.name for link in folder.iterdir()} == {"a", "b"}


def test_a_figure_is_written_for_the_screen_and_for_print(tmp_path):
    from matplotlib.figure import Figure

    with open_run("bump", tmp_path / "bump", SETTINGS) as run:
        run.write_result(Result(SETTINGS, {}, Table((), ()), figures={"drawn": Figure}))
    assert (tmp_path / "bump/drawn.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (tmp_path / "bump/drawn.svg").read_bytes()


def test_without_git_the_record_names_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    finish(tmp_path / "bump", {})
    assert json.loads((tmp_path / "bump/env.json").read_text())["commit"] is None


def test_what_an_interrupted_run_was_made_for_must_be_readable_to_go_on(tmp_path):
    with pytest.raises(ZeroDivisionError), open_run("bump", tmp_path / "bump", SETTINGS) as run:
        (run.cells / "manifest.json").write_bytes(b"\xff")
        raise ZeroDivisionError
    finish(tmp_path / "bump", {})
    assert len(list((tmp_path / "history").iterdir())) == 1


def test_matplotlib_keeps_its_fonts_with_the_run_only_where_the_users_folders_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)

    def homeless(*_, **__):
        raise RuntimeError("no home")

    with open_run("bump", tmp_path / "bump", SETTINGS) as run:
        monkeypatch.setattr(folder_module, "user_config_path", lambda *_, **__: tmp_path)
        for path_of, kept in ((lambda *_, **__: tmp_path, None), (homeless, str(run.cells / "matplotlib"))):
            monkeypatch.setattr(folder_module, "user_cache_path", path_of)
            with matplotlib_folder(run):
                assert os.environ.get("MPLCONFIGDIR") == kept
            assert "MPLCONFIGDIR" not in os.environ


def test_a_file_is_replaced_and_never_rewritten(tmp_path):
    """Whoever has the old one open, or dies halfway, sees it whole."""
    file, same = tmp_path / "metrics.json", tmp_path / "same"
    file.write_bytes(b"old")
    same.hardlink_to(file)
    assert write_whole(file, b"new")
    assert (file.read_bytes(), same.read_bytes()) == (b"new", b"old")
    assert {*tmp_path.iterdir()} == {file, same}
