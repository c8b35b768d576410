"""List options and the order of precedence, without starting a process."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from bs6207.cli.lazy import Group, command
from bs6207.cli.options import read_settings, repeated, with_options
from bs6207.data.images import DataSet, ImageSet
from bs6207.data.sources import settings_for
from bs6207.deblur.settings import DeblurSettings, RestoreSettings
from bs6207.errors import DataError, SettingsError
from bs6207.latent.settings import LatentSettings
from bs6207.runs.config import PACKAGE, presets
from bs6207.runs.settings import BaseSettings
from bs6207.runs.sweep import expand, swept_values

LISTS = {"--dims", "--set"}


def settings_of(*arguments: str) -> LatentSettings:
    """What `latent` would be run with."""
    seen = []
    app = typer.Typer(cls=Group)
    app.callback()(lambda: None)  # or the only command would have no name
    command(app, "latent", lambda function, name, _: with_options(function, name, LatentSettings, {}))(
        lambda settings, invocation: seen.append(settings)
    )
    result = CliRunner().invoke(app, ["latent", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


SAME_LIST = [
    "--dims 2 4",
    "--dims 2,4",
    "--dims=2,4",
    "--dims=2 --dims=4",
    "--dims 2 --dims 4",
    "--dims 2, 4",
    "--dims 2 4 --epochs 3",
    "--epochs 3 --dims 2 4",
    "--quiet --dims 2 --seed 1 --dims 4 --json",
]


@pytest.mark.parametrize("line", SAME_LIST)
def test_every_way_to_write_a_list_means_the_same(line):
    assert settings_of(*line.split()).dims == [2, 4]


def test_a_list_runs_up_to_the_next_flag_and_minus_one_is_a_value():
    assert list(repeated("--dims 2 -1 -.5 --lr 3".split(), LISTS)) == [
        "--dims=2",
        "--dims=-1",
        "--dims=-.5",
        "--lr",
        "3",
    ]


def test_commas_do_not_part_key_value_pairs():
    assert list(repeated(["--set", "betas=0.9,0.99", "a=1"], LISTS)) == ["--set=betas=0.9,0.99", "--set=a=1"]


def test_what_follows_a_double_dash_is_left_alone():
    assert list(repeated(["--dims", "2", "--", "--dims", "4"], LISTS)) == ["--dims=2", "--", "--dims", "4"]


@given(st.lists(st.integers(1, 784), min_size=1, max_size=6, unique=True), st.randoms())
def test_any_mixture_of_commas_and_spaces_gives_the_list_back(dims, random):
    words = [str(dims[0])]
    for dim in dims[1:]:
        words[-1:] = [f"{words[-1]},{dim}"] if random.random() < 0.5 else [words[-1], str(dim)]
    assert settings_of("--dims", *words).dims == dims


def test_presets_ship_with_the_package_and_all_are_valid_for_every_command():
    from bs6207.bump.settings import BumpSettings

    assert {"quick", "default", "fast", "assignment"} <= set(presets())
    for preset in presets():
        for name, model in (("bump", BumpSettings), ("latent", LatentSettings), ("deblur", DeblurSettings)):
            read_settings(model, name, {}, preset)
    assert read_settings(LatentSettings, "latent", {}, "default") == LatentSettings()
    assert 'configs = "bs6207/configs"' in (PACKAGE.parent / "pyproject.toml").read_text()


def test_the_model_cannot_be_changed_and_knows_no_other_keys():
    with pytest.raises(ValueError, match="frozen"):
        LatentSettings().dims = [3]
    with pytest.raises(ValueError, match="Extra inputs"):
        LatentSettings(dim=[3])


def test_paths_in_a_file_are_taken_from_its_folder(tmp_path, monkeypatch):
    for place in ("configs/pictures", "configs/~", "configs/mnist", "pictures", "home/pictures"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def read(table: str, model: type[BaseSettings] = LatentSettings, name: str = "latent", **given: str) -> Any:
        (tmp_path / "configs/my.toml").write_text(f"[{name}]\n{table}", encoding="utf-8")
        return read_settings(model, name, given, "configs/my.toml")

    places = {"pictures": "configs/pictures", "./~": "configs/~", "../pictures": "pictures", "./mnist": "configs/mnist"}
    for data, place in (places | {"~/pictures": "home/pictures", str(tmp_path / "home"): "home"}).items():
        assert read(f"data = '{data}'").data == str(tmp_path / place)
    assert read("data = 'mnist'").data == "mnist"
    assert read("epochs = 3", data="pictures").data == str(tmp_path / "pictures")
    with pytest.raises(SettingsError, match=f"my.toml: data: there is no folder {tmp_path}/configs/nowhere"):
        read("data = 'nowhere'")
    swept = swept_values(read("[latent.sweep]\ndata = ['pictures', 'mnist-5k']\nlr = [0.1, 0.2]"))
    assert swept["data"] == [str(tmp_path / "configs/pictures"), "mnist-5k"]
    restored = read("images = ['a.png', '/b.png']\nmodel = 'm'\nonnx = 'o'", RestoreSettings, "restore")
    assert restored.images == [str(tmp_path / "configs/a.png"), "/b.png"]
    assert [restored.model, restored.onnx] == [str(tmp_path / "configs" / name) for name in ("m", "o")]
    assert read("images = ['a.png']", RestoreSettings, "restore").model == "outputs/deblur"


def test_a_preset_wishes_and_what_the_user_gives_is_meant(tmp_path):
    few = ImageSet(np.zeros((20, 1, 3, 4), np.uint8), None)
    data = DataSet("mine", few, few, few, "")
    notes: list[str] = []

    def taken(given: dict[str, Any], config: str) -> Any:
        return settings_for(data, read_settings(DeblurSettings, "deblur", given, config), notes.append)

    assert taken({}, "quick").train_images is None
    assert notes == ["trains on all 20 training images of mine; the preset asks for 160"]
    assert taken({"train_images": "100"}, "quick").train_images == 100
    (tmp_path / "my.toml").write_text("[deblur]\ntrain_images = 150")
    assert taken({}, str(tmp_path / "my.toml")).train_images == 150
    swept = expand(read_settings(DeblurSettings, "deblur", {"sweep": ["lr=0.1,0.2"]}, "quick"))
    assert [settings_for(data, one, notes.append).train_images for one in swept.values()] == [None, None]
    assert len(notes) == 3
    swept = expand(read_settings(DeblurSettings, "deblur", {"sweep": ["train_images=100,200"]}, "quick"))
    assert [settings_for(data, one, pytest.fail).train_images for one in swept.values()] == [100, 200]
    with pytest.raises(DataError, match="mine has 20 training images, not 150; leave out --train-images to take all"):
        data.train_subset(150)


def test_a_folder_given_as_config_is_refused(tmp_path: Path):
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(SettingsError, match="there is no file"):
        read_settings(LatentSettings, "latent", {}, str(folder))
