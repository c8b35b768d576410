"""The autoencoder: images down to a latent of `dim` numbers, and back; its shape follows from `dim`.

A narrow latent is reached by folding the plane of pixels many times: a deep encoder and its mirror image, with no way
around. A wide one is nearly linear already: principal components carry the image, and two perceptrons, which start at
zero, learn what the components miss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from bs6207.latent.components import Components

WIDE, WIDE_FOR_FEW = 48, 24  # numbers from which the linear path does better, for many images and for
FEW = 20_000  # fewer than this: what components know need not be learned
# With so few numbers much stays unknown, and pure L1 makes it black: at 2, this end costs 0.7 % of L1 and saves 4 % of
# the squared error.
FEWEST, BLACKENING = 4, 0.05
DARK = -2.0  # bias of the last layer: sigmoid(-2) = 0.12, about the mean pixel of a digit, so no time is lost on it
CHANNELS = (32, 64)  # of the convolutions, at a half and a quarter of the image's height and width

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Recipe:
    """What a latent of some size is best trained with; chosen by validation L1 on MNIST, see the README.

    Attributes:
        encoder, decoder: widths of the hidden layers.
        linear: whether principal components run beside them.
        lr: the peak learning rate.
        batch_size: images per step.
        smooth: errors below this count squared at the start of the training, and below `smooth_end` at its end.
    """

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    linear: bool
    lr: float
    batch_size: int
    smooth: float
    smooth_end: float = 0.0

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
        inwards, outwards = ARCHITECTURES[arch](image_shape, dim, recipe)
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
            self.encoder = inwards
            self.decoder = nn.Sequential(outwards, nn.Sigmoid())

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


def mlp(image_shape: Shape, dim: int, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """A multilayer perceptron from the pixels to the latent, and one back."""
    pixels = math.prod(image_shape)
    return (
        nn.Sequential(nn.Flatten(), *perceptron((pixels, *recipe.encoder, dim))),
        nn.Sequential(*perceptron((dim, *recipe.decoder, pixels)), nn.Unflatten(1, image_shape)),
    )


def conv(image_shape: Shape, dim: int, recipe: Recipe) -> tuple[nn.Module, nn.Module]:
    """Two convolutions of stride 2 before the recipe's last layers, and resizing with convolutions after them.

    Resizing and convolving rather than a transposed convolution, which leaves a grid (Odena et al. 2016).
    """
    channels, *full = image_shape
    half, quarter = ([math.ceil(length / scale) for length in full] for scale in (2, 4))
    few, many = CHANNELS
    seen = (many, *quarter)
    return (
        nn.Sequential(
            *convolution(channels, few, stride=2),
            *convolution(few, many, stride=2),
            nn.Flatten(),
            *perceptron((math.prod(seen), recipe.encoder[-1], dim)),
        ),
        nn.Sequential(
            *perceptron((dim, recipe.decoder[0], math.prod(seen))),
            nn.Unflatten(1, seen),
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
