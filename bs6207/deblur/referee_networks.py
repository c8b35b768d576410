"""The networks of the referees: of another make than the restorers and disc_net, kin to nothing that they judge."""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 32  # of the maps at half resolution; twice as many at a quarter
HIDDEN = 32  # units between what a detector sees and its verdict
FORGOTTEN = 0.8  # share of the pooled maps dropped in training, or a few hundred images are learned by heart
FEATURES = 64  # numbers in which the classifier describes an image
PLACES = 4  # per side: how coarsely the classifier remembers what was where


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """3 x 3, with BatchNorm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two convolutions with BatchNorm, added to their input (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels), nn.ReLU(), convolution(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(maps + self.body(maps))


class Trunk(nn.Module):
    """Maps of an image at a quarter of its resolution, [N, 2 WIDTH, H / 4, W / 4], from images of any size."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),  # no pixel is lost, and a quarter of the places to convolve at
            convolution(4 * channels, WIDTH),
            nn.ReLU(),
            ResidualBlock(WIDTH),
            convolution(WIDTH, 2 * WIDTH, stride=2),
            nn.ReLU(),
            ResidualBlock(2 * WIDTH),
        )

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        even = functional.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        return self.layers(even.contiguous(memory_format=torch.channels_last))


class Detector(nn.Module):
    """Tells real images from others, by the image as a whole and by the one place that gives it away.

    Args:
        sees_levels: whether the darkest, the mean and the brightest pixel are laid before it as they are.
    """

    def __init__(self, channels: int, sees_levels: bool):
        super().__init__()
        self.trunk, self.sees_levels = Trunk(channels), sees_levels
        self.forget = nn.Dropout(FORGOTTEN)
        pooled = 4 * WIDTH + 3 * channels * sees_levels
        self.verdict = nn.Sequential(  # normed first: levels that differ by a hundredth would take long to be seen
            nn.BatchNorm1d(pooled), nn.Linear(pooled, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits of "not real" and "real", [N, 2]."""
        maps = self.trunk(images).float()
        pooled = [self.forget(torch.cat((maps.mean((2, 3)), maps.amax((2, 3))), dim=1))]
        if self.sees_levels:
            pooled += [images.amin((2, 3)), images.mean((2, 3)), images.amax((2, 3))]
        return self.verdict(torch.cat(pooled, dim=1))


class ClassNet(nn.Module):
    """Says what an image shows."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.describe = nn.Sequential(
            Trunk(channels),
            nn.AdaptiveAvgPool2d(PLACES),
            nn.Flatten(),
            nn.Linear(2 * WIDTH * PLACES**2, FEATURES),
            nn.ReLU(),
        )
        self.name = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, [N, classes]."""
        return self.name(self.describe(images))
