"""The sentences below the table: what the assignment asks, and what its numbers must not be read without."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bs6207.latent.classes import noun
from bs6207.latent.clusterers import SEES_IMAGES
from bs6207.names import legible, listed


@dataclass(frozen=True)
class Standing:
    """How the clusters of one latent size by one clusterer score: the medians over the seeds.

    Attributes:
        sd: sample standard deviation of the accuracy over the seeds; None of one.
        values: the accuracy of every seed.
        images: how many were scored.
    """

    dim: int
    clusterer: str
    accuracy: float
    nmi: float
    ari: float
    sd: float | None
    values: tuple[float, ...]
    images: int

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.values)

    def ties(self, other: "Standing") -> bool:
        """Whether the seeds' ranges overlap, or the difference is within two standard errors of so few images."""
        overlap = min(self.values) <= max(other.values) and min(other.values) <= max(self.values)
        error = math.sqrt(self.accuracy * (1 - self.accuracy) / self.images)
        return overlap or abs(self.accuracy - other.accuracy) <= 2 * error


def standing(dim: int, clusterer: str, scores: Mapping[str, Any], images: int) -> Standing:
    """The standing that the scores over seeds amount to."""
    one, sd = scores["clusters"][clusterer], scores["sd"]["clusters"][clusterer]["accuracy"]
    every = [seed["clusters"] for seed in scores["seeds"].values()]
    values = tuple(clusters[clusterer]["accuracy"] for clusters in every if clusterer in clusters)
    return Standing(dim, clusterer, one["accuracy"], one["nmi"], one["ari"], sd, values, images)


def standings(metrics: Mapping[str, Any], clusterer: str) -> list[Standing]:
    """All latent sizes by the accuracy of a clusterer, the best first; of equals the smallest."""
    every = [standing(dim, clusterer, cell, metrics["data"]["test"]) for dim, cell in sorted(metrics["cells"].items())]
    return sorted(every, key=lambda one: -one.accuracy)


def answer(metrics: Mapping[str, Any], clusterers: Sequence[str], names: Sequence[str]) -> str:
    """Which latent size clusters best, by what score, with what spread, and whether it beats what takes no training.

    Args:
        names: of the classes that clusters are scored against; none where they are not.
    """
    if not names:
        return without_scores(metrics, clusterers)
    best, *others = sorted((standings(metrics, name) for name in clusterers), key=lambda ranks: -ranks[0].accuracy)
    top = best[0]
    which = f"A latent of {numbers(top.dim)} clusters best:" if len(best) > 1 else f"At {numbers(top.dim)},"
    return " ".join(
        [
            f"{which} {top.clusterer} puts {spread(top.accuracy, top.sd)} of the test "
            f"images into the cluster named after their {noun(names)} "
            f"(accuracy; NMI {top.nmi:.3f}, ARI {top.ari:.3f}).",
            *on_the_spread(best),
            *on_the_baselines(metrics, top),
            *on_trust({top.dim: chosen(metrics["cells"][top.dim], top.clusterer)}),
            *(
                f"With {one.clusterer} it is {f'{numbers(one.dim)}, ' if rest else ''}{spread(one.accuracy, one.sd)}."
                for one, *rest in others
            ),
            "No training and no clustering saw a test label; which size is best is read off the test scores.",
        ]
    )


def on_the_spread(ranks: Sequence[Standing]) -> Iterator[str]:
    """How much of a lead the best size has, as far as the seeds tell."""
    top, *rest = ranks
    if rest and top.seeds > 1:
        ties = [one for one in rest if top.ties(one)]
        if ties:
            listed = ", ".join(f"{one.dim} ({spread(one.accuracy, one.sd)})" for one in ties)
            yield f"A tie, as far as the seeds and the number of test images tell, with {listed}."
        else:
            one = rest[0]
            yield f"The next, {one.dim} ({spread(one.accuracy, one.sd)}), lies outside the range of its seeds."
    if top.seeds > 1:
        yield f"Each number is the median of {top.seeds} seeds, ± their standard deviation."
    else:
        others = f" The next is {rest[0].dim} ({rest[0].accuracy:.3f})." if rest else ""
        yield f"This is one seed, so the spread is unknown; --seeds 3 would show it.{others}"


def on_the_baselines(metrics: Mapping[str, Any], top: Standing) -> Iterator[str]:
    """The same clusterer on raw pixels, and on PCA of the same size."""
    pixels, pca = metrics["baselines"]["pixels"], metrics["baselines"]["pca"][top.dim]
    said: dict[str, list[str]] = {}
    for what, scores in (("raw pixels", pixels), (f"PCA of {numbers(top.dim)}", pca)):
        baseline = standing(top.dim, top.clusterer, scores, top.images)
        verb = "ties with" if top.ties(baseline) else "beats" if top.accuracy > baseline.accuracy else "loses to"
        said.setdefault(verb, []).append(f"{what} ({spread(baseline.accuracy, baseline.sd)})")
    verdicts = [f"{verb} {' and '.join(beaten)}" for verb, beaten in said.items()]
    yield f"With the same clusterer it {' and '.join(verdicts)}."


def chosen(cell: Mapping[str, Any], clusterer: str) -> dict[str, Any]:
    """The scores of a latent size with the clusters of one clusterer only."""
    return {
        "seeds": {seed: {"clusters": {clusterer: one["clusters"][clusterer]}} for seed, one in cell["seeds"].items()}
    }


def without_scores(metrics: Mapping[str, Any], clusterers: Sequence[str]) -> str:
    """What can be said of clusters that are not held against classes."""
    cells = metrics["cells"]
    best = min(cells, key=lambda dim: cells[dim]["l1"])
    sentences = [
        f"Clusters have no accuracy, NMI or ARI, because {metrics['unscored']}; so no size can be said to cluster "
        f"best, and {numbers(best)} reconstruct best (L1 {cells[best]['l1']:.4f})."
    ]
    agreements = {dim: cell["agreement"][clusterers[0]] for dim, cell in cells.items()}
    known = {dim: value for dim, value in agreements.items() if value is not None}
    if known:
        steadiest = max(known, key=lambda dim: known[dim])
        sentences.append(
            f"The {clusterers[0]} clusters of different seeds agree most at {numbers(steadiest)} "
            f"(mean adjusted Rand index {known[steadiest]:.3f})."
        )
    return " ".join(sentences)


def remarks(metrics: Mapping[str, Any], clusterers: Sequence[str], names: Sequence[str]) -> list[str]:
    """What the table must not be read without; the answer comes last."""
    data, cells = metrics["data"], metrics["cells"]
    most = max(len(cell["seeds"]) for cell in cells.values())
    seeds = "one seed" if most == 1 else f"medians of {most} seeds ± their standard deviation"
    sentences = [
        f"Scores on {data['test']:,} test images of {legible(data['name'])}, after learning from {data['train']:,} "
        f"others; {seeds}. L1 is the mean absolute error per pixel in [0, 1]; the median and the black image are what "
        "it costs to learn nothing."
    ]
    if names:
        sentences.append(
            "Accuracy: clusters are fitted without labels, named one to one on the training images (Hungarian method) "
            f"and scored on the test images; chance is about {metrics['chance']['random']:.2g}, and one cluster for "
            f"all images would reach {metrics['chance']['one']:.2g}."
        )
        sentences += on_one_side(data)
    sentences += [
        f"{name} learns from the images and takes from the latents only which of them are neighbours: its result is "
        "not the latents' own."
        for name in clusterers
        if name in SEES_IMAGES
    ]
    return [
        *sentences,
        *(f"Left out: {reason}." for reason in metrics["left_out"].values()),
        *on_failures(metrics["failed"]),
        *on_constants(cells),
        *on_starts(cells),
        *on_pca(metrics, clusterers if names else ()),
        *on_trust(cells),
        metrics["answer"],
    ]


def on_one_side(data: Mapping[str, Any]) -> Iterator[str]:
    """The classes that only the training images show, or only the test images."""
    if data["only_in_test"]:
        yield (
            f"No training image shows {listed(data['only_in_test'])}, so {data['images_of_only_in_test']} of the "
            f"{data['test']:,} test images count as wrong in whatever cluster they are."
        )
    if data["only_in_train"]:
        yield f"No test image shows {listed(data['only_in_train'])}: clusters named after them are not tested."


def on_failures(failed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The autoencoders that are missing."""
    if failed:
        which = ", ".join(f"{numbers(one['dim'])} (seed {one['seed']})" for one in failed)
        yield f"Failed, and left out of every number here: {which}."


def on_constants(cells: Mapping[int, Any]) -> Iterator[str]:
    """The sizes at which there was little to learn."""
    useless = [numbers(dim) for dim, cell in cells.items() if not cell["beats_constant"]]
    if useless:
        yield (
            f"At {', '.join(useless)} the autoencoder does hardly better than a constant image on validation images: "
            "there are too few training images, or so few numbers say nothing of them."
        )


def on_starts(cells: Mapping[int, Any]) -> Iterator[str]:
    """The sizes at which training did not help."""
    kept = [
        numbers(dim) for dim, cell in cells.items() if any(one["best_epoch"] == 0 for one in cell["seeds"].values())
    ]
    if kept:
        yield (
            f"At {', '.join(kept)} training did no better on validation images than the principal components it starts "
            "from, and these were kept."
        )


def on_pca(metrics: Mapping[str, Any], clusterers: Sequence[str]) -> Iterator[str]:
    """The sizes at which principal components do better, in reconstruction and in clusters."""
    cells, pca = metrics["cells"], metrics["baselines"]["pca"]
    lost = [
        f"{dim} ({cells[dim]['l1']:.4f} against {pca[dim]['l1']:.4f})"
        for dim in cells
        if cells[dim]["l1"] >= pca[dim]["l1"]
    ]
    if lost:
        yield f"The autoencoder reconstructs no better than PCA at {', '.join(lost)} numbers."
    for name in clusterers:
        accuracies = {dim: [one[dim]["clusters"][name]["accuracy"] for one in (cells, pca)] for dim in cells}
        lost = [
            f"{dim} ({ours:.3f} against {theirs:.3f})" for dim, (ours, theirs) in accuracies.items() if ours <= theirs
        ]
        if lost:
            yield f"{name} clusters the latents no better than PCA at {', '.join(lost)} numbers."


def on_trust(cells: Mapping[int, Any]) -> Iterator[str]:
    """The clusters that their own clusterer does not believe."""
    doubted: dict[str, list[str]] = {}
    for dim, cell in cells.items():
        for seed, scores in cell["seeds"].items():
            for name, one in scores["clusters"].items():
                if "trust" in one and not one["trust"]["trusted"]:
                    where = f"{numbers(dim)}, seed {seed} ({one['trust']['agreement']:.2f})"
                    doubted.setdefault(name, []).append(where)
    for name, places in doubted.items():
        yield (
            f"The clusters of {name} cannot be believed at {'; '.join(places)}: those it finds in one part of "
            "the images and in another agree too little (in parentheses, adjusted Rand index; 1 is in full)."
        )


def numbers(dim: int) -> str:
    """A latent size in words."""
    return "1 number" if dim == 1 else f"{dim} numbers"


def spread(value: float, sd: float | None) -> str:
    """An accuracy, with its standard deviation where there is one."""
    return f"{value:.3f}" if sd is None else f"{value:.3f} ±{sd:.3f}"
