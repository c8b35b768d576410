"""What may happen to an image without changing what it shows."""

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 28  # pixels; images of other sizes are resized, since every length below was measured at this one

# How far a distortion may go, none of it as far as to make a 6 of a 5.
TURN, SCALE, SHEAR, SHIFT = 0.15, 0.12, 0.12, 0.1  # radians, shares, shares, half image sides
BEND, BEND_KNOTS = 0.06, 5  # standard deviation, in half image sides, at knots per side of the image
THICKEN = 0.6  # share of the way to the brightest, or darkest, of 2 x 2 pixels
PATCH_SIDES = (0.1, 0.5)  # of the image's; long and thin ones hide one stroke and leave the rest
PASTE = 0.7  # share of the patches that show another image instead of nothing: an extra stroke must not matter


def distort(images: Tensor, random: torch.Generator) -> Tensor:
    """Every image turned, scaled, sheared, shifted, bent and thickened or thinned by its own random amount.

    Args:
        images: [N, C, SIDE, SIDE] in [0, 1].
    """
    size = len(images)

    def within(*shape: int) -> Tensor:
        return torch.rand(size, *shape, generator=random) * 2 - 1

    angle, shear, scale = TURN * within(), SHEAR * within(), 1 + SCALE * within(2)
    rows = (angle.cos(), shear * angle.cos() - angle.sin(), angle.sin(), shear * angle.sin() + angle.cos())
    matrix = scale[:, :, None] * torch.stack(rows, 1).view(size, 2, 2)
    middles = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1  # of the pixels, between the borders at -1 and 1
    places = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), -1).view(-1, 2)
    knots = torch.linspace(-1, 1, BEND_KNOTS)
    spread = (1 - (middles[:, None] - knots).abs() * (BEND_KNOTS - 1) / 2).clamp_min(0)  # linear between knots
    bend = spread @ (BEND * torch.randn(size, 2, BEND_KNOTS, BEND_KNOTS, generator=random)) @ spread.T
    grid = (places @ matrix.mT + SHIFT * within(1, 2)).view(size, SIDE, SIDE, 2) + bend.permute(0, 2, 3, 1)
    images = functional.grid_sample(images, grid, align_corners=False)

    wide, thin = images, images  # the extremes of 2 x 2 pixels; shifting is six times as fast as pooling
    for axis in (2, 3):
        wide = torch.maximum(wide, wide.roll(1, axis))
        thin = torch.minimum(thin, thin.roll(1, axis))
    amount = (THICKEN * within()).view(-1, 1, 1, 1)
    return images + amount.clamp_min(0) * (wide - images) + (-amount).clamp_min(0) * (thin - images)


def occlude(images: Tensor, patches: int, chance: float, random: torch.Generator) -> Tensor:
    """Hide up to `patches` rectangles of every image, each with that chance, behind nothing or another image.

    Zhong et al. 2017 (arXiv:1708.04896) and Yun et al. 2019 (arXiv:1905.04899).
    """
    size, others, place = len(images), images.roll(1, 0), torch.arange(SIDE)
    for _ in range(patches):
        low, high = PATCH_SIDES
        sides = SIDE * (low + (high - low) * torch.rand(size, 2, generator=random))
        sides *= torch.rand(size, 1, generator=random) < chance
        across, down = (place - SIDE * torch.rand(2, size, 1, generator=random)).abs() < sides.T[:, :, None] / 2
        hidden = down[:, None, :, None] & across[:, None, None, :]
        pasted = torch.rand(size, 1, 1, 1, generator=random) < PASTE
        images = torch.where(hidden, others * pasted, images)
    return images
