"""Names of files as people give them: a tilde is the home folder only where a shell would take it for that alone."""

from pathlib import Path

import pytest
from PIL import Image

from bs6207.bump import experiment
from bs6207.bump.settings import BumpSettings
from bs6207.data.sources import DATA_FOLDER, folders_with, parse_data_name
from bs6207.runs.finished import read_run
from bs6207.runs.names import at_home
from bs6207.runs.result import Result, Table

LETTERS = ["~backup", "~backup/x.png", "./~backup", "./~", "./~/x", "x~", "a/~/b", "~~", "~root", ""]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home folder, beside the working folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("name", LETTERS)
def test_a_tilde_is_a_letter_like_any_other(home, name):
    assert at_home(name) == name


def test_a_tilde_alone_or_before_a_slash_is_the_home_folder_unless_there_is_a_file_of_that_name(home):
    assert at_home("~") == str(home)
    assert at_home("~/a/b") == str(home / "a/b")
    Path("~").mkdir()
    assert at_home("~") == "~"
    assert at_home("~/a") == str(home / "a")
    Path("~/a").symlink_to("nowhere")
    assert at_home("~/a") == "~/a"


def test_data_may_lie_in_folders_with_a_tilde(home, monkeypatch):
    for name in ("~backup", "~"):
        Path(name).mkdir()
        assert parse_data_name(f"./{name}") == str(Path(name).resolve())
    assert parse_data_name("~backup") == str(Path("~backup").resolve())
    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for folder, given in ((home / "mine", "~/mine"), (Path("~digits"), "~digits")):
        folder.mkdir()
        for name in files:
            (folder / name).touch()
        monkeypatch.setenv(DATA_FOLDER, given)
        assert next(folders_with("mnist")).resolve() == folder.resolve()


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """A run that ends at once, and a home folder."""
    result = Result(BumpSettings(), {"done": True}, Table(("what",), [{"what": "done"}]))
    monkeypatch.setattr(experiment, "run", lambda settings, progress, map_tasks: result)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("out", ["~backup", "./~/x"])
def test_a_run_fills_the_folder_that_is_named_and_can_be_read_from_there(main, tmp_path, ended, out):
    done = main("bump", "--jobs", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / out / "metrics.json").is_file()
    assert done.stdout.splitlines()[-1] == str(Path(out))
    assert read_run(str(Path(out))).metrics == {"done": True}


def test_a_run_fills_a_folder_at_home_and_takes_its_settings_from_there(main, tmp_path, ended):
    done = main("bump", "--jobs", "1", "--out", "~/runs/x")
    assert (tmp_path / "home/runs/x/metrics.json").is_file(), done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "home/runs/x")
    for file, given in (("home/my.toml", "~/my.toml"), ("~my.toml", "./~my.toml")):
        (tmp_path / file).write_text("[bump]\nlr = 0")
        assert f"{file}: lr: should be greater" in main("bump", "--config", given).stderr


def test_a_picture_whose_name_begins_with_a_tilde_is_restored_with_the_others(main, tmp_path):
    from deblur.made_restorers import made

    made(tmp_path / "~model")
    for name in ("~sprite.png", "b.png"):
        Image.new("L", (20, 20), 99).save(tmp_path / name)
    done = main("restore", "~sprite.png", "b.png", "~nosuchuser.png", "--model", "~model", "--quiet")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "bs6207: there is no file ~nosuchuser.png; give a picture"
    assert {file.name for file in (tmp_path / "outputs/restored").iterdir()} == {"~sprite.png", "b.png"}
