"""Clusters from latents and images together: neighbours, contrast, communities, mutual information. No label is seen.

An autoencoder's latents know which images are near each other but not which differences matter. Four steps add that:

1. Neighbours: images that are among each other's ten nearest in the latent mostly show the same thing (SCAN: Van
   Gansbeke et al. 2020, arXiv:2005.12320; mutual: Dang et al. 2021, "Nearest Neighbor Matching for Deep Clustering").
2. Contrast: a small convolutional network learns to give an image and its distorted neighbour features that are more
   alike than those of any other two images (InfoNCE: van den Oord et al. 2018, arXiv:1807.03748; Chen et al. 2020,
   arXiv:2002.05709).
3. Communities of the graph of nearest features (Blondel et al. 2008, arXiv:0803.0476) are the first clusters. Found
   on several subsets of the images, they also say how far clusters can be believed.
4. Mutual information: the network learns to name all images so that the name survives distortion while all names stay
   in use (IIC: Ji et al. 2019, arXiv:1807.06653; IMSAT: Hu et al. 2017, arXiv:1702.08720).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn
from torch.nn import functional

from bs6207.latent.clusterers import stopping_early_is_fine
from bs6207.training.batches import batch_indices
from bs6207.training.devices import flush_denormals, multiplies_in_bfloat16, prepare, preserve_torch_state
from bs6207.training.metrics.clusters import many_classes_are_fine

SIDE = 28  # pixels; images of other sizes are resized, since every length below was measured at this one
# How far a distortion may go, none of it as far as to make a 6 of a 5.
LOCK, SCALE, SHEAR, SHIFT = 0.15, 0.12, 0.12, 0.1  # radians, shares, shares, half image sides
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

    angle, shear, scale = LOCK * within(), SHEAR * within(), 1 + SCALE * within(2)
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


NEIGHBOURS = 15  # in the graph of features, before it is made symmetric
SMALLEST = 0.1  # of the mean size; a community below it is an outlier, not a cluster
RESOLUTIONS, BISECTIONS = (0.01, 100.0), 20
CRUMBS = 10  # communities per wanted cluster; with more, the resolution is too fine, however small they are


def nearest(points: Tensor, among: Tensor, count: int) -> Tensor:
    """Places in `among` of the nearest to every point, nearest first, [N, count]."""
    lengths = among.square().sum(1)
    return torch.cat([(lengths - 2 * part @ among.T).topk(count, largest=False).indices for part in points.split(1000)])


def neighbour_graph(points: Tensor, count: int) -> csr_matrix:
    """1 from every point to each of its nearest, 0 elsewhere, [N, N]."""
    size, count = len(points), min(count, len(points) - 1)
    near = nearest(points, points, count + 1).numpy()
    strangers = near != np.arange(size)[:, None]
    strangers[strangers.all(1), -1] = False  # among many equal points it may not be its own nearest
    ends = np.arange(0, size * count + 1, count)
    return csr_matrix((np.ones(size * count, np.float32), near[strangers], ends), (size, size))


def mutual_neighbours(points: Tensor, count: int) -> csr_matrix:
    """1 between points that are among each other's `count` nearest, 0 elsewhere, [N, N]."""
    graph = neighbour_graph(points, count)
    return graph.multiply(graph.T).tocsr()


def communities(features: Tensor, count: int, seed: int) -> NDArray[np.int64]:
    """Exactly `count` communities of the graph of nearest features, [N].

    The resolution of the modularity is bisected until so many are large enough to be clusters; outliers, and what is
    still too many, are merged into the nearest, smallest first. Where no resolution gives enough, K-means does.
    """
    from sknetwork.clustering import Louvain

    graph = neighbour_graph(features, NEIGHBOURS)
    graph = (graph + graph.T).tocsr()
    best, fewest = None, len(features) + 1
    low, high = RESOLUTIONS
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        found = Louvain(middle, shuffle_nodes=True, random_state=seed).fit_predict(graph)
        sizes = np.bincount(found)
        clusters = int((sizes >= SMALLEST * len(features) / count).sum())
        if count <= clusters < fewest:
            best, fewest = found, clusters
        if clusters == count:
            break
        if clusters > count or len(sizes) > CRUMBS * count:
            high = middle
        else:
            low = middle
    if best is None:
        with stopping_early_is_fine():
            return KMeans(count, n_init=1, random_state=seed).fit_predict(features.numpy()).astype(np.int64)
    return merge(features, best, count)


def merge(features: Tensor, clusters: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Clusters 0 to count - 1, after giving the smallest to the one with the most similar centre, again and again."""
    clusters = np.unique(clusters, return_inverse=True)[1]
    while (number := int(clusters.max()) + 1) > count:
        centre = centres(features, clusters, number)
        smallest = int(np.bincount(clusters).argmin())
        alike = centre @ centre[smallest]
        alike[smallest] = -math.inf
        clusters[clusters == smallest] = int(alike.argmax())
        clusters = np.unique(clusters, return_inverse=True)[1]
    return clusters


def centres(features: Tensor, clusters: NDArray[np.int64], count: int) -> Tensor:
    """The direction of every cluster's mean, of length 1, [count, FEATURES]."""
    members = functional.one_hot(torch.from_numpy(clusters), count).float()
    return functional.normalize(members.T @ features)


LEARN_FROM = 20_000  # images with neighbours; searching more costs time by the square
LATENT_NEIGHBOURS = 10
WIDTHS, FEATURES = (32, 64, 64), 64  # what one core trains in half a minute
PAIRS, CONTRAST_STEPS, CONTRAST_RATE = 384, 300, 2e-3
TEMPERATURE = 0.5  # of the contrast; as high as this, classes attract and not single images
CONTRAST_PATCHES, CONTRAST_PATCH_CHANCE = 3, 0.8
BATCH, NAMING_STEPS, NAMING_RATE = 192, 600, 5e-3
SHARPNESS = 10.0  # cosines between -1 and 1 become log odds; at 5 names stay so soft that digits merge
NAMING_PATCHES, NAMING_PATCH_CHANCE = 2, 0.6
SURE = 0.9  # a name at least this probable is taught to the distorted image (Sohn et al. 2020, arXiv:2001.07685)
MOST_PASSES = 20  # over the images in either training, so that few images take less time
WARM_UP, WEIGHT_DECAY = 0.1, 1e-4  # share of the steps in which the learning rate rises; it then falls as a cosine
PARTITIONS, PARTITION_IMAGES = 5, 8000  # with five, one that went wrong neither becomes the medoid nor costs trust
TRUSTED = 0.85  # agreement is 0.9 and more on digits, 0.7 to 0.77 on fashion-mnist, 0.1 on noise
Report = Callable[[str], None]


class ContrastiveClusters:
    """Clusters of images, from an autoencoder's latents and the images themselves.

    Args:
        count: clusters, 2 or more.
        seed: of every random number; equal seeds give equal clusters on one machine.
        contrast_steps, naming_steps: of the two trainings, at most; fewer where images are few.
        report: is told what is being done.

    Attributes:
        trust: after `fit`, {"agreement": adjusted Rand index between the first clusters and those found on other
            subsets, their median, 1 where they are the same; "trusted": whether that is at least `TRUSTED`, and no
            cluster is empty}.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        contrast_steps: int = CONTRAST_STEPS,
        naming_steps: int = NAMING_STEPS,
        report: Report = lambda text: None,
    ):
        self.count, self.seed = count, seed
        self.contrast_steps, self.naming_steps = contrast_steps, naming_steps
        self.report = report
        self.trust: dict[str, float | bool] = {}

    @preserve_torch_state()
    def fit(self, latents: NDArray[np.float32], images: NDArray[np.uint8]) -> "ContrastiveClusters":
        """Find clusters.

        Args:
            latents: [N, d]; only distances between them matter.
            images: [N, C, H, W], in the same order.
        """
        if len(latents) != len(images):
            raise ValueError(f"{len(latents)} latents of {len(images)} images")
        prepare(self.seed)
        random = torch.Generator().manual_seed(self.seed)
        pixels = resized(images)
        chosen = torch.randperm(len(pixels), generator=random)[:LEARN_FROM]

        self.report("neighbours")
        neighbours = mutual_neighbours(torch.from_numpy(latents)[chosen], LATENT_NEIGHBOURS)
        self.network = build_network(pixels.shape[1])
        contrast(self.network, pixels[chosen], neighbours, self.contrast_steps, random, self.report)

        self.report("communities")
        features = describe(self.network, pixels[chosen])
        partitions = [self.partition(features, random) for _ in range(PARTITIONS)]
        with many_classes_are_fine():
            alike = np.array([[adjusted_rand_score(one, other) for other in partitions] for one in partitions])
        medoid = int(alike.sum(0).argmax())  # the one most like the others
        agreement = float(np.median(np.delete(alike[medoid], medoid)))
        first = partitions[medoid]
        self.trust = {
            "agreement": agreement,
            "trusted": agreement >= TRUSTED and len(np.unique(first)) == self.count,  # equal images agree on one
        }
        self.names = nn.Parameter(centres(features, first, self.count))
        name(self.network, self.names, pixels, self.naming_steps, random, self.report)
        return self

    def predict(self, latents: NDArray[np.float32], images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The cluster of every image, [N], 0 to count - 1; the latents have done their work in `fit`."""
        with torch.no_grad():
            return similarity(describe(self.network, resized(images)), self.names).argmax(1).numpy()

    def partition(self, features: Tensor, random: torch.Generator) -> NDArray[np.int64]:
        """Clusters of all `features`, [N]: communities of a random part, and for the rest that of its nearest there.

        The part is a half, or as many as there are clusters if that is more.
        """
        size = max(self.count, min(PARTITION_IMAGES, len(features) // 2))
        part = features[torch.randperm(len(features), generator=random)[:size]]
        found = communities(part, self.count, self.seed)
        return found[nearest(features, part, 1)[:, 0].numpy()]


def resized(images: NDArray[np.uint8]) -> Tensor:
    """Images of `SIDE` x `SIDE` pixels, uint8, [N, C, SIDE, SIDE]."""
    pixels = torch.from_numpy(images)
    if pixels.shape[2:] == (SIDE, SIDE):
        return pixels
    parts = [
        functional.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
        for part in pixels.split(1000)
    ]
    return torch.cat([part.round().to(torch.uint8) for part in parts])


class FlattenChannelsLast(nn.Module):
    """[N, C, H, W] to [N, H W C]; without a copy, forwards and backwards, where channels lie last in memory."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).flatten(1)


def build_network(channels: int) -> nn.Module:
    """From images [N, channels, SIDE, SIDE] in [0, 1] to features [N, FEATURES]."""
    first, second, third = WIDTHS
    layers: list[nn.Module] = [nn.PixelUnshuffle(2)]  # a quarter of the places to convolve at
    for inputs, outputs, stride in ((4 * channels, first, 1), (first, second, 2), (second, third, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    layers += [FlattenChannelsLast(), nn.Linear(third * (SIDE // 4) ** 2, FEATURES)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def look(network: nn.Module, images: Tensor) -> Tensor:
    """Features of length 1, [N, FEATURES]; in bfloat16 on the way where the processor has it, twice as fast."""
    with torch.autocast("cpu", torch.bfloat16, enabled=multiplies_in_bfloat16(images.device)):
        features = network(images.contiguous(memory_format=torch.channels_last))
    return functional.normalize(features.float())


@torch.no_grad()
def describe(network: nn.Module, pixels: Tensor) -> Tensor:
    """Features of uint8 images as they are, [N, FEATURES]."""
    network.eval()
    return torch.cat([look(network, part / 255) for part in pixels.split(1000)])


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, done: float) -> None:
    """One step down the gradient of `loss`, at the rate that the schedule has for this share of the training."""
    for group in optimizer.param_groups:
        group["lr"] = rate * min(1.0, (done + 1e-3) / WARM_UP) * (1 + math.cos(math.pi * done)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@flush_denormals()
def contrast(
    network: nn.Module, pixels: Tensor, neighbours: csr_matrix, steps: int, random: torch.Generator, report: Report
) -> None:
    """Train `network` in place to tell an image and its neighbour from all other images, however distorted.

    Args:
        pixels: uint8, [N, C, SIDE, SIDE].
        neighbours: [N, N]; who has none is paired with itself.
    """
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    starts, others = (torch.from_numpy(part).long() for part in (neighbours.indptr, np.append(neighbours.indices, 0)))
    counts = starts.diff()
    network.train()
    steps = min(steps, MOST_PASSES * math.ceil(len(pixels) / PAIRS))
    for step, ones in enumerate(batch_indices(len(pixels), PAIRS, steps, random)):
        done = step / steps
        pick = (torch.rand(len(ones), generator=random) * (counts[ones] + 1)).long()  # the last stands for itself
        pairs = torch.where(pick < counts[ones], others[(starts[ones] + pick).clamp_max(len(others) - 1)], ones)
        views = distort(pixels[torch.cat([ones, pairs])] / 255, random)
        features = look(network, occlude(views, CONTRAST_PATCHES, CONTRAST_PATCH_CHANCE, random))
        alike = (features @ features.T / TEMPERATURE).fill_diagonal_(-math.inf)
        partners = torch.arange(len(features)).roll(len(ones))
        descend(optimizer, functional.cross_entropy(alike, partners), CONTRAST_RATE, done)
        report(f"contrast, {done:.0%}")


def similarity(features: Tensor, names: Tensor) -> Tensor:
    """Cosines between features, already of length 1, and names, [N, count]."""
    return features @ functional.normalize(names).T


@flush_denormals()
def name(
    network: nn.Module, names: nn.Parameter, pixels: Tensor, steps: int, random: torch.Generator, report: Report
) -> None:
    """Train `network` and `names` in place until an image and its distortion tell as much of each other as names can.

    The images are occluded less and less from half of the training on, so that it ends on what will be asked.

    Args:
        pixels: uint8, [N, C, SIDE, SIDE].
    """
    optimizer = torch.optim.AdamW([*network.parameters(), names], weight_decay=WEIGHT_DECAY)
    network.train()
    steps = min(steps, MOST_PASSES * math.ceil(len(pixels) / BATCH))
    for step, chosen in enumerate(batch_indices(len(pixels), BATCH, steps, random)):
        done = step / steps
        plain = pixels[chosen] / 255
        chance = NAMING_PATCH_CHANCE * min(1.0, 2 - 2 * done)
        changed = occlude(distort(plain, random), NAMING_PATCHES, chance, random)
        features = look(network, torch.cat([plain, changed]))
        log_plain, log_changed = (SHARPNESS * similarity(features, names)).log_softmax(1).chunk(2)
        sure, taught = log_plain.detach().exp().max(1)
        teaching = (functional.nll_loss(log_changed, taught, reduction="none") * (sure > SURE)).mean()
        usage = (log_plain.exp().mean(0) + log_changed.exp().mean(0)) / 2
        loss = teaching - mutual_information(log_plain.exp(), log_changed.exp()) - entropy(usage)
        descend(optimizer, loss, NAMING_RATE, done)
        report(f"naming, {done:.0%}")


def entropy(shares: Tensor) -> Tensor:
    """In nats, of probabilities of any shape that sum to 1."""
    return -(shares * shares.clamp_min(1e-6).log()).sum()


def mutual_information(one: Tensor, other: Tensor) -> Tensor:
    """How much two names of the same images tell of each other, in nats: 0 to log(count) (Ji et al. 2019, equation 3).

    Args:
        one, other: probabilities of every name, [N, count].
    """
    joint = one.T @ other / len(one)
    joint = (joint + joint.T) / 2
    return 2 * entropy(joint.sum(0)) - entropy(joint)
