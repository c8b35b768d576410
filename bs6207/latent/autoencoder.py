"""Autoencoders and recipes: images to a latent of `dim` dimensions, and back; layers and training follow from `dim`.

For a small latent a deep encoder and its mirror image. A large one is nearly linear already: principal components carry
the image, and two perceptrons, which start at zero, learn the residual.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from bs6207.data.images import ImageSet
from bs6207.latent.evaluation import Components

FEW_IMAGES = 20_000
WIDE, WIDE_FOR_FEW = 48, 24  # dims from which the linear path does better, for many images and for few
# With so few dims much stays unknown, and pure L1 makes it black: at dim 2, this end costs 0.7 % of L1 and saves 4 % of
# the squared error.
SMALL_DIM, SMALL_DIM_SMOOTH_END = 4, 0.05
DARK = -2.0  # bias of the last layer: sigmoid(-2) = 0.12, about the mean pixel of a digit
CHANNELS = (32, 64)  # of the convolutions, at a half and a quarter of the image's height and width
AT_ONCE = 500  # images that are encoded or decoded at once: more leave the cache of a core between the layers
WIDTHS, WIDTHS_BELOW_8 = ((512, 256, 256), (256, 512, 512)), ((512, 256, 256, 128), (128, 256, 256, 512))

# The fast recipe reaches in one epoch what a plain loop reaches in five, at every size.
FAST_WIDTHS, FAST_WIDTHS_BELOW_8 = (256, 128), (256, 128, 64)
FAST_BATCH, FAST_STEPS = 384, 100  # images in a step at most, steps in an epoch at least
BLACK = 0.004  # mean of a row or column of pixels up to which it counts as black
MIN_HALVED_SIDE = 16  # pixels, along the shorter side

Shape = tuple[int, int, int]  # channels, height, width
Window = tuple[int, int, int, int]  # first row, row after the last, first column, column after the last


@dataclass(frozen=True)
class Recipe:
    """Layers and training of one latent size; chosen by validation L1 on MNIST, see latent/README.md."""

    encoder: tuple[int, ...]  # widths of the hidden layers
    decoder: tuple[int, ...]
    linear: bool  # whether a linear path, which starts as PCA, runs beside them
    lr: float  # at its peak
    batch_size: int
    smooth: float  # the Huber threshold at the start of the training, and at its end
    smooth_end: float = 0.0
    window: Window | None = None  # the part of an image that is encoded and decoded, the rest is black; None for all
    halved: bool = False  # whether the encoder sees the window at half its height and width

    def with_batch_size(self, size: int) -> "Recipe":
        """The recipe with another batch size; the learning rate scales with its root, as the gradient's noise does."""
        return replace(self, batch_size=size, lr=self.lr * math.sqrt(size / self.batch_size))


def recipe_for(dim: int, images: int) -> Recipe:
    """The full recipe; with few training images batches are smaller, with smaller steps."""
    if dim >= (WIDE if images >= FEW_IMAGES else WIDE_FOR_FEW):
        lr = 0.004 if dim < 128 else 0.002
        recipe = Recipe((512,), (512,), True, lr=lr, batch_size=256, smooth=1.0, smooth_end=0.1)
    else:
        encoder, decoder = WIDTHS if dim >= 8 else WIDTHS_BELOW_8
        end = SMALL_DIM_SMOOTH_END if dim < SMALL_DIM else 0.0
        recipe = Recipe(encoder, decoder, False, lr=0.02, batch_size=512, smooth=0.5, smooth_end=end)
    return recipe.with_batch_size(max(32, min(recipe.batch_size, images // 32)))


def fast_recipe_for(dim: int, train: ImageSet) -> Recipe:
    """The recipe for one epoch: a smaller network without black margins and at half the resolution, in more steps.

    A wide latent keeps its recipe: PCA does most of the work before the first step.
    """
    recipe = recipe_for(dim, len(train))
    if recipe.linear:
        return recipe
    widths = FAST_WIDTHS if dim >= 8 else FAST_WIDTHS_BELOW_8
    recipe = replace(recipe, encoder=widths, decoder=widths[::-1], lr=0.06, batch_size=FAST_BATCH)
    recipe = recipe.with_batch_size(max(32, min(FAST_BATCH, len(train) // FAST_STEPS)))
    mean = train.pixels.mean(axis=(0, 1)) / 255
    lit = [np.flatnonzero(mean.mean(axis) > BLACK).tolist() or range(mean.shape[1 - axis]) for axis in (1, 0)]
    rows, columns = ((places[0], places[-1] + 1) for places in lit)  # all of them where everything is black
    halved = min(end - start for start, end in (rows, columns)) >= MIN_HALVED_SIDE
    return replace(recipe, window=(*rows, *columns), halved=halved)


RECIPES = {"full": lambda dim, train: recipe_for(dim, len(train)), "fast": fast_recipe_for}


class Autoencoder(nn.Module):
    """Encoder and decoder between images, [N, C, H, W] in [0, 1], and latents, [N, dim].

    BatchNorm after every hidden layer keeps L1 from collapsing to the black image, its broad local minimum.

    Args:
        components: at least `dim` principal components of the training images, where the linear path starts; without
            them it starts at random, for weights that will be loaded.
    """

    def __init__(
        self, image_shape: Shape, dim: int, recipe: Recipe, arch: str = "mlp", components: Components | None = None
    ):
        super().__init__()
        self.image_shape, self.dim, self.recipe, self.arch = image_shape, dim, recipe, arch
        channels, height, width = image_shape
        top, bottom, left, right = recipe.window or (0, height, 0, width)
        output = channels, bottom - top, right - left
        inputs = (channels, output[1] // 2, output[2] // 2) if recipe.halved else output
        encoder, decoder = ARCHITECTURES[arch](inputs, output, dim, recipe)
        for layer in (*encoder.modules(), *decoder.modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.get_parameter("bias"))
        if recipe.linear:
            pixels = math.prod(image_shape)
            project, unproject = nn.Linear(pixels, dim), nn.Linear(dim, pixels)
            for last in (last_layer(encoder), last_layer(decoder)):
                nn.init.zeros_(last.weight)
            if components is not None:
                leading, mean = map(torch.from_numpy, (components.directions[:dim], components.mean))
                project.load_state_dict({"weight": leading, "bias": -leading @ mean})
                unproject.load_state_dict({"weight": leading.T, "bias": mean})
            self.encoder: nn.Module = Sum(nn.Sequential(nn.Flatten(), project), encoder)
            image = nn.Sequential(unproject, nn.Unflatten(1, image_shape))
            self.decoder: nn.Module = nn.Sequential(Sum(image, decoder), Clip())
        else:
            nn.init.constant_(last_layer(decoder).get_parameter("bias"), DARK)
            self.encoder, self.decoder = encoder, nn.Sequential(decoder, nn.Sigmoid())
            if recipe.window:
                self.encoder = nn.Sequential(Crop(recipe.window, recipe.halved), encoder)
                self.decoder.append(nn.ZeroPad2d((left, width - right, top, height - bottom)))

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


class Sum(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, inputs: Tensor) -> Tensor:
        return self.first(inputs) + self.second(inputs)


class Crop(nn.Module):
    """A window of every image, at half its height and width if `halved`."""

    def __init__(self, window: Window, halved: bool):
        super().__init__()
        self.window, self.halved = window, halved

    def forward(self, images: Tensor) -> Tensor:
        top, bottom, left, right = self.window
        images = images[..., top:bottom, left:right]
        if self.halved:  # the mean of 2 x 2 pixels, five times as fast as by pooling; an odd row at the end is left out
            height, width = (length // 2 * 2 for length in images.shape[2:])
            images = images[..., 0:height:2, :width] + images[..., 1:height:2, :width]
            images = (images[..., 0::2] + images[..., 1::2]) / 4
        return images


class Clip(nn.Module):
    """Clips to [0, 1]; while training the gradient passes as if it did not, or a pixel once outside stayed there."""

    def forward(self, images: Tensor) -> Tensor:
        return images + (images.clamp(0, 1) - images).detach()


def last_layer(network: nn.Module) -> nn.Linear | nn.Conv2d:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]


def perceptron(*sizes: int) -> list[nn.Module]:
    """Linear layers between `sizes`, with BatchNorm and ReLU after all but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


def mlp(inputs: Shape, output: Shape, dim: int, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(nn.Flatten(), *perceptron(math.prod(inputs), *recipe.encoder, dim))
    return encoder, nn.Sequential(*perceptron(dim, *recipe.decoder, math.prod(output)), nn.Unflatten(1, output))


def conv(inputs: Shape, output: Shape, dim: int, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """Two convolutions of stride 2 before the recipe's last layers, and resizing with convolutions after them.

    Resizing and convolving rather than a transposed convolution, which leaves a grid (Odena et al. 2016).
    """
    few, many = CHANNELS
    channels, height, width = output
    encoded = (many, *(math.ceil(length / 4) for length in inputs[1:]))
    decoded = (many, math.ceil(height / 4), math.ceil(width / 4))
    encoder = nn.Sequential(
        *convolution(channels, few, stride=2),
        *convolution(few, many, stride=2),
        nn.Flatten(),
        *perceptron(math.prod(encoded), recipe.encoder[-1], dim),
    )
    return encoder, nn.Sequential(
        *perceptron(dim, recipe.decoder[0], math.prod(decoded)),
        nn.Unflatten(1, decoded),
        nn.BatchNorm2d(many),
        nn.ReLU(inplace=True),
        nn.Upsample((math.ceil(height / 2), math.ceil(width / 2))),
        *convolution(many, few),
        nn.Upsample((height, width)),
        nn.Conv2d(few, channels, 3, padding=1),
    )


def convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


ARCHITECTURES = {"mlp": mlp, "conv": conv}
