"""Blur in torch against scipy's, and the noise of a camera."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bs6207.data.batches import batches, steps_per_epoch
from bs6207.data.blur import blur_batch, blur_for_test, photograph

IMAGES = np.random.RandomState(0).rand(5, 1, 12, 17)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.0])
def test_training_blur_agrees_with_scipy(sigma):
    ours = blur_batch(torch.from_numpy(IMAGES), torch.full((5,), sigma, dtype=torch.float64))
    scipys = gaussian_filter(IMAGES, (0, 0, sigma, sigma), mode="constant", truncate=8)
    assert np.abs(ours.numpy() - scipys).max() < 1e-10


def test_sigma_zero_leaves_an_image_and_every_image_has_its_own_sigma():
    sigma = torch.tensor([0.0, 1.0, 2.0, 3.0, 0.5], dtype=torch.float64)
    together = blur_batch(torch.from_numpy(IMAGES), sigma)
    assert torch.equal(together[0], torch.from_numpy(IMAGES)[0])
    for place in range(5):
        alone = blur_batch(torch.from_numpy(IMAGES[place : place + 1]), sigma[place : place + 1])
        assert torch.allclose(together[place], alone[0], atol=1e-12)


def test_a_photograph_has_256_levels_and_the_noise_asked_for():
    grey = torch.full((50, 1, 20, 20), 0.5)
    taken = photograph(grey, 0.05, torch.Generator().manual_seed(0))
    assert torch.equal(taken * 255, torch.round(taken * 255))
    assert taken.std().item() == pytest.approx(0.05, rel=0.02)


def test_test_images_are_the_same_for_the_same_seed_and_stay_in_range():
    sharp = IMAGES.astype(np.float32)
    once, again, other = (blur_for_test(sharp, 1.5, 0.1, seed) for seed in (0, 0, 1))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)
    assert once.min() >= 0
    assert once.max() <= 1


@pytest.mark.parametrize(("count", "size"), [(10, 3), (10, 5), (10, 10), (4, 9)])
def test_an_epoch_deals_every_image_once_but_for_an_incomplete_last_batch(count, size):
    pixels = torch.arange(count, dtype=torch.uint8).reshape(count, 1, 1, 1)
    dealt = list(batches(pixels, size, torch.Generator().manual_seed(0)))
    seen = torch.cat(dealt).flatten() * 255
    assert len(dealt) == steps_per_epoch(count, size)
    assert len(seen) == len(seen.round().unique()) == len(dealt) * min(size, count)
    assert not torch.equal(seen, seen.sort().values)
