"""The clusters of every picture of a folder, and how far to believe them, estimated without labels.

Clusters are stable if clusterers that see disjoint halves of the training images agree on all images (Lange et al.
2004, doi:10.1162/089976604773717621), and if they part where images are few: an image's nearest are in its cluster. A
border through the middle of one crowd is found again by every half, but has images close to it on both sides. The
confidence of an image is the least of three shares: of such clusterers that give it the same cluster, of its nearest
that are in its cluster, and of its cluster that stays together, in the mean over communities of the neighbour graph on
which halves agree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.cluster import contingency_matrix
from sklearn.neighbors import NearestNeighbors

import bs6207.latent.figures as figures
from bs6207.data.images import DataSet, ImageSet
from bs6207.latent.clusterers import reason_to_skip
from bs6207.latent.evaluation import Labels, Vectors
from bs6207.latent.graph import (
    AGREED,
    EXPLAINED,
    GRAPH_IMAGES,
    STABLE,
    CommunityClusterer,
    Pixels,
    Scan,
    agreement_of_halves,
    components_of,
    descriptors,
    features_of,
)
from bs6207.runs.result import Checkpointable, Drawing, Row, Table
from bs6207.training.metrics.clusters import match_clusters

REPEATS = 2  # pairs of disjoint halves, each with its own seed
HALF = 2500  # most training images in a half
REFERENCES, NEIGHBOURS = 20_000, 10  # training images among which an image's nearest are sought, and how many
TOGETHER = 0.9  # mean share of an image's nearest in the cluster of it, at least, where clusters are stable
FAR = 3.0  # interquartile ranges beyond the upper quartile of the distances to the nearest: outliers (Tukey 1977)
UNUSED = "unused"  # the training images that --train-images leaves out
SHOWN = 10  # the surest members of a cluster on its sheet, and as many of the median and the least sure
MAX_SHEETS = 40  # clusters with a sheet: each takes a second to draw
COARSER, FINER = 1.3, 2.0  # communities that clusters are compared with: from how few to how many for each cluster
SURE = 0.9  # images of a confidence above it are counted, and there are none where clusters are not stable

Neighbours: TypeAlias = tuple[NDArray[np.int64], NDArray[np.float64]]  # of images: the nearest, and how far they are
Inputs: TypeAlias = tuple[Any, ...]  # of a clusterer: vectors and, for some, pixels
Make: TypeAlias = Callable[[int, int], Any]  # a clusterer of so many clusters, with a seed


@dataclass(frozen=True)
class Features:
    """Of registered images.

    Attributes:
        chosen: of a random subset of the training images, [N, COMPONENTS].
        every: of the images that are assigned, [M, COMPONENTS].
        neighbours: of the latter among training images; see `neighbours_of`.
    """

    chosen: NDArray[np.float32]
    every: NDArray[np.float32]
    neighbours: Neighbours


def see(train: Pixels, every: Pixels, seed: int) -> Features:
    """Features of registered images, in the space of the principal components of some of the training images."""
    points = descriptors(train)
    some = np.random.RandomState(seed).permutation(len(points))[:GRAPH_IMAGES]
    components = components_of(points[some])
    features, others = (features_of(each, components).numpy() for each in (points, descriptors(every)))
    return Features(features[some], others, neighbours_of(features, others))


@dataclass(frozen=True)
class Opinion:
    """What the images say without any latent: the same for every autoencoder.

    Attributes:
        explained: share of the variance of images that components of others explain.
        neighbours: of registered images, see `neighbours_of`; None where no clusterer sees images and no picture is
            assigned.
        communities: of all images, by resolution and half, [resolutions, halves, N], of those resolutions at which
            halves agree; None where graphs are not scanned. See `graph.scan`.
    """

    explained: float
    neighbours: Neighbours | None = None
    communities: Sequence[Sequence[Labels]] | None = None

    def with_communities(self, scans: Sequence[Scan], count: int) -> Self:
        """The same with the communities, about `count`, of those resolutions at which halves agree."""
        if not scans:
            return self
        return replace(
            self,
            communities=[
                communities
                for scan in scans
                for row, communities in zip(scan.rows, scan.communities, strict=True)
                if count / COARSER - 1 <= row["clusters"] <= count * FINER + 1 and row["agreement"] >= AGREED
            ],
        )


@dataclass(frozen=True)
class Assignment(Checkpointable):
    """The clusters of images, [N] each, by one clusterer."""

    clusters: Labels
    confidence: NDArray[np.float64]  # an estimate of the probability that most of the cluster are its class-mates
    second: Labels  # the next likely cluster; -1 where there is none
    outlier: NDArray[np.bool_]  # whether it lies far from all training images


def halves(count: int, seed: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of disjoint random halves of `count` places, each of at most `HALF`."""
    pairs = []
    for number in range(REPEATS):
        order = np.random.RandomState([seed, number]).permutation(count)[: 2 * HALF]
        pairs.append((np.sort(order[::2]), np.sort(order[1::2])))
    return pairs


@dataclass(frozen=True)
class Found(Checkpointable):
    """Clusters of the training images and of all that are assigned, and of the latter by clusterers of halves."""

    count: int
    train: Labels
    every: Labels
    by_halves: list[Labels]  # empty where a half is too small, or fitting again would take minutes


def find(name: str, make: Make, clusterer: Any, train: Inputs, every: Inputs) -> Found:
    """What a clusterer, fitted to `train`, finds, and others like it that are fitted to pairs of halves of it."""
    count, seed, by_halves = clusterer.count, clusterer.seed, list[Labels]()
    if not hasattr(clusterer, "stability") and not reason_to_skip(name, count, len(train[0]) // 2):
        for number, pair in enumerate(halves(len(train[0]), seed)):
            for half in pair:
                again = make(count, seed + number).fit(*(given[half] for given in train))
                by_halves.append(again.predict(*every))
    return Found(count, clusterer.predict(*train), clusterer.predict(*every), by_halves)


def find_communities(train: Pixels, every: Pixels, count: int, seed: int) -> Found:
    """What `graph` finds, with the descriptors of each image computed once."""
    points, others = descriptors(train), descriptors(every)
    clusterer = CommunityClusterer(count, seed).fit(points)
    return find("graph", CommunityClusterer, clusterer, (points,), (others,))


def neighbours_of(train: Vectors, every: Vectors) -> Neighbours:
    """The nearest training images, [N, NEIGHBOURS], and the mean distance to them; an image is none of its own."""
    count = min(NEIGHBOURS, len(train) - 1)
    distances, places = NearestNeighbors(n_neighbors=count + 1).fit(train).kneighbors(every)
    own = distances[:, :1] == 0  # or another that is equal to it
    nearest = np.where(own, places[:, 1:], places[:, :-1])
    return nearest, np.where(own, distances[:, 1:], distances[:, :-1]).mean(1)


def votes(clusters: Labels, partitions: Sequence[Labels], count: int) -> NDArray[np.float64]:
    """The share of partitions that put an image into each cluster, [N, count], each named by the best match."""
    shares = np.zeros((len(clusters), count))
    for partition in partitions:
        naming = match_clusters(partition, clusters)
        named = np.array([naming.get(number, -1) for number in range(int(partition.max()) + 1)])[partition]
        known = np.flatnonzero(named >= 0)
        shares[known, named[known]] += 1 / len(partitions)
    return shares


def shares_of_neighbours(nearest: NDArray[np.int64], train_clusters: Labels, count: int) -> NDArray[np.float64]:
    """The share of an image's nearest in each cluster, [N, count]."""
    found = train_clusters[nearest]
    return np.stack([(found == cluster).mean(1) for cluster in range(count)], axis=1)


def shares_that_stay(clusters: Labels, communities: Sequence[Sequence[Labels]]) -> NDArray[np.float64]:
    """The share of an image's cluster that is in its community, or of that in the cluster: the smaller of both.

    Of these, the mean over resolutions and halves; 1 where there are none.
    """
    shares = []
    for partition in (partition for of_halves in communities for partition in of_halves):
        both = contingency_matrix(clusters, partition)
        rows, columns = (np.unique(labels, return_inverse=True)[1] for labels in (clusters, partition))
        larger = np.maximum(both.sum(1, keepdims=True), both.sum(0, keepdims=True))
        shares.append((both / larger)[rows, columns])
    return np.mean(shares, axis=0) if shares else np.ones(len(clusters))


def assess(
    found: Found, neighbours: Neighbours, opinion: Opinion, own_estimate: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], Assignment]:
    """How stable the clusters are, and those of all images with a confidence each.

    Args:
        own_estimate: {agreement, trusted}, of a clusterer that estimates its stability while it is fitted.
    """
    nearest, distance = neighbours
    near = shares_of_neighbours(nearest, found.train, found.count)
    own = np.arange(len(found.every)), found.every
    facts: dict[str, Any] = {"together": float(near[own].mean()), "explained": opinion.explained}
    if own_estimate:
        facts["agreement"], enough = own_estimate["agreement"], own_estimate["trusted"]
    else:
        facts["agreement"] = agreement_of_halves(found.by_halves) if found.by_halves else None
        enough = facts["agreement"] is not None and facts["agreement"] >= STABLE
    is_supported = opinion.explained >= EXPLAINED and opinion.communities != []
    stable = bool(enough and facts["together"] >= TOGETHER and is_supported)
    shares = votes(found.every, found.by_halves or [found.every], found.count)
    confidence = np.minimum.reduce([shares[own], near[own], shares_that_stay(found.every, opinion.communities or ())])
    if not stable:
        confidence *= SURE * max(facts["agreement"] or 0.0, 0.0)
    others = shares + near
    others[own] = -1
    second = np.where(others.max(1) > 0, others.argmax(1), -1)
    low, high = np.quantile(distance, (0.25, 0.75))
    outlier = distance > high + FAR * (high - low)
    facts["sure"] = float((confidence > SURE).mean())
    return {"stability": facts, "stable": stable}, Assignment(found.every, confidence, second, outlier)


def parts_of(data: DataSet, train_images: int | None) -> dict[str, ImageSet]:
    """Every image of a data set, by the part it has in a run."""
    train = data.train_subset(train_images)
    return {
        "train": train,
        UNUSED: data.train[len(train) :],
        "validation": data.validation,
        "test": data.test,
    }


def assignment_rows(assignment: Assignment, parts: Mapping[str, ImageSet], classes: tuple[str, ...]) -> list[Row]:
    """A row per picture, in the order of the names of their files."""
    rows: list[dict[str, Any]] = []
    for name, images in parts.items():
        assert images.files is not None
        labels = [""] * len(images) if images.labels is None else [classes[label] for label in images.labels]
        rows += [
            {"file": file, "split": name, "class": label}
            for file, label in zip(images.files.tolist(), labels, strict=True)
        ]
    columns = zip(
        assignment.clusters.tolist(),
        assignment.confidence.round(4).tolist(),
        assignment.second.tolist(),
        assignment.outlier.tolist(),
        strict=True,
    )
    for row, (cluster, confidence, second, outlier) in zip(rows, columns, strict=True):
        row |= {"cluster": cluster, "confidence": confidence, "second": "" if second < 0 else second}
        row["outlier"] = int(outlier)
    return sorted(rows, key=lambda row: row["file"])


def contact_sheets(assignment: Assignment, parts: Mapping[str, ImageSet]) -> dict[str, Drawing]:
    """A figure per cluster, of the surest, the median and the least sure of its members."""
    pixels = np.concatenate([images.pixels for images in parts.values()])
    sheets: dict[str, Drawing] = {}
    for cluster in np.unique(assignment.clusters)[:MAX_SHEETS].tolist():
        members = np.flatnonzero(assignment.clusters == cluster)
        members = members[np.argsort(-assignment.confidence[members], kind="stable")]
        middle = max(0, (len(members) - SHOWN) // 2)
        bands = {"surest": members[:SHOWN], "median": members[middle : middle + SHOWN], "least sure": members[-SHOWN:]}
        shown = {name: (pixels[places], assignment.confidence[places]) for name, places in bands.items()}
        sheets[f"contact_sheet_{cluster}"] = partial(figures.contact_sheet, shown, cluster, len(members))
    return sheets


def links_of(table: Table, source: Path) -> dict[Path, Path]:
    """By the name of a link, in a folder per cluster, the picture it leads to."""
    return {Path(str(row["cluster"]), row["file"]): source / row["file"] for row in table.rows}
