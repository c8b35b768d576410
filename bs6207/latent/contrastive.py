"""Clusters from latents and images together, without labels: communities, neighbours, contrast, mutual information.

An autoencoder's latents, or descriptors of the images, show which images are near each other but not which differences
matter. Four steps add that:

1. Communities of the graph of nearest neighbours (Blondel et al. 2008, arXiv:0803.0476), of latents or of descriptors:
   those on which random halves of the images agree better are the first clusters.
2. Neighbours: images among each other's ten nearest there mostly show the same class (SCAN: Van Gansbeke et al. 2020,
   arXiv:2005.12320; mutual: Dang et al. 2021, "Nearest Neighbor Matching for Deep Clustering"). A small convolutional
   network learns features that are more alike for a distorted image and its distorted neighbour than for any other two
   images (InfoNCE: van den Oord et al. 2018, arXiv:1807.03748; Chen et al. 2020, arXiv:2002.05709).
3. Mutual information: network and prototypes, at first the centres of the first clusters, learn an assignment that is
   invariant to distortion while all clusters stay in use (IIC: Ji et al. 2019, arXiv:1807.06653; IMSAT: Hu et al. 2017,
   arXiv:1702.08720).
4. An assignment that leaves most images in their first clusters refines these; one that does not is no refinement, and
   the first clusters stay.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from bs6207.latent.graph import (
    SIDE,
    STABLE,
    CommunityClusterer,
    Labels,
    centres,
    descriptors,
    features_of,
    mutual_neighbours,
    resized,
)
from bs6207.training.batches import batch_indices
from bs6207.training.devices import flush_denormals, multiplies_in_bfloat16, prepare, preserve_torch_state
from bs6207.training.metrics.clusters import adjusted_rand_index

# The largest distortions, none large enough to make a 6 of a 5.
ROTATION, SCALE, SHEAR, SHIFT = 0.15, 0.12, 0.12, 0.1  # radians, shares, shares, half image sides
BEND, BEND_KNOTS = 0.06, 5  # standard deviation, in half image sides, at knots per side of the image
THICKEN = 0.6  # share of the way to the brightest, or darkest, of 2 x 2 pixels
PATCH_SIDES = (0.1, 0.5)  # of the image's; long and thin ones hide one stroke and leave the rest
PASTE = 0.7  # share of the patches that show another image instead of black


def distort(images: Tensor, random: torch.Generator) -> Tensor:
    """Rotate, scale, shear, shift, bend and thicken or thin images in [0, 1], each by a random amount of its own."""
    size = len(images)

    def within(*shape: int) -> Tensor:
        return torch.rand(size, *shape, generator=random) * 2 - 1

    angle, shear, scale = ROTATION * within(), SHEAR * within(), 1 + SCALE * within(2)
    rows = (angle.cos(), shear * angle.cos() - angle.sin(), angle.sin(), shear * angle.sin() + angle.cos())
    matrix = scale[:, :, None] * torch.stack(rows, 1).view(size, 2, 2)
    centres = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1  # of the pixels, between the borders at -1 and 1
    points = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).view(-1, 2)
    knots = torch.linspace(-1, 1, BEND_KNOTS)
    weights = (1 - (centres[:, None] - knots).abs() * (BEND_KNOTS - 1) / 2).clamp_min(0)  # linear between knots
    bend = weights @ (BEND * torch.randn(size, 2, BEND_KNOTS, BEND_KNOTS, generator=random)) @ weights.T
    grid = (points @ matrix.mT + SHIFT * within(1, 2)).view(size, SIDE, SIDE, 2) + bend.permute(0, 2, 3, 1)
    images = functional.grid_sample(images, grid, align_corners=False)

    wide, thin = images, images  # the extremes of 2 x 2 pixels; shifting is six times as fast as pooling
    for axis in (2, 3):
        wide = torch.maximum(wide, wide.roll(1, axis))
        thin = torch.minimum(thin, thin.roll(1, axis))
    amount = (THICKEN * within()).view(-1, 1, 1, 1)
    return images + amount.clamp_min(0) * (wide - images) + (-amount).clamp_min(0) * (thin - images)


def occlude(images: Tensor, patches: int, chance: float, random: torch.Generator) -> Tensor:
    """Replace up to `patches` rectangles of every image, each with that chance, by black or another image.

    Zhong et al. 2017 (arXiv:1708.04896) and Yun et al. 2019 (arXiv:1905.04899).
    """
    size, others, pixels = len(images), images.roll(1, 0), torch.arange(SIDE)
    for _ in range(patches):
        low, high = PATCH_SIDES
        sides = SIDE * (low + (high - low) * torch.rand(size, 2, generator=random))
        sides *= torch.rand(size, 1, generator=random) < chance
        across, down = (pixels - SIDE * torch.rand(2, size, 1, generator=random)).abs() < sides.T[:, :, None] / 2
        hidden = down[:, None, :, None] & across[:, None, None, :]
        pasted = torch.rand(size, 1, 1, 1, generator=random) < PASTE
        images = torch.where(hidden, others * pasted, images)
    return images


NEIGHBOUR_IMAGES = 20_000  # images with neighbours; the search takes time by the square
NEIGHBOURS = 10
WIDTHS, FEATURES = (32, 64, 64), 64  # what one core trains in half a minute
PAIRS, CONTRAST_STEPS, CONTRAST_LR = 384, 300, 2e-3
TEMPERATURE = 0.5  # of the contrast; as high as this, classes attract and not single images
CONTRAST_PATCHES, CONTRAST_PATCH_CHANCE = 3, 0.8
BATCH, ASSIGNMENT_STEPS, ASSIGNMENT_LR = 192, 600, 5e-3
SHARPNESS = 10.0  # factor from cosines to logits; at 5 assignments stay so soft that digits merge
ASSIGNMENT_PATCHES, ASSIGNMENT_PATCH_CHANCE = 2, 0.6
CONFIDENT = 0.9  # a cluster at least this probable is the target of the distorted image (FixMatch: Sohn et al. 2020)
MOST_PASSES = 20  # over the images in either training, so that few images take less time
WARM_UP, WEIGHT_DECAY = 0.1, 1e-4  # share of the steps in which the learning rate rises; it then falls as a cosine
PARTITIONS = 5  # so that a bad one neither becomes the medoid nor lowers the median
CONFIRMED = 0.85  # agreement of the first clusters and the network's; 0.96 on digits, 0.66 to 0.77 on fashion-mnist

Loss = Callable[[Tensor, Tensor, float], Tensor]  # of all pixels, the places in them, and the share of steps done


class Agreed(NamedTuple):
    """Communities of half of the points, the clusters of all, [N], and how well other halves agree on them."""

    communities: CommunityClusterer
    clusters: Labels
    agreement: float


def most_agreed(points: NDArray[np.float32], count: int, seed: int) -> Agreed:
    """Of the communities of random halves of points, [N, dim], those that are most like the others."""
    size, clusterers = max(count, len(points) // 2), []
    for number in range(PARTITIONS):
        half = np.random.RandomState([seed, number]).permutation(len(points))[:size]
        clusterers.append(CommunityClusterer(count, seed).fit(points[half]))
    partitions = [clusterer.predict(points) for clusterer in clusterers]
    scores = np.array([[adjusted_rand_index(one, other) for other in partitions] for one in partitions])
    medoid = int(scores.sum(0).argmax())
    return Agreed(clusterers[medoid], partitions[medoid], float(np.median(np.delete(scores[medoid], medoid))))


@dataclass
class ContrastiveClusterer:
    """Clusters of images, from an autoencoder's latents and the images themselves.

    Attributes:
        stability: after `fit`, {"agreement": median adjusted Rand index between the first clusters and those of other
            halves, at most 1; "trusted": whether that is at least `STABLE` or, where the network confirms the first
            clusters, `CONFIRMED`, and no cluster is empty}.
    """

    count: int  # of clusters, 2 or more
    seed: int  # of every random number; equal seeds give equal clusters on one machine
    contrast_steps: int = CONTRAST_STEPS  # at most; fewer where images are few
    assignment_steps: int = ASSIGNMENT_STEPS
    report: Callable[[str], None] = lambda text: None  # called with what is being done
    stability: dict[str, float | bool] = field(default_factory=dict)

    @preserve_torch_state()
    def fit(self, latents: NDArray[np.float32], images: NDArray[np.uint8]) -> "ContrastiveClusterer":
        """Find clusters of images, [N, C, H, W]; of the latents, [N, d], only distances between them matter."""
        if len(latents) != len(images):
            raise ValueError(f"{len(latents)} latents of {len(images)} images")
        prepare(self.seed)
        self.random = torch.Generator().manual_seed(self.seed)
        pixels = resized(images)
        chosen = torch.randperm(len(pixels), generator=self.random)[:NEIGHBOUR_IMAGES]
        some = images[chosen.numpy()]

        self.report("communities")
        spaces = {"latents": latents[chosen.numpy()], "descriptors": descriptors(some)}
        candidates = {name: most_agreed(points, self.count, self.seed) for name, points in spaces.items()}
        self.space = max(candidates, key=lambda name: candidates[name].agreement)
        self.communities, first, agreement = candidates[self.space]
        points = features_of(spaces[self.space], self.communities.components)

        self.network = build_network(pixels.shape[1])
        contrast = partial(self.contrast_loss, mutual_neighbours(points, NEIGHBOURS))
        weights = [*self.network.parameters()]
        self.train("contrast", contrast, weights, pixels[chosen], PAIRS, self.contrast_steps, CONTRAST_LR)
        self.prototypes = nn.Parameter(centres(self.features_of(pixels[chosen]), first, self.count))
        weights.append(self.prototypes)
        self.train("assignment", self.assignment_loss, weights, pixels, BATCH, self.assignment_steps, ASSIGNMENT_LR)

        self.refines = adjusted_rand_index(first, self.assigned(some)) >= CONFIRMED
        full = len(np.unique(first)) == self.count  # equal images agree on one cluster
        trusted = full and agreement >= (CONFIRMED if self.refines else STABLE)
        self.stability = {"agreement": agreement, "trusted": trusted}
        return self

    def predict(self, latents: NDArray[np.float32], images: NDArray[np.uint8]) -> Labels:
        """The cluster of every image, [N], 0 to count - 1."""
        if self.refines:
            return self.assigned(images)
        return self.communities.predict(latents if self.space == "latents" else descriptors(images))

    @torch.no_grad()
    def assigned(self, images: NDArray[np.uint8]) -> Labels:
        """What the network makes of images, [N]."""
        return self.cosines(self.features_of(resized(images))).argmax(1).numpy()

    @flush_denormals()
    def train(
        self, name: str, loss_of: Loss, weights: list[nn.Parameter], pixels: Tensor, batch: int, steps: int, lr: float
    ) -> None:
        optimizer = torch.optim.AdamW(weights, weight_decay=WEIGHT_DECAY)
        self.network.train()
        steps = min(steps, MOST_PASSES * math.ceil(len(pixels) / batch))
        for step, chosen in enumerate(batch_indices(len(pixels), batch, steps, self.random)):
            done = step / steps
            warm_up, decay = min(1.0, (done + 1e-3) / WARM_UP), 1 + math.cos(math.pi * done)
            optimizer.param_groups[0]["lr"] = lr * warm_up * decay / 2
            loss = loss_of(pixels, chosen, done)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            self.report(f"{name}, {done:.0%}")

    def contrast_loss(self, neighbours: csr_matrix, pixels: Tensor, images: Tensor, done: float) -> Tensor:
        """Recognise the distorted neighbour of a distorted image; one without neighbours is paired with itself."""
        starts = torch.from_numpy(neighbours.indptr).long()
        ends = torch.from_numpy(np.append(neighbours.indices, 0)).long()
        counts = starts.diff()[images]
        pick = (torch.rand(len(images), generator=self.random) * (counts + 1)).long()  # the last is the image itself
        partners = torch.where(pick < counts, ends[(starts[images] + pick).clamp_max(len(ends) - 1)], images)
        views = distort(pixels[torch.cat([images, partners])] / 255, self.random)
        features = self.encode(occlude(views, CONTRAST_PATCHES, CONTRAST_PATCH_CHANCE, self.random))
        logits = (features @ features.T / TEMPERATURE).fill_diagonal_(-math.inf)
        return functional.cross_entropy(logits, torch.arange(len(features)).roll(len(images)))

    def assignment_loss(self, pixels: Tensor, chosen: Tensor, done: float) -> Tensor:
        """The negative mutual information of an image's and its distortion's cluster, with all clusters in use.

        Occlusion fades out over the second half of the training, so that it ends on images as they are predicted.
        """
        images = pixels[chosen] / 255
        chance = ASSIGNMENT_PATCH_CHANCE * min(1.0, 2 - 2 * done)
        distorted = occlude(distort(images, self.random), ASSIGNMENT_PATCHES, chance, self.random)
        features = self.encode(torch.cat([images, distorted]))
        log_plain, log_distorted = (SHARPNESS * self.cosines(features)).log_softmax(1).chunk(2)
        confidence, targets = log_plain.detach().exp().max(1)
        pseudo_label_loss = functional.nll_loss(log_distorted, targets, reduction="none") * (confidence > CONFIDENT)
        usage = (log_plain.exp().mean(0) + log_distorted.exp().mean(0)) / 2
        information = mutual_information(log_plain.exp(), log_distorted.exp())
        return pseudo_label_loss.mean() - information - entropy(usage)

    def encode(self, images: Tensor) -> Tensor:
        """Normalized features, [N, FEATURES]; computed in bfloat16 where the processor has it, twice as fast."""
        with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_in_bfloat16(images.device.type)):
            features = self.network(images.contiguous(memory_format=torch.channels_last))
        return functional.normalize(features.float())

    @torch.no_grad()
    def features_of(self, pixels: Tensor) -> Tensor:
        self.network.eval()
        return torch.cat([self.encode(batch / 255) for batch in pixels.split(1000)])

    def cosines(self, features: Tensor) -> Tensor:
        """Cosines between normalized features and prototypes, [N, count]."""
        return features @ functional.normalize(self.prototypes).T


class FlattenChannelsLast(nn.Module):
    """[N, C, H, W] to [N, H W C]; without a copy, forwards and backwards, where channels lie last in memory."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).flatten(1)


def build_network(channels: int) -> nn.Module:
    """From images [N, channels, SIDE, SIDE] in [0, 1] to features [N, FEATURES]."""
    first, second, third = WIDTHS
    layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
    for inputs, outputs, stride in ((4 * channels, first, 1), (first, second, 2), (second, third, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    layers += [FlattenChannelsLast(), nn.Linear(third * (SIDE // 4) ** 2, FEATURES)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def entropy(probabilities: Tensor) -> Tensor:
    """In nats, of probabilities of any shape that sum to 1."""
    return -(probabilities * probabilities.clamp_min(1e-6).log()).sum()


def mutual_information(one: Tensor, other: Tensor) -> Tensor:
    """Mutual information of two assignments of the same images, in nats, 0 to log(count) (Ji et al. 2019, equation 3).

    Args:
        one, other: probabilities of every cluster, [N, count].
    """
    joint = one.T @ other / len(one)
    joint = (joint + joint.T) / 2
    return 2 * entropy(joint.sum(0)) - entropy(joint)
