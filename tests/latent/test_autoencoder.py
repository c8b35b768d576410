"""The autoencoder and its training, small."""

import pytest
import torch

from bs6207.data.sources import embedded_digits
from bs6207.errors import DivergenceError
from bs6207.latent.autoencoder import Autoencoder
from bs6207.latent.training import encode, reconstruct, train

DIGITS = torch.from_numpy(embedded_digits().train.pixels)


@pytest.mark.parametrize("dim", [1, 2, 16, 256, 784])
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 8, 10)])
def test_every_size_maps_images_to_latents_and_back(dim, image_shape):
    model = Autoencoder(image_shape, dim)
    images = torch.rand(5, *image_shape)
    assert model.encoder(images).shape == (5, dim)
    assert model(images).shape == images.shape
    assert 0 < model(images).min() < model(images).max() < 1


def trained(seed, pixels=DIGITS[:1000], epochs=3, lr=0.01):
    torch.manual_seed(seed)
    model = Autoencoder((1, 28, 28), 8)
    return model, list(train(model, pixels, DIGITS[1000:1500], epochs, 64, lr, seed))


def test_three_epochs_on_a_thousand_digits_leave_the_black_image_far_behind():
    model, curve = trained(0)
    validation = DIGITS[1000:1500] / 255
    black = validation.mean().item()
    assert curve[-1][1] < 0.65 * black
    assert (reconstruct(model, DIGITS[1000:1500]) - validation).abs().mean().item() == pytest.approx(curve[-1][1])
    assert encode(model, DIGITS[:7]).shape == (7, 8)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    weights = [trained(seed, epochs=1)[0].state_dict() for seed in (3, 3, 4)]
    same, other = ([torch.equal(weights[0][key], model[key]) for key in weights[0]] for model in weights[1:])
    assert all(same)
    assert not all(other)


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(DivergenceError, match="not a number in epoch 1"):
        trained(0, lr=1e30)
