"""Blur in torch against scipy's, and the noise of a camera."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from bs6207.deblur.blur import (
    BOXES_SHARE,
    CUT,
    CUT_SHARE,
    PADDINGS,
    axis_matrix,
    blur_for_test,
    degrade,
    draw_blur,
    draw_kernels,
    gaussian_kernels,
    three_boxes,
)
from bs6207.training.batches import batches, steps_per_epoch

IMAGES = np.random.RandomState(0).rand(5, 1, 12, 17)
SCIPY_NAMES = {"constant": "constant", "edge": "nearest", "symmetric": "reflect", "reflect": "mirror"}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("cut", [1.5, CUT])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_a_gaussian_blur_agrees_with_scipy_at_every_border_and_cut(sigma, cut, padding):
    kernels = gaussian_kernels(torch.tensor([sigma], dtype=torch.float64), cut, 20)
    rows, columns = (
        axis_matrix(kernels, torch.tensor([PADDINGS.index(padding)]), size).numpy() for size in IMAGES.shape[2:]
    )
    ours = rows @ IMAGES[:, 0] @ columns.transpose(0, 2, 1)
    scipys = gaussian_filter(IMAGES[:, 0], (0, sigma, sigma), mode=SCIPY_NAMES[padding], truncate=cut)
    assert np.abs(ours - scipys).max() < 1e-10


@pytest.mark.parametrize("radius", [0.7, 1.0, 1.5, 2.5])
def test_three_boxes_are_pillows_gaussian_blur(radius):
    picture = (np.random.RandomState(1).rand(40, 40) * 255).astype(np.uint8)
    pillows = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius))) / 255
    kernels = three_boxes(torch.tensor([radius], dtype=torch.float64), 12)
    matrix = axis_matrix(kernels, torch.tensor([PADDINGS.index("symmetric")]), 40)[0].numpy()
    inside = (slice(8, -8), slice(8, -8))  # Pillow continues each box, not the image
    assert np.abs((matrix @ (picture / 255) @ matrix.T - pillows)[inside]).max() < 3 / 255  # it rounds to 8 bits twice


def test_three_boxes_have_the_variance_asked_for():
    sigma = torch.tensor([0.2, 0.5, 1.0, 1.7, 3.0, 4.0], dtype=torch.float64)
    kernels, offsets = three_boxes(sigma, 20), torch.arange(-20.0, 21)
    assert torch.allclose(kernels.sum(1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose((kernels * offsets**2).sum(1), sigma**2)


def test_drawn_blurs_keep_a_flat_image_inside_and_leave_sigma_zero_alone():
    sigma = torch.zeros(200).index_fill_(0, torch.arange(100), 1.0)
    sharp = torch.rand(200, 2, 20, 20)
    blurred = draw_blur(sharp, sigma, seeded())
    assert torch.allclose(blurred[100:], sharp[100:], atol=1e-6)
    flat = draw_blur(torch.ones(200, 2, 20, 20), sigma, seeded())
    assert torch.allclose(flat[:, :, 6:-6, 6:-6], torch.ones(200, 2, 8, 8), atol=1e-6)
    at_the_corner = flat[:100, 0, 0, 0]
    assert 0.4 < (at_the_corner < 0.9).float().mean() < 0.7  # zeros beyond the border darken it; the others do not


def test_drawn_kernels_are_of_several_makes():
    kernels = draw_kernels(torch.full((500,), 2.0), seeded())
    whole = gaussian_kernels(torch.tensor([2.0]), CUT, kernels.shape[1] // 2)
    boxes = three_boxes(torch.tensor([2.0]), kernels.shape[1] // 2)
    are_whole, are_boxes = ((kernels - one).abs().amax(1) < 1e-6 for one in (whole, boxes))
    assert are_whole.float().mean().item() == pytest.approx(1 - BOXES_SHARE - CUT_SHARE, abs=0.06)
    assert are_boxes.float().mean().item() == pytest.approx(BOXES_SHARE, abs=0.05)
    assert len(kernels.unique(dim=0)) == 8  # and the rest, cut at every whole pixel from 2 to 8


def test_a_degraded_image_has_256_levels_and_the_noise_asked_for():
    grey = torch.full((50, 1, 20, 20), 0.5)
    degraded = degrade(grey, torch.linspace(0.02, 0.1, 50), seeded())
    assert torch.equal(degraded * 255, torch.round(degraded * 255))
    assert degraded[0].std().item() == pytest.approx(0.02, rel=0.1)
    assert degraded[-1].std().item() == pytest.approx(0.1, rel=0.1)


def test_test_images_are_the_same_for_the_same_seed_and_stay_in_range():
    sharp = IMAGES.astype(np.float32)
    once, again, other = (blur_for_test(sharp, 1.5, 0.1, seed) for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert once.min() >= 0
    assert once.max() <= 1


@pytest.mark.parametrize(("count", "size"), [(10, 3), (10, 5), (10, 10), (4, 9)])
def test_an_epoch_uses_every_image_once_but_for_an_incomplete_last_batch(count, size):
    pixels = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1)
    drawn = list(batches(pixels, size, torch.Generator().manual_seed(0)))
    seen = torch.cat(drawn).flatten() * 255
    assert len(drawn) == steps_per_epoch(count, size)
    assert len(seen) == len(seen.round().unique()) == len(drawn) * min(size, count)
    assert not torch.equal(seen, seen.sort().values)
