"""The restorer, a residual U-Net, and disc_net, which tells clear images from blurred ones.

Both are convolutional throughout, so they take images of any size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 32  # channels at half resolution; twice as many at a quarter
STRIDE = 4  # what the two halvings divide the sides by


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape, [N, channels, H, W]."""
        return features + self.body(features)


class UNet(nn.Module):
    """Blurred image in, restored image out: the network predicts what the blur took away.

    Space-to-depth at the entry and depth-to-space at the exit keep full-resolution convolutions out; going up is a
    resize and a convolution, because transposed convolutions leave a checkerboard (Odena et al. 2016,
    doi:10.23915/distill.00003). The last layer starts at zero, so training starts from "do nothing".
    """

    def __init__(self, channels: int = 1, width: int = WIDTH):
        super().__init__()
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1))
        self.fine = ResidualBlock(width)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.coarse = ResidualBlock(2 * width)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, 3, padding=1))
        self.merge = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), ResidualBlock(width), nn.ReLU())
        last = nn.Conv2d(width, 4 * channels, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.leave = nn.Sequential(last, nn.PixelShuffle(2))

    def forward(self, blurred: Tensor) -> Tensor:
        """Restored images, [N, C, H, W], about [0, 1]; not clipped, so that gradients reach every pixel."""
        height, width = blurred.shape[-2:]
        padded = functional.pad(blurred, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        fine = self.fine(self.enter(padded))
        coarse = self.coarse(functional.relu(self.down(fine)))
        merged = self.merge(torch.cat((fine, self.up(coarse)), dim=1))
        return blurred + self.leave(merged)[..., :height, :width]


class DiscNet(nn.Module):
    """Scores whether an image is clear: a logit, above 0 for clear, below for blurred."""

    def __init__(self, channels: int = 1, width: int = WIDTH):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits, [N]: the mean over patches (Isola et al. 2017, arXiv:1611.07004)."""
        return self.layers(images).mean(dim=(1, 2, 3))


ARCHITECTURES: dict[str, type[nn.Module]] = {"unet": UNet}  # built with the number of channels
