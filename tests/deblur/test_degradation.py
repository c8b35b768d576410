"""Blur of every kind, crops of photographs with their neighbours, gamma and JPEG, in training."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve as scipys_convolve

from bs6207.data.images import ImageSet, Photographs
from bs6207.data.pictures import as_jpeg
from bs6207.deblur.blur import crops_of, in_colour, mirrored
from bs6207.deblur.degradation import (
    ENLARGED,
    KINDS,
    MOTION_LENGTH,
    SOFT_SHARE,
    convolve,
    degrade_windows,
    draw_any_kernels,
    draw_jpeg,
    draw_padded,
    draw_softened,
    draw_windows,
    radius_of,
)
from bs6207.deblur.settings import BLUR_KINDS, DeblurSettings
from bs6207.deblur.training import draw_degraded, pairs

GENERATOR = torch.Generator()
RANDOM = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def _seeded():
    GENERATOR.manual_seed(0)


def kernels(kind, sigma, count=200):
    radius = radius_of(sigma)
    return draw_any_kernels([kind], torch.full((count,), sigma), radius, GENERATOR).double().numpy(), radius


def spreads(drawn, radius):
    """The standard deviations of kernels along their widest axis and across, [N] each, and their centres."""
    offsets = np.arange(-radius, radius + 1)
    down, right = np.meshgrid(offsets, offsets, indexing="ij")
    moments = [[(drawn * one * other).sum((1, 2)) for one in (down, right)] for other in (down, right)]
    variances = np.linalg.eigvalsh(np.moveaxis(np.array(moments), -1, 0))
    centres = np.array([(drawn * one).sum((1, 2)) for one in (down, right)])
    return np.sqrt(variances.clip(0)), centres


@pytest.mark.parametrize("kind", BLUR_KINDS)
@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_every_kind_keeps_the_light_in_the_middle_and_is_as_wide_as_sigma_says(kind, sigma):
    drawn, radius = kernels(kind, sigma)
    assert drawn.min() > -1e-7  # of three boxes, by Fourier transforms
    assert drawn.sum((1, 2)) == pytest.approx(np.ones(200), abs=1e-5)
    (across, along), centres = spreads(drawn, radius)[0].T, spreads(drawn, radius)[1]
    assert np.abs(centres).max() < 0.02
    assert np.median(along) == pytest.approx(sigma, rel=0.15)
    if kind in ("gaussian", "disk"):
        assert across == pytest.approx(along, rel=0.05)
    if kind == "motion":
        assert across.max() < 0.8
    if kind == "anisotropic":
        assert across.min() < 0.5 * sigma < 0.9 * sigma < across.max()


def test_motion_goes_in_every_direction():
    drawn, radius = kernels("motion", 3.0)
    offsets = np.arange(-radius, radius + 1)
    down, right = np.meshgrid(offsets, offsets, indexing="ij")
    twice = np.arctan2((2 * drawn * down * right).sum((1, 2)), (drawn * (right**2 - down**2)).sum((1, 2)))
    counts, _ = np.histogram(twice, 8, (-np.pi, np.pi))
    assert counts.min() > 5
    assert pytest.approx(10.4, abs=0.1) == MOTION_LENGTH * 3


@pytest.mark.parametrize("kind", BLUR_KINDS)
def test_a_sigma_of_nothing_leaves_an_image_as_it_is(kind):
    for sigma in (0.0, 0.05):
        radius = radius_of(2.0)
        drawn = draw_any_kernels([kind], torch.full((20,), sigma), radius, GENERATOR)
        point = torch.zeros_like(drawn)
        point[:, radius, radius] = 1
        assert (drawn - point).abs().max() < 1e-6 or sigma


def test_only_the_kinds_asked_for_are_drawn_and_each_of_them_is():
    sigma, radius = torch.full((200,), 2.0), radius_of(2.0)
    across = spreads(draw_any_kernels(["disk", "motion"], sigma, radius, GENERATOR).double().numpy(), radius)[0][:, 0]
    is_line = across < 0.8
    assert 0.3 < is_line.mean() < 0.95
    assert across[~is_line] == pytest.approx(np.full((~is_line).sum(), 2), rel=0.15)
    assert set(KINDS) == set(BLUR_KINDS)


def test_convolution_is_scipys_with_real_neighbours():
    windows, drawn = torch.rand(3, 2, 30, 26), kernels("anisotropic", 1.5, 3)[0]
    drawn += RANDOM.rand(*drawn.shape) / 1000  # no longer symmetric
    edge = drawn.shape[1] - 1
    ours = convolve(windows, torch.from_numpy(drawn).float()).numpy()
    for place, window in enumerate(windows.numpy().astype(np.float64)):
        exact = np.stack([scipys_convolve(channel, drawn[place]) for channel in window])
        assert np.abs(ours[place] - exact[:, edge // 2 : -(edge // 2), edge // 2 : -(edge // 2)]).max() < 1e-5


def test_a_crop_is_cut_after_the_blur():
    """Beyond a crop lies the rest of the picture: blurring the crop alone would give other pixels at its border."""
    picture = torch.from_numpy(RANDOM.randint(0, 256, (1, 200, 220), np.uint8))
    settings = DeblurSettings(crop=32, batch_size=4, sigma="2", noise=0.0, blur=["gaussian"])
    for sharp, blurred in pairs([picture], settings, 0.0, GENERATOR):
        middle, border = (blurred[..., 12:20, 12:20], blurred[..., 0, :])
        assert sharp.shape == blurred.shape == (4, 1, 32, 32)
        assert border.mean() == pytest.approx(middle.mean().item(), abs=0.08)
        assert border.std() < 0.1 < sharp.std()
        break


def test_windows_are_pieces_of_the_pictures_flipped_and_turned():
    pictures = [torch.from_numpy(RANDOM.randint(0, 256, (3, *size), np.uint8)) for size in ((20, 90), (64, 33))]
    windows, places = draw_windows(pictures, 64, 16, 0, GENERATOR)
    assert windows.shape == (64, 3, 16, 16)
    pieces = {}
    for which, picture in enumerate(pictures):
        for top in range(picture.shape[1] - 15):
            for left in range(picture.shape[2] - 15):
                piece = picture[:, top : top + 16, left : left + 16]
                for turn in range(8):
                    seen = torch.rot90(piece, turn // 2, (1, 2))
                    pieces[(seen.flip(1) if turn % 2 else seen).numpy().tobytes()] = which, turn
    found = [pieces[(window * 255).round().to(torch.uint8).numpy().tobytes()] for window in windows]
    assert [which for which, _ in found] == places.tolist()
    assert {*places.tolist()} == {0, 1}
    assert {turn for _, turn in found} == {*range(8)}


def test_a_picture_smaller_than_a_crop_goes_on_as_its_mirror_image_and_never_black():
    picture = torch.full((1, 9, 40), 200, dtype=torch.uint8)
    assert torch.equal(draw_windows([picture], 20, 24, 17, GENERATOR)[0], torch.full((20, 1, 58, 58), 200 / 255))
    assert mirrored(picture.numpy(), 24).shape == (1, 24, 40)


def test_some_windows_are_enlarged_about_their_middle():
    ramp = torch.linspace(0, 1, 201).expand(200, 1, 201, 201)
    softened = draw_softened(ramp, torch.Generator().manual_seed(0))
    larger = 0.2 / (softened[:, 0, 100, 120] - softened[:, 0, 100, 80])
    untouched = (softened == ramp).all((1, 2, 3))
    assert untouched.float().mean() == pytest.approx(1 - SOFT_SHARE, abs=0.1)
    assert larger[~untouched].max() == pytest.approx(ENLARGED, abs=0.1)
    assert larger[~untouched].min() == pytest.approx(1, abs=0.1)
    assert softened[:, 0, 100, 100].numpy() == pytest.approx(np.full(200, 0.5), abs=1e-3)


def test_crops_lie_side_by_side_in_the_middle():
    picture = np.arange(70 * 40).reshape(1, 1, 70, 40)
    crops = crops_of([picture], 16)
    assert crops.shape == (8, 1, 16, 16)
    assert np.array_equal(crops[0, 0], picture[0, 0, 3:19, 4:20])


def test_digits_can_be_blurred_by_every_kind_with_zeros_beyond_the_border():
    images = torch.full((400, 1, 28, 28), 1.0)
    assert 0.4 < (draw_padded(images, 5, GENERATOR)[..., 0] == 0).all(-1).float().mean() < 0.7
    settings = DeblurSettings(blur=["motion"], sigma="3", noise=0.0)
    points = torch.zeros(50, 1, 29, 29)
    points[:, :, 14, 14] = 1
    seen = draw_degraded(points, settings, 0.0, GENERATOR)
    assert seen.sum((1, 2, 3)) == pytest.approx(np.ones(50), abs=0.15)
    assert ((seen > 0).sum((1, 2, 3)) < 60).all()


def test_blur_of_linear_light_is_brighter_between_black_and_white():
    windows = torch.zeros(8, 1, 80, 80)
    windows[..., 40:] = 1
    drawn = draw_any_kernels(["gaussian"], torch.full((8,), 2.0), 17, GENERATOR)
    seen = [
        degrade_windows(windows, drawn, torch.zeros(8), DeblurSettings(gamma=gamma), GENERATOR) for gamma in (1.0, 3.0)
    ]
    assert (seen[1] >= seen[0] - 1 / 255).all()
    assert seen[1].mean() > seen[0].mean() + 0.003


def test_jpeg_is_pillows_of_a_quality_drawn_for_every_image():
    pixels = RANDOM.randint(0, 256, (6, 3, 16, 16), np.uint8)
    images = torch.from_numpy(pixels).float() / 255
    saved = draw_jpeg(images, 100, GENERATOR)
    expected = np.stack([as_jpeg(image, 100) for image in pixels]) / 255
    assert np.abs(saved.numpy() - expected).max() < 1e-6
    errors = (draw_jpeg(images, 1, GENERATOR) - images).abs().mean((1, 2, 3))
    assert errors.max() > 1.2 * errors.min()


def test_grey_is_pillows_and_colour_three_times_grey():
    from PIL import Image

    pixels = RANDOM.randint(0, 256, (2, 3, 8, 9), np.uint8)
    pillows = [np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L")) for image in pixels]
    for images in (ImageSet(pixels, None), Photographs.of([*pixels])):
        grey = in_colour(images, "grey")
        assert all(np.array_equal(one[0], other) for one, other in zip(grey.pixels, pillows, strict=True))
        assert in_colour(grey, "rgb").image_shape[0] == 3
        assert in_colour(images, "auto") is images
