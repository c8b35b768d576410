"""The autoencoder: a multilayer perceptron down to the latent and its mirror image back to the pixels."""

import math
from itertools import pairwise

from torch import Tensor, nn

DARK = -2.0  # bias of the last layer: sigmoid(-2) = 0.12, about the mean pixel of a digit, so no time is lost on it


class Autoencoder(nn.Module):
    """Encoder and decoder between images and latents of `dim` numbers.

    BatchNorm after every hidden layer is what keeps L1 from collapsing to the black image, its broad local minimum.

    Args:
        image_shape: channels, height, width.
        dim: numbers in a latent.
    """

    def __init__(self, image_shape: tuple[int, int, int], dim: int):
        super().__init__()
        pixels = math.prod(image_shape)
        hidden = hidden_sizes(dim)
        self.encoder = nn.Sequential(nn.Flatten(), *perceptron((pixels, *hidden, dim)))
        self.decoder = nn.Sequential(
            *perceptron((dim, *reversed(hidden), pixels)), nn.Sigmoid(), nn.Unflatten(1, image_shape)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        last = [layer for layer in self.decoder if isinstance(layer, nn.Linear)][-1]
        nn.init.constant_(last.bias, DARK)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions in (0, 1), of the shape of `images`, [N, C, H, W] in [0, 1]."""
        return self.decoder(self.encoder(images))


def hidden_sizes(dim: int) -> tuple[int, ...]:
    """Widths of the encoder's hidden layers: a narrow latent needs more folding on the way there."""
    return (512, 256, 256, 128) if dim < 8 else (512, 256)


def perceptron(sizes: tuple[int, ...]) -> list[nn.Module]:
    """Linear layers between `sizes`, with BatchNorm and ReLU after all but the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
    return [*layers, nn.Linear(sizes[-2], sizes[-1])]
