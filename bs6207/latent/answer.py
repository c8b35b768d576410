"""The sentences below the table: what the assignment asks, and what its numbers must not be read without."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bs6207.latent.classes import noun
from bs6207.latent.clusterers import SEES_IMAGES


@dataclass(frozen=True)
class Standing:
    """How the clusters of one latent size by one clusterer score: the medians over the seeds.

    Attributes:
        sd: sample standard deviation of the accuracy over the seeds; None of one.
    """

    dim: int
    clusterer: str
    accuracy: float
    nmi: float
    ari: float
    sd: float | None
    seeds: int

    def ties(self, other: "Standing") -> bool:
        """Whether the difference is within the larger standard deviation of the two."""
        return abs(self.accuracy - other.accuracy) <= max(self.sd or 0, other.sd or 0)


def standings(metrics: Mapping[str, Any], clusterer: str) -> list[Standing]:
    """All latent sizes by the accuracy of a clusterer, the best first; of equals the smallest."""
    every = []
    for dim, cell in sorted(metrics["cells"].items()):
        one, sd = cell["clusters"][clusterer], cell["sd"]["clusters"][clusterer]["accuracy"]
        every.append(Standing(dim, clusterer, one["accuracy"], one["nmi"], one["ari"], sd, len(cell["seeds"])))
    return sorted(every, key=lambda one: -one.accuracy)


def answer(metrics: Mapping[str, Any], clusterers: Sequence[str], names: Sequence[str]) -> str:
    """Which latent size clusters best, by what score, with what spread, and whether it beats what takes no training."""
    if not names:
        return without_labels(metrics, clusterers)
    best, *others = sorted((standings(metrics, name) for name in clusterers), key=lambda ranks: -ranks[0].accuracy)
    top = best[0]
    which = "clusters best" if len(best) > 1 else "is the only one"
    return " ".join(
        [
            f"A latent of {numbers(top.dim)} {which}: {top.clusterer} puts {spread(top.accuracy, top.sd)} of the test "
            f"images into the cluster named after their {noun(names)} "
            f"(accuracy; NMI {top.nmi:.3f}, ARI {top.ari:.3f}).",
            *on_the_spread(best),
            *on_the_baselines(metrics, top),
            *on_trust({top.dim: chosen(metrics["cells"][top.dim], top.clusterer)}),
            *(f"With {one.clusterer} it is {numbers(one.dim)} ({spread(one.accuracy, one.sd)})." for one, *_ in others),
            "The test labels were read for these scores only, afterwards: they chose nothing.",
        ]
    )


def on_the_spread(ranks: Sequence[Standing]) -> Iterator[str]:
    """How much of a lead the best size has, as far as the seeds tell."""
    top, *rest = ranks
    if rest and top.seeds > 1:
        ties = [one for one in rest if top.ties(one)]
        if ties:
            listed = ", ".join(f"{one.dim} ({spread(one.accuracy, one.sd)})" for one in ties)
            yield f"A tie, within the standard deviation of the seeds, with {listed}."
        else:
            one = rest[0]
            yield f"The next, {one.dim} ({spread(one.accuracy, one.sd)}), is further away than the seeds spread."
    if top.seeds > 1:
        yield f"Each number is the median of {top.seeds} seeds, ± their standard deviation."
    else:
        others = f" The next is {rest[0].dim} ({rest[0].accuracy:.3f})." if rest else ""
        yield f"This is one seed, so the spread is unknown; --seeds 3 would show it.{others}"


def on_the_baselines(metrics: Mapping[str, Any], top: Standing) -> Iterator[str]:
    """The same clusterer on raw pixels, and on PCA of the same size."""
    pixels, pca = metrics["baselines"]["pixels"], metrics["baselines"]["pca"][top.dim]
    said: dict[str, list[str]] = {}
    for what, baseline in (("raw pixels", pixels), (f"PCA of {numbers(top.dim)}", pca)):
        accuracy = baseline["clusters"][top.clusterer]["accuracy"]
        sd = baseline["sd"]["clusters"][top.clusterer]["accuracy"]
        is_near = abs(top.accuracy - accuracy) <= max(top.sd or 0, sd or 0)
        verb = "ties with" if is_near else "beats" if top.accuracy > accuracy else "loses to"
        said.setdefault(verb, []).append(f"{what} ({spread(accuracy, sd)})")
    verdicts = [f"{verb} {' and '.join(beaten)}" for verb, beaten in said.items()]
    yield f"With the same clusterer it {' and '.join(verdicts)}."


def chosen(cell: Mapping[str, Any], clusterer: str) -> dict[str, Any]:
    """The scores of a latent size with the clusters of one clusterer only."""
    return {
        "seeds": {seed: {"clusters": {clusterer: one["clusters"][clusterer]}} for seed, one in cell["seeds"].items()}
    }


def without_labels(metrics: Mapping[str, Any], clusterers: Sequence[str]) -> str:
    """What can be said of clusters nobody has named."""
    cells = metrics["cells"]
    best = min(cells, key=lambda dim: cells[dim]["l1"])
    sentences = [
        "The images have no labels, so no size can be said to cluster best; "
        f"{numbers(best)} reconstruct best (L1 {cells[best]['l1']:.4f})."
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
        f"Scores on {data['test']:,} test images of {data['name']}, after learning from {data['train']:,} others; "
        f"{seeds}. L1 is the mean absolute error per pixel in [0, 1]; the median and the black image are what it "
        "costs to learn nothing."
    ]
    if names:
        sentences.append(
            "Accuracy: clusters are fitted without labels, named one to one on the training images (Hungarian method) "
            f"and scored on the test images; chance is about {1 / len(names):.2g}."
        )
    sentences += [
        f"{name} learns from the images and takes from the latents only which of them are neighbours: its score is not "
        "the latents' own."
        for name in clusterers
        if name in SEES_IMAGES
    ]
    return [*sentences, *on_pca(metrics, clusterers if names else ()), *on_trust(cells), metrics["answer"]]


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
