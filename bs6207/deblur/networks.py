"""The restorers, a residual U-Net and a plain autoencoder, and disc_net, the discriminator of clear against blurred."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from bs6207.training.devices import flush_denormals

WIDTH = 32  # channels at half resolution, where most of the work is done
FINE_BLOCKS, MERGE_BLOCKS = 1, 4  # there, before the coarse features are computed and after
COARSE_WIDTH, COARSE_BLOCKS = 64, 2  # at a quarter, where a convolution sees twice as far
STRIDE = 4  # what the two halvings divide the sides by
REACH = STRIDE + 4 * (1 + FINE_BLOCKS + MERGE_BLOCKS) + 8 * COARSE_BLOCKS  # pixels the U-Net sees around such a square
BOTTLENECK = 64  # dimensions between the autoencoder's halves

State: TypeAlias = Mapping[str, Tensor]  # the weights of a network by name


class Residual(nn.Module):
    """Adds the output of its layers to their input (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


def residual_blocks(channels: int, count: int) -> nn.Sequential:
    convolution = partial(nn.Conv2d, channels, channels, 3, padding=1)
    return nn.Sequential(*[Residual(convolution(), nn.ReLU(), convolution()) for _ in range(count)])


class UNet(nn.Module):
    """Predicts what the blur removed.

    Convolutional, so it takes images of any size. Space-to-depth and depth-to-space avoid full-resolution convolutions;
    upsampling is a resize and a convolution, because transposed convolutions leave a checkerboard (Odena et al. 2016,
    doi:10.23915/distill.00003). The last layer starts at zero, so training starts from the identity.
    """

    def __init__(self, channels: int = 1):
        super().__init__()
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, WIDTH, 3, padding=1))
        self.fine = residual_blocks(WIDTH, FINE_BLOCKS)
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * WIDTH, COARSE_WIDTH, 1))
        self.coarse = residual_blocks(COARSE_WIDTH, COARSE_BLOCKS)
        self.up = nn.Sequential(nn.Conv2d(COARSE_WIDTH, WIDTH, 1), nn.Upsample(scale_factor=2))
        self.merge = nn.Sequential(residual_blocks(WIDTH, MERGE_BLOCKS), nn.ReLU())
        last = nn.Conv2d(WIDTH, 4 * channels, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.leave = nn.Sequential(last, nn.PixelShuffle(2))

    def forward(self, blurred: Tensor) -> Tensor:
        """Restored images, [N, C, H, W], about [0, 1]; not clipped, so that gradients reach every pixel."""
        height, width = blurred.shape[-2:]
        padded = functional.pad(blurred, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        fine = self.fine(self.enter(padded))
        merged = self.merge(fine + self.up(self.coarse(self.down(fine))))
        return blurred + self.leave(merged)[..., :height, :width]


class ByHalves(nn.Module):
    """A network that this thread applies to one half of a batch, and another thread to the other.

    Halves they are on one core too, so that results do not depend on the number of cores. The network must treat each
    image by itself, which batch normalization does not.
    """

    def __init__(self, network: nn.Module, other: Executor):
        super().__init__()
        self.network, self.other = network, other

    def forward(self, images: Tensor) -> Tensor:
        if len(images) == 1:
            return self.network(images)
        return Halves.apply(self, images, *self.network.parameters())


class Halves(torch.autograd.Function):
    """The output of `ByHalves` for a batch, and the gradients of its weights."""

    @staticmethod
    def forward(ctx: Any, by: ByHalves, images: Tensor, *weights: Tensor) -> Tensor:
        kind = images.device.type
        precision, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)

        @torch.enable_grad()
        @flush_denormals()
        def output(half: Tensor) -> Tensor:
            # Without a cache of the weights in bfloat16, which threads would share.
            with torch.autocast(kind, precision, enabled, cache_enabled=False):
                return by.network(half)

        half, other_half = images.chunk(2)
        other = by.other.submit(output, other_half)
        ctx.outputs, ctx.weights, ctx.other = (output(half), other.result()), weights, by.other
        return torch.cat([one.detach() for one in ctx.outputs])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        @flush_denormals()
        def gradients(output: Tensor, part: Tensor) -> Sequence[Tensor]:
            return torch.autograd.grad(output, ctx.weights, part)

        one, other = ctx.outputs
        part, other_part = gradient.chunk(2)
        future = ctx.other.submit(gradients, other, other_part)
        both = zip(gradients(one, part), future.result(), strict=True)
        return None, None, *(here + there for here, there in both)


def normalized(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]  # without normalization L1 ends at a black image


class Autoencoder(nn.Module):
    """Restores images of one size only, through a bottleneck: it invents where the U-Net keeps the input."""

    def __init__(self, image_shape: tuple[int, int, int]):
        super().__init__()
        channels, *sides = image_shape
        places = [math.ceil(side / STRIDE) for side in sides]
        coarse = (2 * WIDTH, *places)
        self.sides = [STRIDE * place for place in places]
        self.encoder = nn.Sequential(
            *normalized(channels, WIDTH, stride=2),
            *normalized(WIDTH, 2 * WIDTH, stride=2),
            nn.Flatten(),
            nn.Linear(math.prod(coarse), BOTTLENECK),
        )
        self.decoder = nn.Sequential(
            nn.Linear(BOTTLENECK, math.prod(coarse)),
            nn.Unflatten(1, coarse),
            nn.BatchNorm2d(2 * WIDTH),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            *normalized(2 * WIDTH, WIDTH),
            nn.Conv2d(WIDTH, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Sigmoid(),
        )

    def forward(self, blurred: Tensor) -> Tensor:
        """Restored images, [N, C, H, W] in [0, 1]."""
        height, width = blurred.shape[-2:]
        padded = functional.pad(blurred, (0, self.sides[1] - width, 0, self.sides[0] - height), mode="replicate")
        return self.decoder(self.encoder(padded))[..., :height, :width].float()


class DiscNet(nn.Module):
    """Scores images of any size: above 0 for clear, below for blurred."""

    def __init__(self, channels: int = 1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(WIDTH, 2 * WIDTH, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * WIDTH, 1, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Scores, [N]: the mean over patches (Isola et al. 2017, arXiv:1611.07004)."""
        return self.layers(images).float().mean(dim=(1, 2, 3))


def new_restorer(arch: str, image_shape: tuple[int, int, int]) -> nn.Module:
    """An untrained restorer, `unet` or `autoencoder`, for images of the shape [C, H, W]."""
    return channels_last(UNet(image_shape[0]) if arch == "unet" else Autoencoder(image_shape))


def load_weights(network: nn.Module, state: State, device: torch.device) -> nn.Module:
    network.load_state_dict(state)
    return channels_last(network.to(device))


def channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster


def cpu_state(network: nn.Module) -> State:
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}
