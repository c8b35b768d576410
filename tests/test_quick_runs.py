"""A finished run of each command on real digits: what lies in its folder, and again from its record the same bytes."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import HURRY, RUNS, arrays, call
from matplotlib.image import imread
from PIL import Image

from bs6207.data.sources import embedded_digits
from bs6207.deblur.blur import blur_for_test
from bs6207.training.metrics.restoration import psnr_per_image

README = (Path(__file__).parents[1] / "README.md").read_text()
NOT_REPEATED = {"env.json"}  # clock times


@pytest.fixture
def runs(trained, tmp_path):
    """A folder of the test's own with a copy of outputs/ after the three commands."""
    for name in RUNS:
        shutil.copytree(trained(name), tmp_path / "outputs" / name)
    return tmp_path


@pytest.mark.slow
def test_the_first_line_of_the_readme_runs_as_it_stands(tmp_path):
    first = re.search(r"^```sh\n(.*)\n```$", README, re.MULTILINE)[1]
    for line in first[first.index("bs6207 ") :].split(" && "):
        done = call(*line.removeprefix("bs6207 ").split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert {folder.name for folder in (tmp_path / "outputs").iterdir() if folder.name[0] != "."} == {*RUNS}
    metrics = json.loads((tmp_path / "outputs/latent/metrics.json").read_text())
    assert all(cell["l1"] < 0.7 * metrics["baselines"]["black"]["l1"] for cell in metrics["cells"].values())


@pytest.mark.parametrize("name", RUNS)
def test_every_run_folder_is_complete(trained, name):
    folder = trained(name)
    assert (folder.parents[1] / "stdout").read_text().splitlines()[-1] == f"outputs/{name}"
    files = {file.name for file in folder.iterdir()}
    assert files >= {"metrics.json", "history.jsonl", "config.toml", "env.json"}
    assert any(file.endswith(".csv") for file in files)
    pictures = [file for file in files if file.endswith(".png")]
    assert pictures
    for picture in pictures:
        assert picture.replace(".png", ".svg") in files
        assert imread(folder / picture).std() > 0.01
    assert not [file for file in files if file.endswith(".tmp")]


@pytest.mark.parametrize(
    "name", ["bump", *(pytest.param(name, marks=pytest.mark.slow) for name in ("latent", "deblur"))]
)
def test_the_record_of_a_run_runs_it_again_to_the_same_bytes(trained, tmp_path, name):
    folder, again = trained(name), tmp_path / "again"
    jobs = "1" if name == "deblur" else "2"  # of which other processes would not know what is in `HURRY`
    assert tomllib.loads((folder / "config.toml").read_text())[name]
    config = str(folder / "config.toml")
    done = call(name, "--config", config, "--out", str(again), "--json", "--jobs", jobs, cwd=tmp_path, constants=HURRY)
    assert done.stdout == (folder / "metrics.json").read_text()
    for file in folder.iterdir():
        if file.name not in NOT_REPEATED:
            assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_a_page_of_the_three_runs_is_small_and_shows_all_explorers(runs):
    done = call("report", cwd=runs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "outputs/report.html\n", "")
    page = (runs / "outputs/report.html").read_text()
    assert len(page.encode()) < 3 * 2**20
    for explorer in ("bump", "plane", "sizes", "deblur"):
        assert f'data-explorer="{explorer}"' in page
    assert "The decoder itself runs in this page." in page


def test_a_few_test_images_are_kept_at_every_blur_and_clarity(trained):
    kept = arrays(trained("deblur") / "examples.npz")
    assert kept["clear"].shape == (6, 1, 28, 28)
    assert kept["blurred"].shape == (1, *kept["clear"].shape)
    assert kept["restored"].shape == (11, *kept["blurred"].shape)
    truth, blurred, control, *_ = (kept["clear"] / 255.0, kept["blurred"] / 255.0, *(kept["restored"] / 255.0))
    assert psnr_per_image(truth, control[0]) > psnr_per_image(truth, blurred[0]) + 3


def test_latents_leave_the_black_image_and_pca_behind(trained):
    metrics = json.loads((trained("latent") / "metrics.json").read_text())
    assert list(metrics["cells"]) == ["2", "4"]
    for dim, cell in metrics["cells"].items():
        assert cell["l1"] < 0.85 * metrics["baselines"]["black"]["l1"]  # after three epochs on a thousand images
        assert cell["l1"] < metrics["baselines"]["pca"][dim]["l1"]
        assert cell["clusters"]["kmeans"]["accuracy"] > 0.2
    assert metrics["baselines"]["pixels"]["clusters"]["kmeans"]["accuracy"] > 0.2


def test_both_restorers_beat_the_blurred_input_at_every_sigma(trained):
    restorers = json.loads((trained("deblur") / "metrics.json").read_text())["restorers"]
    assert set(restorers) == {"identity", "unsharp", "wiener", "richardson_lucy", "tv", "autoencoder", "l1", "l1_disc"}
    assert list(restorers["identity"]) == ["1.5"]
    for sigma, blurred in restorers["identity"].items():
        for name in ("l1", "l1_disc"):
            assert restorers[name][sigma]["psnr"] > blurred["psnr"] + 3
            assert restorers[name][sigma]["l1"] < blurred["l1"]
            assert restorers[name][sigma]["sharpness"] > blurred["sharpness"]


def test_a_page_of_digits_is_restored_by_the_restorer_of_the_run(runs):
    digits = embedded_digits().test.unit_pixels[:60].reshape(6, 10, 28, 28)
    page = digits.transpose(0, 2, 1, 3).reshape(1, 1, 168, 280)
    blurred = blur_for_test(page, 1.5, 0.01, 0)
    Image.fromarray(np.uint8(blurred[0, 0] * 255 + 0.5)).save(runs / "page.png")
    done = call("restore", "page.png", "--clarity", "0", "--json", cwd=runs)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["images"]
    with Image.open(runs / row["written"]) as picture:
        restored = np.asarray(picture, np.float32)[None, None] / 255
    metrics = json.loads((runs / "outputs/deblur/metrics.json").read_text())
    at_sigma = {name: scores["1.5"]["psnr"] for name, scores in metrics["restorers"].items()}
    gain_of_digits = at_sigma["l1"] - at_sigma["identity"]  # one by one, on test images
    assert psnr_per_image(page, restored) - psnr_per_image(page, blurred) > 0.8 * gain_of_digits
    assert row["sigma"] == pytest.approx(1.5, abs=0.15)
    assert row["clarity"] == 0
