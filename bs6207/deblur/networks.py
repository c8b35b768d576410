"""The networks: the restorers, an estimator of blur kernels, and disc_net, the discriminator of clear against blurred.

Digits are restored by a residual U-Net, or an autoencoder, which sees all of them at once. A photograph is blurred by
one kernel all over, of which no part of it says as much as the whole. `KernelNet` estimates that kernel from the mean
periodogram of windows (Welch 1967, doi:10.1109/TAU.1967.1161901): a blur multiplies the spectrum by that of its kernel.
`BlindUNet` is a U-Net that sees, beside the blurred picture, what Wiener filters with that kernel add to it (as Dong et
al. 2020, arXiv:2103.09962, for known kernels).
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeAlias

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional

from bs6207.training.devices import flush_denormals

WIDTH = 32  # channels at half resolution, where most of the work is done
FINE_BLOCKS, MERGE_BLOCKS = 1, 4  # there, before the coarse features are computed and after
COARSE_WIDTH, COARSE_BLOCKS = 64, 2  # at a quarter, where a convolution sees twice as far
STRIDE = 4  # what the two halvings divide the sides by
REACH = STRIDE + 4 * (1 + FINE_BLOCKS + MERGE_BLOCKS) + 8 * COARSE_BLOCKS  # pixels the U-Net sees around such a square
BOTTLENECK = 64  # dimensions between the autoencoder's halves

# Of photographs:
WINDOW, SHIFT = 64, 32  # pixels a side of a periodogram, and from one to the next
SPECTRUM_FLOOR = 1e-4  # of a periodogram; that of noise of a standard deviation of 0.001 is 6e-4
KERNEL_RADIUS, KERNEL_WIDTH = 16, 256  # pixels, of the estimate: four sigmas of 4; units in each hidden layer
FOLDS = 4  # shares of the photographs, each kept from one estimator
LEAST_SPREAD = 0.1  # of a logarithm over images
BALANCES = (0.005, 0.03)  # of the Wiener filters between smoothness and the blurred picture, for little and much noise
OVERSHOOT = 0.5  # beyond [0, 1], at most; with a wrong kernel it is much, and a training ends in dead units
MARGIN = 48  # pixels around a crop that its kernel and its Wiener filters see

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

    def __init__(self, channels: int = 1, seen: int = 1):
        super().__init__()
        self.channels = channels
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels * seen, WIDTH, 3, padding=1))
        self.fine = residual_blocks(WIDTH, FINE_BLOCKS)
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * WIDTH, COARSE_WIDTH, 1))
        self.coarse = residual_blocks(COARSE_WIDTH, COARSE_BLOCKS)
        self.up = nn.Sequential(nn.Conv2d(COARSE_WIDTH, WIDTH, 1), nn.Upsample(scale_factor=2))
        self.merge = nn.Sequential(residual_blocks(WIDTH, MERGE_BLOCKS), nn.ReLU())
        last = nn.Conv2d(WIDTH, 4 * channels, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.leave = nn.Sequential(last, nn.PixelShuffle(2))

    def forward(self, inputs: Tensor) -> Tensor:
        """Restored images, [N, C, H, W], about [0, 1]; not clipped, so that gradients reach every pixel."""
        height, width = inputs.shape[-2:]
        padded = functional.pad(inputs, (0, -width % STRIDE, 0, -height % STRIDE), mode="replicate")
        fine = self.fine(self.enter(padded))
        merged = self.merge(fine + self.up(self.coarse(self.down(fine))))
        return inputs[:, : self.channels] + self.leave(merged)[..., :height, :width]


class KernelNet(nn.Module):
    """Estimates the kernel that blurred all of a photograph from its `log_periodograms`."""

    def __init__(self) -> None:
        super().__init__()
        shape, side = (1, WINDOW, WINDOW // 2 + 1), 2 * KERNEL_RADIUS + 1
        self.mean, self.std = nn.Buffer(torch.zeros(shape)), nn.Buffer(torch.ones(shape))
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), KERNEL_WIDTH),
            nn.ReLU(),
            nn.Linear(KERNEL_WIDTH, KERNEL_WIDTH),
            nn.ReLU(),
            nn.Linear(KERNEL_WIDTH, side**2),
            nn.LogSoftmax(1),
            nn.Unflatten(1, (1, side, side)),
        )

    def standardize(self, periodograms: Tensor) -> None:
        """Take the mean and the spread of every value of the input from examples of it."""
        self.mean.copy_(periodograms.mean(0))
        self.std.copy_(periodograms.std(0, correction=0) + LEAST_SPREAD)

    def forward(self, periodograms: Tensor) -> Tensor:
        """The logarithm of every tap of the kernels, [N, 1, k, k]."""
        return self.layers((periodograms - self.mean) / self.std)


def log_periodograms(images: Tensor) -> Tensor:
    """Of each image [N, C, H, W], the logarithm of the mean periodogram of windows all over it, [N, 1, 64, 33]."""
    rows, columns = (mirrored(max(side, WINDOW), side, images.device) for side in images.shape[-2:])
    planes = images.mean(1)[:, rows[:, None], columns]
    hann = torch.hann_window(WINDOW, device=images.device)
    tops = range(0, planes.shape[1] - WINDOW + 1, SHIFT)
    power = torch.zeros(len(planes), 1, WINDOW, WINDOW // 2 + 1, device=images.device)
    for top in tops:  # a strip at a time, as a picture may be large
        windows = planes[:, top : top + WINDOW].unfold(2, WINDOW, SHIFT).transpose(1, 2)
        windows = (windows - windows.mean((2, 3), keepdim=True)) * hann[:, None] * hann
        power += torch.fft.rfft2(windows).abs().square().mean(1, keepdim=True)
    return (power / len(tops) + SPECTRUM_FLOOR).log()


def wiener_filters(images: Tensor, kernels: Tensor) -> Tensor:
    """Images [N, C, H, W], deconvolved by their kernels [N, k, k] with all `BALANCES`, [N, C * balances, H, W].

    Smooth are images of small slopes. Beyond the border lies the mirror image.
    """
    height, width = images.shape[-2:]
    edge = kernels.shape[-1] // 2
    sides = [next_fast_len(side + 4 * edge, real=True) for side in (height, width)]
    rows, columns = (
        mirrored(long, side, images.device, 2 * edge) for long, side in zip(sides, (height, width), strict=True)
    )
    placed = kernels.new_zeros(len(kernels), *sides)
    placed[:, : 2 * edge + 1, : 2 * edge + 1] = kernels
    kernel = torch.fft.rfft2(placed.roll((-edge, -edge), (1, 2)))[:, None]
    slopes = [
        2 - 2 * (2 * math.pi * frequencies(side, device=images.device)).cos()
        for side, frequencies in zip(sides, (torch.fft.fftfreq, torch.fft.rfftfreq), strict=True)
    ]
    spectrum = torch.fft.rfft2(images[..., rows[:, None], columns]) * kernel.conj()
    power, roughness = kernel.abs().square(), slopes[0][:, None] + slopes[1]
    filtered = [torch.fft.irfft2(spectrum / (power + balance * roughness), s=sides) for balance in BALANCES]
    inner = slice(2 * edge, 2 * edge + height), slice(2 * edge, 2 * edge + width)
    return torch.cat([image[..., *inner] for image in filtered], 1).clamp(-OVERSHOOT, 1 + OVERSHOOT)


def mirrored(length: int, side: int, device: torch.device, before: int = 0) -> Tensor:
    """Places along an axis of `side` pixels that goes on as its mirror image, from so many before it, [length]."""
    places = (torch.arange(length, device=device) - before) % (2 * side)
    return torch.minimum(places, 2 * side - 1 - places)


class BlindUNet(UNet):
    """A U-Net for photographs, with estimators of their kernels, which are trained before and then stay.

    Each estimator has seen all photographs of the training but its own share. From the estimates for that share the
    U-Net learns how far those for a new picture, the mean of all, are to be believed (cross-fitting).
    """

    def __init__(self, channels: int = 1):
        super().__init__(channels, seen=1 + len(BALANCES))
        self.kernel_nets = nn.ModuleList(KernelNet() for _ in range(FOLDS)).requires_grad_(False)

    @torch.no_grad()
    def kernels(self, blurred: Tensor) -> Tensor:
        """The kernel of each image [N, C, H, W], the same for all channels, by each estimator, [FOLDS, N, k, k]."""
        periodograms = log_periodograms(blurred)
        return torch.cat([kernel_net(periodograms) for kernel_net in self.kernel_nets], 1).exp().transpose(0, 1)

    @torch.no_grad()
    def inputs(self, blurred: Tensor, kernels: Tensor) -> Tensor:
        """Photographs [N, C, H, W] and what Wiener filters with kernels [N, k, k] add, [N, C * (1 + balances), H, W].

        The filtered photographs themselves would be three times the same grey, which drives units of the first layer
        to where they are dead.
        """
        one_by_one = zip(blurred.split(1), kernels.split(1), strict=True)  # as they may be large
        added = [wiener_filters(*pair) - torch.cat([pair[0]] * len(BALANCES), 1) for pair in one_by_one]
        return torch.cat([blurred, torch.cat(added)], 1)


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
        trained = (weight for weight in self.network.parameters() if weight.requires_grad)
        return Halves.apply(self, images, *trained)


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


def new_restorer(arch: str, image_shape: tuple[int, int, int], is_blind: bool = False) -> nn.Module:
    """An untrained restorer, `unet`, for photographs a blind one, or `autoencoder`, for images of the shape [C, H, W].

    See `inputs_of` for what it takes.
    """
    unet = BlindUNet if is_blind else UNet
    return channels_last(unet(image_shape[0]) if arch == "unet" else Autoencoder(image_shape))


def inputs_of(network: nn.Module, blurred: Tensor) -> Tensor:
    """What a restorer takes of blurred images, [N, C, H, W]: them, and if it is blind their Wiener filters."""
    return network.inputs(blurred, network.kernels(blurred).mean(0)) if isinstance(network, BlindUNet) else blurred


def load_weights(network: nn.Module, state: State, device: torch.device) -> nn.Module:
    network.load_state_dict(state)
    return channels_last(network.to(device))


def channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster


def cpu_state(network: nn.Module) -> State:
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}
