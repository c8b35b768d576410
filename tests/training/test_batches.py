"""Batches in random order."""

import pytest
import torch

from bs6207.training.batches import batch_indices


def test_every_image_comes_once_before_any_comes_again():
    drawn = list(batch_indices(10, 5, 4, torch.Generator().manual_seed(0)))
    assert sorted(torch.cat(drawn[:2]).tolist()) == sorted(torch.cat(drawn[2:]).tolist()) == list(range(10))


def test_batches_of_no_images_are_refused():
    with pytest.raises(ValueError, match="no images to train on"):
        next(batch_indices(0, 5, 4, torch.Generator()))
