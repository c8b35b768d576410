"""The whole experiment, on images of the user's own and on a few digits."""

import json
import re
import tomllib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import HURRY, Watched
from PIL import Image
from safetensors import safe_open

from bs6207.data import sources
from bs6207.data.sources import loaded
from bs6207.deblur import classical
from bs6207.deblur.blur import HELDOUT_SHARE, SMALLEST_SIDE, Context, split_data
from bs6207.deblur.classical import BASELINES
from bs6207.deblur.evaluation import choose_clarity
from bs6207.deblur.experiment import run, run_task
from bs6207.deblur.model import interpolated
from bs6207.deblur.settings import DeblurSettings
from bs6207.errors import DataError, DivergenceError
from bs6207.figures import render
from bs6207.runs.result import METADATA

pytestmark = pytest.mark.xdist_group("deblur")  # its tests share what one of them has trained

LEARNED = ("autoencoder", "l1", "l1_disc")
QUICK = DeblurSettings(data="mnist-5k", epochs=6, train_images=200, batch_size=16, test_images=40, test_sigmas=[1.5])


@pytest.fixture(scope="module", autouse=True)
def _hurry():
    with pytest.MonkeyPatch.context() as patch:
        for module, values in HURRY.items():
            for name, value in values.items():
                patch.setattr(f"{module}.{name}", value)
        yield


@pytest.fixture
def metrics(trained):
    """Metrics of the short run on digits that all tests share."""
    return json.loads((trained("deblur") / "metrics.json").read_text())


def test_every_restorer_has_every_score_and_every_step_was_announced(metrics, trained):
    assert set(metrics["restorers"]) == {"identity", *BASELINES, *LEARNED}
    for name, by_sigma in metrics["restorers"].items():
        row = by_sigma["1.5"]
        assert {"psnr", "ssim", "l1", "sharpness", "heldout_clear", "digit_accuracy", "frechet"} <= set(row)
        assert (row["two_sample"] is None) == (name not in LEARNED)
        assert all(row[key] is not None for key in ("psnr", "heldout_clear", "digit_accuracy", "frechet"))
    *_, last = (trained("deblur").parents[1] / "stderr").read_text().splitlines()
    done, expected = re.search(r", (\d+) of (\d+) done", last).groups()
    assert done == expected


def test_the_control_takes_as_many_steps_as_the_restorer_with_a_disc(trained):
    rows = [json.loads(line) for line in (trained("deblur") / "history.jsonl").read_text().splitlines()]
    counts = Counter(row["stage"] for row in rows)
    epochs = tomllib.loads((trained("deblur") / "config.toml").read_text())["deblur"]["epochs"]
    assert counts["l1, last stage"] == counts["l1_disc, last stage"] > 0
    assert counts["l1"] + counts["disc_net"] + counts["l1, last stage"] == counts["autoencoder"] == epochs


def test_two_restorers_and_a_disc_are_kept_with_the_clarity_that_was_chosen(metrics, trained):
    files = {file.stem: file for file in trained("deblur").glob("*.safetensors")}
    assert set(files) == {"restorer_l1", "restorer_l1_disc", "disc_net"}
    with safe_open(files["restorer_l1"], "np") as weights:
        assert json.loads(weights.metadata()[METADATA])["clarity"] == metrics["clarity"]["chosen"]


@pytest.mark.slow
def test_the_frontier_runs_from_the_control_to_the_strong_restorer():
    result = run(QUICK.model_copy(update={"frontier": True}), Watched())
    frontier, control = result.metrics["frontier"], result.metrics["restorers"]["l1"]["1.5"]
    assert [row["weight"] for row in frontier] == pytest.approx(np.linspace(0, 1, 11))
    assert frontier[0]["psnr"] == pytest.approx(control["psnr"], abs=1e-4)
    assert frontier[0]["heldout_clear"] == pytest.approx(control["heldout_clear"])
    assert "restorer_strong" in result.weights


def test_the_truth_scores_what_nothing_can_exceed_and_is_taken_for_clear(metrics):
    clear = metrics["clear"]["1.5"]
    assert clear["psnr"] is None  # infinite
    assert clear["l1"] == 0
    assert clear["sharpness"] == clear["ssim"] == 1
    assert clear["digit_accuracy"] > 3 * 0.1  # chance; its classifier has taken few steps
    assert clear["heldout_clear"] > metrics["restorers"]["identity"]["1.5"]["heldout_clear"] + 0.5
    assert clear["plausibility"] == pytest.approx(41, abs=1.5)  # noise of 0.01, halved by clipping where all is black


def save_squares(folder, shape):
    """Fifty pictures of a bright square on black."""
    random = np.random.RandomState(0)
    for place in range(50):
        pixels = np.zeros(shape, np.uint8)
        top, left = random.randint(0, shape[0] - 6), random.randint(0, shape[1] - 6)
        pixels[top : top + 6, left : left + 6] = random.randint(100, 255, shape[2:])
        Image.fromarray(pixels).save(folder / f"{place}.png")


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    ("shape", "image_shape"), [((20, 24, 3), [3, 20, 24]), pytest.param((33, 31), [1, 33, 31], marks=pytest.mark.slow)]
)
def test_images_of_any_size_and_colour_without_labels_are_restored(tmp_path, shape, image_shape):
    save_squares(tmp_path, shape)
    settings = DeblurSettings(
        data=str(tmp_path), epochs=8, batch_size=4, sigma="1.5", test_sigmas=[1.5], test_images=10
    )
    result = run(settings, Watched())
    assert result.settings.data == str(tmp_path)
    assert result.metrics["data"]["image_shape"] == image_shape
    restorers = result.metrics["restorers"]
    for name in ("l1", "l1_disc"):
        assert restorers[name]["1.5"]["psnr"] > restorers["identity"]["1.5"]["psnr"]
        assert restorers[name]["1.5"]["digit_accuracy"] is None
        assert restorers[name]["1.5"]["two_sample"] is None
    for words in ("no labels", "too few to train the network of `two-sample`"):
        assert any(words in remark for remark in result.remarks)


@pytest.mark.slow
def test_an_autoencoder_is_trained_in_place_of_the_unet_and_draws_digits():
    settings = QUICK.model_copy(update={"arch": "autoencoder", "train_images": 1000})
    restorers = run(settings, Watched()).metrics["restorers"]
    assert "autoencoder" not in restorers
    assert restorers["l1"]["1.5"]["l1"] < 0.8 * restorers["identity"]["1.5"]["l1"]


@pytest.mark.slow
def test_images_without_an_edge_come_to_a_result(tmp_path):
    for place in range(40):
        Image.new("L", (9, 8)).save(tmp_path / f"{place}.png")
    settings = DeblurSettings(data=str(tmp_path), epochs=3, noise=0.0, test_sigmas=[1.5], test_images=10)
    result = run(settings, Watched())
    assert result.metrics["restorers"]["identity"]["1.5"]["l1"] == 0
    assert all(np.isnan(one["1.5"]["sharpness"]) for one in result.metrics["restorers"].values())
    assert "nan" not in " ".join(map(str, result.remarks)).lower()
    assert "nan" not in str(result.headline.rows)
    for draw in result.figures.values():
        assert draw()
    for name in ("perception", "disc_scores"):
        assert render(result.figures[name](), "svg")


def test_images_too_small_to_be_scored_are_refused(tmp_path):
    save_squares(tmp_path, (SMALLEST_SIDE, SMALLEST_SIDE))
    for file in tmp_path.iterdir():
        Image.open(file).crop((0, 0, 12, SMALLEST_SIDE - 1)).save(file)
    with pytest.raises(DataError, match="less than 7 pixels a side"):
        run(DeblurSettings(data=str(tmp_path)), Watched())


def test_too_few_images_are_refused(tmp_path):
    save_squares(tmp_path, (12, 12))
    for file in sorted(tmp_path.iterdir())[20:]:
        file.unlink()
    with pytest.raises(DataError, match="training images; deblur needs 20"):
        run(DeblurSettings(data=str(tmp_path)), Watched())


@pytest.mark.parametrize(("part", "count"), [("validation", 1), ("test", 4)])
def test_too_few_images_to_choose_or_to_be_scored_are_refused(part, count):
    data = loaded("mnist-5k")
    with pytest.raises(DataError, match="deblur needs 2 and 5, so give more"):
        split_data(replace(data, **{part: getattr(data, part)[:count]}), QUICK)


def test_a_process_reads_the_images_once_for_all_its_tasks(monkeypatch):
    reads, digits = [], loaded("mnist-5k")
    monkeypatch.setattr(sources, "load", lambda *arguments: reads.append(arguments) or digits)
    loaded.cache_clear()
    for _ in range(3):
        run_task(QUICK, digits.sha256, (0, lambda context: None), Watched())
    assert len(reads) == 1


@pytest.mark.slow
def test_a_restorer_that_ends_worse_than_nothing_is_refused():
    settings = QUICK.model_copy(update={"lr": 10.0, "train_images": 100, "epochs": 3})
    with pytest.raises(DivergenceError, match=r"another --lr than 10|smaller --lr than"):
        run(settings, Watched())


def test_no_image_is_in_two_parts():
    data = loaded("mnist-5k")
    split = split_data(data, DeblurSettings(train_images=500))
    assert len(split.heldout) == 500 // HELDOUT_SHARE
    assert len(split.train) + len(split.heldout) == len(split.train_full) == 500
    sets = [
        {image.tobytes() for image in part.pixels}
        for part in (split.train, split.heldout, split.validation, split.test)
    ]
    assert sum(map(len, sets)) == len(set().union(*sets))


def test_classical_methods_are_tuned_on_training_images_alone(monkeypatch):
    tuned_on = []
    monkeypatch.setattr(classical, "tune", lambda baseline, images, sigma, noise: tuned_on.extend(images) or 0.1)
    settings = QUICK.model_copy(update={"test_images": 10})
    split = split_data(loaded("mnist-5k"), settings)
    classical.tune_and_restore("wiener", 1.0, Context(split, settings, Watched(), 0))
    assert tuned_on
    assert {image.tobytes() for image in tuned_on} <= {image.tobytes() for image in split.train.unit_pixels}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [((0.2, 1.0, 2.0), 0.5), ((0.2, 0.3, 0.4), 1.0), ((1.5, 2.0, 3.0), 0.0), ((0.5, 0.9, 0.1), 0.5)],
)
def test_the_clarity_is_the_least_that_looks_clear_or_else_the_clearest(scores, expected):
    rows = [
        {"weight": weight, "psnr": 30.0, "heldout_score": score}
        for weight, score in zip((0.0, 0.5, 1.0), scores, strict=True)
    ]
    assert choose_clarity(rows, clear_score=1.0) == expected


def test_networks_between_two_are_means_of_their_weights():
    start, end = {"a": torch.tensor([0.0, 2.0])}, {"a": torch.tensor([1.0, 4.0])}
    assert torch.equal(interpolated(start, end, 0)["a"], start["a"])
    assert torch.equal(interpolated(start, end, 1)["a"], end["a"])
    assert torch.equal(interpolated(start, end, 0.25)["a"], torch.tensor([0.25, 2.5]))
