"""The experiment on photographs: what is scored, with what, and what is recorded."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import HURRY, Watched
from data.test_photographs import save_pictures
from safetensors import safe_open
from scipy.ndimage import convolve, gaussian_filter

from bs6207.data.sources import load
from bs6207.deblur import conditions
from bs6207.deblur.blur import Context, middles, settings_of, split_data, unit_batches
from bs6207.deblur.classical import BASELINES, Reflected, tune, tuning_crops
from bs6207.deblur.conditions import (
    KERNEL_BASELINES,
    PHOTOGRAPH_CONDITIONS,
    WITH_BASELINES,
    disk_kernel,
    gaussian_kernel,
    motion_kernel,
)
from bs6207.deblur.experiment import run
from bs6207.deblur.memory import need
from bs6207.deblur.settings import BLUR_KINDS, DeblurSettings
from bs6207.errors import DataError
from bs6207.runs.result import METADATA
from bs6207.training.metrics.restoration import psnr_of_batches, psnr_per_image

pytestmark = pytest.mark.xdist_group("deblur")

MOTION = motion_kernel(30.0)
KERNELS = {"gaussian": gaussian_kernel(1.5), "disk": disk_kernel(0), "motion": MOTION}
HYPERPARAMETERS = {"unsharp": 1.0, "wiener": 4e-2, "richardson_lucy": 20.0, "tv": 8e-4}


@pytest.fixture(scope="module")
def photographs():
    data = load("photos", pytest.fail, any_size=True)
    return data, settings_of(data, DeblurSettings(data="photos"))


def test_photographs_have_defaults_of_their_own_unless_the_user_sets_others(photographs):
    data, settings = photographs
    assert (settings.crop, settings.epochs, settings.batch_size, settings.lr) == (64, 16, 16, 0.002)
    assert settings.blur == [*BLUR_KINDS]
    assert settings.test_sigmas == [1.0, 1.6, 2.0, 3.0]
    own = DeblurSettings(data="photos", epochs=5, batch_size=8, blur=["disk"], test_sigmas=[2.5], crop=32, lr=0.01)
    assert settings_of(data, own) == own
    assert settings_of(data, settings) == settings
    digits = load("mnist-5k", pytest.fail)
    assert settings_of(digits, DeblurSettings()) == DeblurSettings()
    assert settings_of(digits, DeblurSettings(crop=20)).batch_size == 16


def test_no_photograph_is_in_two_parts_and_they_are_grey_unless_colour_is_asked_for(photographs):
    data, settings = photographs
    split = split_data(data, settings)
    parts = (split.train, split.heldout, split.validation, split.test)
    assert [len(part) for part in parts] == [7, 1, 2, 2]
    assert len({picture.tobytes() for part in parts for picture in part.pixels}) == 12
    assert {len(picture) for part in parts for picture in part.pixels} == {1}
    coloured = split_data(data, settings.model_copy(update={"colour": "rgb"}))
    assert {len(picture) for picture in coloured.test.pixels} == {3}


def test_of_large_photographs_the_middle_is_scored_and_of_many_the_first(photographs):
    data, _ = photographs
    large = np.arange(3000 * 1100, dtype=np.uint32).astype(np.uint8).reshape(1, 3000, 1100)
    images = type(data.train).of([large, large[:, :50], large[:, :900]])
    kept = middles(images, 1_200_000)
    assert [picture.shape for picture in kept.pixels] == [(1, 1024, 1024), (1, 50, 1024)]
    assert np.array_equal(kept.pixels[0], large[:, 988:2012, 38:1062])
    assert len(middles(images, 10)) == 1


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_that_baselines_know_is_that_of_the_test_up_to_the_border(name):
    image, kernel = np.random.RandomState(0).rand(1, 33, 40).astype(np.float32), KERNELS[name]
    import torch

    blur = Reflected(image.shape[1:], kernel)
    ours = blur.filter(torch.from_numpy(image), blur.spectrum).numpy()
    assert np.abs(ours[0] - convolve(image[0].astype(np.float64), kernel, mode="reflect")).max() < 1e-5


def test_a_gaussian_kernel_is_scipys_blur():
    image = np.random.RandomState(0).rand(20, 30)
    ours = convolve(image, gaussian_kernel(1.5), mode="reflect")
    assert np.abs(ours - gaussian_filter(image, 1.5, mode="reflect")).max() < 1e-12


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_takes_any_kernel_and_beats_the_blurred_photograph(photographs, name, kind):
    sharp = tuning_crops(split_data(*photographs))[:2]
    blurred = (conditions.reflected_blur(sharp, KERNELS[kind])).astype(np.float32)
    restored = BASELINES[name].restore(blurred, KERNELS[kind], HYPERPARAMETERS[name])
    assert restored.dtype == np.float32
    assert restored.shape == sharp.shape
    assert psnr_per_image(sharp, restored) > psnr_per_image(sharp, blurred) + 0.1


def test_a_mild_blur_by_a_kernel_is_inverted(photographs):
    sharp = tuning_crops(split_data(*photographs))[:1]
    kernel = gaussian_kernel(0.5)
    blurred = conditions.reflected_blur(sharp, kernel).astype(np.float32)
    for name, value in (("wiener", 1e-7), ("tv", 1e-6), ("richardson_lucy", 2000)):
        assert psnr_per_image(sharp, BASELINES[name].restore(blurred, kernel, value)) > 45


def test_the_tuned_hyperparameter_of_a_kernel_lies_inside_the_grid(photographs):
    sharp = tuning_crops(split_data(*photographs))[:1]
    for name in KERNEL_BASELINES:
        value = tune(BASELINES[name], sharp, MOTION, 0.01)
        assert BASELINES[name].grid[0] < value < BASELINES[name].grid[-1]


@pytest.mark.parametrize("name", PHOTOGRAPH_CONDITIONS)
def test_every_condition_degrades_whole_photographs_the_same_every_time(photographs, name):
    sharp = [picture[..., 200:280, 250:340] for picture in unit_batches(split_data(*photographs).test)]
    condition = PHOTOGRAPH_CONDITIONS[name]
    first, again = ([*condition.pairs(sharp, 0.01, 0)] for _ in range(2))
    for (truth, degraded), (_, same), clear in zip(first, again, sharp, strict=True):
        assert truth is clear
        assert degraded.shape == truth.shape
        assert np.array_equal(degraded, same)
        assert 0 <= degraded.min() <= degraded.max() <= 1
    kernel = condition.kernel(0)
    assert kernel.sum() == pytest.approx(1)
    blurred = psnr_of_batches(sharp, [degraded for _, degraded in first])
    assert blurred > 36 if name == "clear" else blurred < 36
    is_of_its_own = not np.array_equal(condition.kernel(0), condition.kernel(1))
    assert is_of_its_own == (name in ("motion", "anisotropic"))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A short run on a folder of pictures of different sizes."""
    folder = tmp_path_factory.mktemp("album")
    save_pictures(folder / "mine")
    with pytest.MonkeyPatch.context() as patch:
        for module, values in HURRY.items():
            for name, value in values.items():
                patch.setattr(f"{module}.{name}", value)
        patch.setattr("bs6207.deblur.classical.tune", lambda baseline, *_: baseline.grid[len(baseline.grid) // 2])
        patch.setattr("bs6207.deblur.networks.WIDTH", 8)
        patch.setattr("bs6207.deblur.networks.COARSE_WIDTH", 16)
        watched = Watched()
        settings = DeblurSettings(
            data=str(folder / "mine"), epochs=3, batch_size=4, crop=32, sigma="1.5:2", test_sigmas=[1.5]
        )
        yield run(settings, watched), watched


def test_a_folder_of_many_sizes_trains_and_every_step_was_announced(short):
    result, watched = short
    assert watched.steps == watched.expected
    assert result.settings.crop == 32
    assert result.settings.blur == [*BLUR_KINDS]
    assert set(result.metrics["restorers"]) == {"identity", *BASELINES, "l1", "l1_disc"}
    for by_sigma in result.metrics["restorers"].values():
        row = by_sigma["1.5"]
        assert row["psnr"] > 5
        assert 0 < row["ssim"] < 1
        assert row["digit_accuracy"] is row["frechet"] is None
    assert result.metrics["data"]["photographs"] is True


def test_scores_by_kind_of_blur_have_those_of_baselines_told_the_kernel_beside_them(short):
    found = short[0].metrics["conditions"]
    assert set(found) == set(PHOTOGRAPH_CONDITIONS)
    for name, row in found.items():
        blind = {"identity", "l1", "l1_disc"}
        scored = blind | {*(KERNEL_BASELINES if name in WITH_BASELINES else ())}
        assert set(row["psnr"]) == set(row["ssim"]) == scored
        assert all(0 < value <= 1 for value in row["ssim"].values())
    rows = short[0].tables["conditions"].rows
    assert {row["restorer"] for row in rows if row["condition"] == "disk"} == blind | {*KERNEL_BASELINES}


def test_what_is_printed_is_the_psnr_of_whole_pictures(short):
    result = short[0]
    data = load(result.settings.data, pytest.fail, any_size=True)
    split = split_data(data, result.settings)
    context = Context(split, result.settings, Watched(), 0)
    blurred = [np.round(batch * 255) / 255 for batch in context.blurred_test(1.5)]
    expected = psnr_of_batches(unit_batches(split.test), [batch.astype(np.float32) for batch in blurred])
    assert result.metrics["restorers"]["identity"]["1.5"]["psnr"] == pytest.approx(expected, abs=1e-4)


def test_every_figure_of_photographs_is_drawn(short):
    for name, draw in short[0].figures.items():
        assert draw().axes, name


def test_the_restorer_records_that_it_was_trained_on_photographs(short, tmp_path):
    from bs6207.runs.folder import open_run

    with open_run("deblur", tmp_path / "out", short[0].settings) as run_folder:
        run_folder.write_result(replace(short[0], figures={}))
    with safe_open(tmp_path / "out/restorer_l1.safetensors", "np") as weights:
        trained_on = json.loads(weights.metadata()[METADATA])["trained_on"]
    assert trained_on == {"data": "mine", "pictures": "photographs"}


def test_photographs_are_not_for_an_autoencoder(photographs):
    data, settings = photographs
    with pytest.raises(DataError, match="use --arch unet"):
        split_data(data, settings.model_copy(update={"arch": "autoencoder"}))


def test_the_memory_of_a_run_on_photographs_grows_with_batch_and_crop(photographs):
    data, settings = photographs
    sizes = [
        need(data, settings.model_copy(update=change)).of(2) for change in ({}, {"batch_size": 512}, {"crop": 512})
    ]
    assert sizes[0] < 3 * 2**30 < min(sizes[1:])
