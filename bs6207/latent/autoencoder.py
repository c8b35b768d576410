"""The autoencoder: images down to a latent of `dim` numbers, and back; its shape follows from `dim`.

A narrow latent is reached by folding the plane of pixels many times: a deep encoder and its mirror image, with no way
around. A wide one is nearly linear already: principal components carry the image, and two perceptrons, which start at
zero, learn what the components miss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bs6207.data.images import ImageSet
from bs6207.latent.components import Components

WIDE, WIDE_FOR_FEW = 48, 24  # numbers from which the linear path does better, for many images and for
FEW = 20_000  # fewer than this: what components know need not be learned
# With so few numbers much stays unknown, and pure L1 makes it black: at 2, this end costs 0.7 % of L1 and saves 4 % of
# the squared error.
FEWEST, BLACKENING = 4, 0.05
DARK = -2.0  # bias of the last layer: sigmoid(-2) = 0.12, about the mean pixel of a digit, so no time is lost on it
CHANNELS = (32, 64)  # of the convolutions, at a half and a quarter of the image's height and width
AT_ONCE = 500  # images that are encoded or decoded at once: more leave the cache of a core between the layers

# Of the fast recipe: enough for what a plain loop reaches in five epochs, at every size.
FAST_WIDTHS, FAST_WIDTHS_BELOW_8 = (256, 128), (256, 128, 64)
FAST_BATCH, FAST_STEPS = 384, 100  # images in a step at most, steps in an epoch at least
LIT = 0.004  # mean of a row or column of pixels up to which it counts as black
HALVED_FROM = 16  # pixels, along the shorter side

Shape = tuple[int, int, int]  # channels, height, width
Window = tuple[int, int, int, int]  # first row, row after the last, first column, column after the last


@dataclass(frozen=True)
class Recipe:
    """What a latent of some size is best trained with; chosen by validation L1 on MNIST, see the README.

    Attributes:
        encoder, decoder: widths of the hidden layers.
        linear: whether principal components run beside them.
        lr: the peak learning rate.
        batch_size: images per step.
        smooth: errors below this count squared at the start of the training, and below `smooth_end` at its end.
        window: the part of an image that is learned; the rest is taken as black. None for all of it.
        halved: whether the encoder sees the window at half its height and width.
    """

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    linear: bool
    lr: float
    batch_size: int
    smooth: float
    smooth_end: float = 0.0
    window: Window | None = None
    halved: bool = False

    def with_batches_of(self, size: int) -> "Recipe":
        """The recipe for another batch size; the learning rate goes with its root, as the gradient's noise does."""
        return replace(self, batch_size=size, lr=self.lr * math.sqrt(size / self.batch_size))


def recipe_for(dim: int, images: int) -> Recipe:
    """The recipe of a latent of `dim` numbers, learned from so many images.

    Few images make few batches, so they are dealt in smaller ones, with smaller steps.
    """
    if dim >= (WIDE if images >= FEW else WIDE_FOR_FEW):
        lr = 0.004 if dim < 128 else 0.002
        recipe = Recipe((512,), (512,), True, lr=lr, batch_size=256, smooth=1.0, smooth_end=0.1)
    elif dim >= 8:
        recipe = Recipe((512, 256, 256), (256, 512, 512), False, lr=0.02, batch_size=512, smooth=0.5)
    else:
        recipe = Recipe((512, 256, 256, 128), (128, 256, 256, 512), False, lr=0.02, batch_size=512, smooth=0.5)
        if dim < FEWEST:
            recipe = replace(recipe, smooth_end=BLACKENING)
    return recipe.with_batches_of(max(32, min(recipe.batch_size, images // 32)))


def fast_recipe_for(dim: int, learn: ImageSet) -> Recipe:
    """The recipe for one epoch: a smaller network, which sees no black margins and less detail, in more steps.

    A wide latent keeps its recipe: principal components have done most of the work before the first step.
    """
    recipe = recipe_for(dim, len(learn))
    if recipe.linear:
        return recipe
    widths = FAST_WIDTHS if dim >= 8 else FAST_WIDTHS_BELOW_8
    window = lit_window(learn)
    top, bottom, left, right = window
    return replace(
        recipe,
        encoder=widths,
        decoder=widths[::-1],
        lr=0.06,
        batch_size=FAST_BATCH,
        window=window,
        halved=min(bottom - top, right - left) >= HALVED_FROM,
    ).with_batches_of(max(32, min(FAST_BATCH, len(learn) // FAST_STEPS)))


RECIPES = {"full": lambda dim, learn: recipe_for(dim, len(learn)), "fast": fast_recipe_for}


def lit_window(images: ImageSet) -> Window:
    """The smallest window outside of which the images are black, or nearly."""
    mean = images.pixels.mean(axis=(0, 1)) / 255
    return *lit_span(mean.mean(1)), *lit_span(mean.mean(0))


def lit_span(means: NDArray[np.float64]) -> tuple[int, int]:
    """The first place that is not black, and the one after the last; all where everything is black."""
    lit = np.flatnonzero(means > LIT)
    return (int(lit[0]), int(lit[-1]) + 1) if len(lit) else (0, len(means))


class Autoencoder(nn.Module):
    """Encoder and decoder between images, [N, C, H, W] in [0, 1], and latents, [N, dim].

    BatchNorm after every hidden layer is what keeps L1 from collapsing to the black image, its broad local minimum.

    Args:
        image_shape: channels, height, width.
        dim: numbers in a latent.
        recipe: its widths, and whether it has a linear path.
        arch: `mlp` or `conv`, what the hidden layers are.
        components: principal components of the training images, at least `dim` of them, where the linear path starts;
            without them it starts at random, as is right for weights that will be loaded.
    """

    def __init__(
        self, image_shape: Shape, dim: int, recipe: Recipe, arch: str = "mlp", components: Components | None = None
    ):
        super().__init__()
        self.dim = dim
        pixels = math.prod(image_shape)
        channels, height, width = image_shape
        top, bottom, left, right = recipe.window or (0, height, 0, width)
        drawn = channels, bottom - top, right - left
        seen = (channels, drawn[1] // 2, drawn[2] // 2) if recipe.halved else drawn
        inwards, outwards = ARCHITECTURES[arch](seen, drawn, dim, recipe)
        for layer in (*inwards.modules(), *outwards.modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.get_parameter("bias"))
        if recipe.linear:
            project, unproject = nn.Linear(pixels, dim), nn.Linear(dim, pixels)
            for last in (last_layer(inwards), last_layer(outwards)):
                nn.init.zeros_(last.weight)
            if components is not None:
                start_at(project, unproject, components, dim)
            self.encoder: nn.Module = Sum(nn.Sequential(nn.Flatten(), project), inwards)
            self.decoder: nn.Module = nn.Sequential(
                Sum(nn.Sequential(unproject, nn.Unflatten(1, image_shape)), outwards), Clip()
            )
        else:
            nn.init.constant_(last_layer(outwards).get_parameter("bias"), DARK)
            self.encoder, self.decoder = inwards, nn.Sequential(outwards, nn.Sigmoid())
            if recipe.window:
                self.encoder = nn.Sequential(Crop(recipe.window, recipe.halved), inwards)
                self.decoder.append(nn.ZeroPad2d((left, width - right, top, height - bottom)))

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions in [0, 1], of the shape of `images`, [N, C, H, W] in [0, 1]."""
        return self.decoder(self.encoder(images))


class Sum(nn.Module):
    """The sum of what two paths make of the same input."""

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, inputs: Tensor) -> Tensor:
        return self.first(inputs) + self.second(inputs)


class Crop(nn.Module):
    """A window of every image, at half its height and width if it is to be `halved`."""

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


def start_at(project: nn.Linear, unproject: nn.Linear, components: Components, dim: int) -> None:
    """Make two linear layers PCA: onto the leading components, and back."""
    leading, mean = (torch.from_numpy(array) for array in (components.directions[:dim], components.mean))
    with torch.no_grad():
        project.weight.copy_(leading)
        project.bias.copy_(-leading @ mean)
        unproject.weight.copy_(leading.T)
        unproject.bias.copy_(mean)


def last_layer(network: nn.Module) -> nn.Linear | nn.Conv2d:
    """The layer nearest to the output."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]


def perceptron(sizes: Sequence[int]) -> list[nn.Module]:
    """Linear layers between `sizes`, with BatchNorm and ReLU after all but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]


def mlp(seen: Shape, drawn: Shape, dim: int, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """A multilayer perceptron from the pixels seen to the latent, and one from there to the pixels drawn."""
    return (
        nn.Sequential(nn.Flatten(), *perceptron((math.prod(seen), *recipe.encoder, dim))),
        nn.Sequential(*perceptron((dim, *recipe.decoder, math.prod(drawn))), nn.Unflatten(1, drawn)),
    )


def conv(seen: Shape, drawn: Shape, dim: int, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """Two convolutions of stride 2 before the recipe's last layers, and resizing with convolutions after them.

    Resizing and convolving rather than a transposed convolution, which leaves a grid (Odena et al. 2016).
    """
    few, many = CHANNELS
    channels, *full = drawn
    half, quarter = ([math.ceil(length / scale) for length in full] for scale in (2, 4))
    innermost = (many, *(math.ceil(length / 4) for length in seen[1:]))
    outermost = (many, *quarter)
    return (
        nn.Sequential(
            *convolution(channels, few, stride=2),
            *convolution(few, many, stride=2),
            nn.Flatten(),
            *perceptron((math.prod(innermost), recipe.encoder[-1], dim)),
        ),
        nn.Sequential(
            *perceptron((dim, recipe.decoder[0], math.prod(outermost))),
            nn.Unflatten(1, outermost),
            nn.BatchNorm2d(many),
            nn.ReLU(inplace=True),
            Resize(half),
            *convolution(many, few),
            Resize(full),
            nn.Conv2d(few, channels, 3, padding=1),
        ),
    )


def convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """A 3 x 3 convolution, BatchNorm and ReLU."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


class Resize(nn.Module):
    """Nearest-neighbour resizing to a fixed height and width."""

    def __init__(self, size: Sequence[int]):
        super().__init__()
        self.size = tuple(size)

    def forward(self, images: Tensor) -> Tensor:
        return functional.interpolate(images, self.size)


ARCHITECTURES = {"mlp": mlp, "conv": conv}
