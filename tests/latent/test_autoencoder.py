"""The autoencoder and its training, small."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Interrupted, Shelf
from torch.nn import functional

from bs6207.data.images import ImageSet
from bs6207.data.sources import embedded_digits
from bs6207.errors import DivergenceError, FolderError
from bs6207.latent.autoencoder import ARCHITECTURES, WIDE, Autoencoder, Clip, Crop, fast_recipe_for, recipe_for
from bs6207.latent.evaluation import principal_components
from bs6207.latent.model import Model, load
from bs6207.latent.training import MIN_SMOOTH, decode, encode, loss_gradient, reconstruct, train_autoencoder, validate

DATA = embedded_digits()
DIGITS = torch.from_numpy(DATA.train.pixels)
VALIDATION = DIGITS[1000:1500]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("dim", [1, 2, 16, WIDE, 256, 784])
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 7, 10)])
def test_every_size_maps_images_to_latents_and_back(dim, image_shape, arch):
    model = Autoencoder(image_shape, dim, recipe_for(dim, 60_000), arch)
    images = torch.rand(5, *image_shape)
    assert model.encoder(images).shape == (5, dim)
    assert model(images).shape == images.shape
    assert 0 <= model(images).min() < model(images).max() <= 1


def test_a_loaded_autoencoder_clips_what_rounding_adds_and_names_other_pixels(tmp_path):
    model = Model(Autoencoder((1, 4, 4), 2, recipe_for(2, 60_000)))
    images = torch.ones(1, 1, 4, 4)
    assert torch.equal(model.encode(images + 5e-7), model.encode(images))
    for pixel, words in ((torch.nan, "no numbers"), (-0.1, "negative"), (255, "above 1; divide 8-bit pixels by 255")):
        with pytest.raises(ValueError, match=words):
            model.encode(images * pixel)
    (tmp_path / "autoencoder_2_0.safetensors").touch()
    with pytest.raises(FolderError, match="no autoencoder of dim '2'; it has dim 2"):
        load(tmp_path, "2")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_wide_autoencoder_starts_as_pca(arch):
    components = principal_components(DATA.train, 60)
    model = Autoencoder(DATA.train.image_shape, 50, recipe_for(50, 3500), arch, components)
    codes = components.encode(DATA.test)[:, :50]
    test = torch.from_numpy(DATA.test.pixels)
    np.testing.assert_allclose(encode(model, test).numpy(), codes, atol=1e-4)
    expected = components.decode(codes, DATA.test.image_shape)
    np.testing.assert_allclose(reconstruct(model, test).numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(decode(model, torch.from_numpy(codes)).numpy(), expected, atol=1e-4)


def test_other_batches_take_other_steps():
    recipe = recipe_for(8, 60_000)
    assert recipe.with_batch_size(recipe.batch_size // 4).lr == pytest.approx(recipe.lr / 2)
    assert recipe_for(8, 3500).batch_size < recipe.batch_size
    assert recipe_for(8, 10).batch_size == 32


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("dim", [1, 16, 784])
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 7, 10), (1, 1, 1), (2, 33, 17)])
def test_the_fast_recipe_maps_images_of_any_size_and_draws_nothing_outside_its_window(image_shape, dim, arch):
    pixels = np.zeros((300, *image_shape), np.uint8)
    pixels[:, :, 1:-2, 3:] = 200
    recipe = fast_recipe_for(dim, ImageSet(pixels, None))
    model = Autoencoder(image_shape, dim, recipe, arch)
    assert model.encoder(torch.rand(5, *image_shape)).shape == (5, dim)
    restored = model(torch.from_numpy(pixels[:5]) / 255)
    assert restored.shape == (5, *image_shape)
    if recipe.window and image_shape[1] > 3:
        assert recipe.window == (1, image_shape[1] - 2, 3, image_shape[2])
        assert restored[:, :, 1:-2, 3:].min() > 0
        restored[:, :, 1:-2, 3:] = 0
        assert restored.max() == 0


def test_the_fast_encoder_sees_two_by_two_pixels_as_one():
    images = torch.arange(30.0).reshape(1, 1, 5, 6)
    expected = functional.avg_pool2d(images[:, :, 1:5, 1:6], 2)
    assert torch.equal(Crop((1, 5, 1, 6), halved=True)(images), expected)
    assert torch.equal(Crop((1, 5, 1, 6), halved=False)(images), images[:, :, 1:5, 1:6])


def test_one_epoch_of_the_fast_recipe_learns_more_than_one_of_the_full_recipe():
    reached = []
    for recipe in (fast_recipe_for(8, DATA.train), recipe_for(8, len(DATA.train))):
        torch.manual_seed(0)
        model = Autoencoder((1, 28, 28), 8, recipe)
        reached += [epoch.validation_l1 for epoch in train_autoencoder(model, DIGITS, VALIDATION, 1, recipe, 0)]
    assert reached[0] < 0.97 * reached[1]


def test_clipping_lets_the_gradient_pass():
    values = torch.tensor([-1.0, 0.25, 3.0], requires_grad=True)
    clipped = Clip()(values)
    assert clipped.tolist() == [0.0, 0.25, 1.0]
    clipped.sum().backward()
    assert values.grad.tolist() == [1, 1, 1]


def trained(seed, dim=8, epochs=3, loss="l1", precision=torch.float32, progress=None, **changes):
    """A model trained on a thousand digits, and its epochs."""
    torch.manual_seed(seed)
    recipe = replace(recipe_for(dim, 60_000), **{"batch_size": 64, "lr": 0.01} | changes)
    components = principal_components(DATA.train[:1000], dim) if recipe.linear else None
    model = Autoencoder((1, 28, 28), dim, recipe, components=components)
    return model, list(
        train_autoencoder(model, DIGITS[:1000], VALIDATION, epochs, recipe, seed, loss, precision, progress)
    )


def test_three_epochs_on_a_thousand_digits_leave_the_black_image_far_behind():
    model, curve = trained(0)
    truth = VALIDATION / 255
    assert [epoch.number for epoch in curve] == [1, 2, 3]
    assert curve[-1].validation_l1 < 0.65 * truth.mean().item()
    assert (reconstruct(model, VALIDATION) - truth).abs().mean().item() == pytest.approx(curve[-1].validation_l1)
    assert encode(model, DIGITS[:7]).shape == (7, 8)


@pytest.mark.parametrize("loss", ["l1", pytest.param("mse", marks=pytest.mark.slow)])
def test_an_interrupted_training_ends_with_the_bytes_of_one_that_was_not(loss):
    changes = {"epochs": 8, "lr": 0.3, "batch_size": 500, "loss": loss}  # so fast that not the last epoch is the best
    whole, curve = trained(0, **changes)
    shelf = Shelf(3)
    for epochs in (3, 1):
        shelf.epochs = epochs
        with pytest.raises(Interrupted):
            trained(0, progress=shelf, **changes)
    model, same = trained(0, progress=shelf, **changes)
    assert same == curve
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_the_squared_error_does_better_by_the_squared_error():
    absolute, squared = (reconstruct(trained(0, loss=loss)[0], VALIDATION) for loss in ("l1", "mse"))
    truth = VALIDATION / 255
    assert (squared - truth).square().mean() < (absolute - truth).square().mean()
    assert (squared - truth).abs().mean() > (absolute - truth).abs().mean()


@pytest.mark.slow
def test_bfloat16_reaches_what_float32_reaches():
    reached = [trained(0, precision=precision)[1][-1].validation_l1 for precision in (torch.float32, torch.bfloat16)]
    assert reached[0] != reached[1]
    assert reached[1] == pytest.approx(reached[0], rel=0.03)


def gradient(precision):
    """The gradient of L1 in all weights of one fixed network on one fixed batch."""
    torch.manual_seed(0)
    model = Autoencoder((1, 28, 28), 8, recipe_for(8, 60_000))
    images = DIGITS[:256] / 255
    if precision == torch.float64:
        model, images = model.double(), images.double()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        restored = model(images)
    (restored.to(images.dtype) - images).abs().mean().backward()
    return torch.cat([weight.grad.flatten().double() for weight in model.parameters()])


@pytest.mark.parametrize("smooth", [0.5, 1e-4, MIN_SMOOTH])
@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_the_loss_gradient_is_autograds_gradient(loss, smooth):
    restored, images = torch.rand(2, 5, 1, 9, 9, dtype=torch.float64).unbind()
    restored[0] = images[0]
    restored.requires_grad_()
    if loss == "mse":
        functional.mse_loss(restored, images).backward()
    else:
        functional.smooth_l1_loss(restored, images, beta=smooth).backward()
    torch.testing.assert_close(loss_gradient(restored.detach() - images, loss, smooth), restored.grad)


@pytest.mark.parametrize(("precision", "least"), [(torch.float32, 0.999999), (torch.bfloat16, 0.99)])
def test_the_gradient_agrees_with_double_precision(precision, least):
    assert torch.cosine_similarity(gradient(precision), gradient(torch.float64), dim=0) > least


def test_the_weights_that_did_best_on_validation_are_kept():
    model, curve = trained(0, epochs=8, lr=0.3, batch_size=500)  # so fast that the loss does not fall steadily
    best = min(curve, key=lambda epoch: epoch.validation_l1)
    assert curve[-1].best == best.number
    assert validate(model, VALIDATION)["l1"] == pytest.approx(best.validation_l1)


def test_where_principal_components_are_exact_training_cannot_lose_to_them():
    model, curve = trained(0, dim=784, epochs=1)
    assert curve[-1].best == 0
    assert curve[-1].validation_l1 > 1e-4
    assert validate(model, VALIDATION)["l1"] < 1e-6


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    weights = [trained(seed, epochs=1)[0].state_dict() for seed in (3, 3, 4)]
    same, other = ([torch.equal(weights[0][key], model[key]) for key in weights[0]] for model in weights[1:])
    assert all(same)
    assert not all(other)


def test_a_loss_that_is_no_number_stops_the_training():
    with pytest.raises(DivergenceError, match="not a number in epoch 1"):
        trained(0, lr=1e30)


@pytest.mark.slow
def test_the_first_step_does_not_wait_for_sympy():
    script = """
import sys, torch
from bs6207.latent.autoencoder import Autoencoder, recipe_for
from bs6207.latent.training import train_autoencoder

pixels = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
recipe = recipe_for(2, 64)
list(train_autoencoder(Autoencoder((1, 8, 8), 2, recipe), pixels, pixels, 1, recipe, 0))
sys.exit("sympy" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
