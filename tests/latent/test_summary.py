"""What is text and written of finished autoencoders: the answer, its spread, and files that are the same twice."""

import io
import json

import numpy as np
import pytest
from latent.made_results import changed, made

from bs6207.data.images import ImageSet, on_one_side
from bs6207.latent.clusterers import subset
from bs6207.latent.evaluation import mcnemar
from bs6207.latent.figures import DIGITS, class_noun
from bs6207.latent.settings import LatentSettings
from bs6207.latent.summary import MAX_POINTS, MIN_POINTS, answer, on_stability, project, summarize
from bs6207.runs.files import strict_json, to_csv
from bs6207.runs.table import fitting

NO_DIFFERENCE = {"only_latents": 0, "only_baseline": 0, "p_value": 1.0}
WIDEST = 80  # columns of a terminal, and of a pipe


def clustered(accuracy, sd=None, l1=0.1, seeds=1):
    """Scores of one size by kmeans, as metrics.json has them."""
    one = {"accuracy": accuracy, "nmi": accuracy - 0.05, "ari": accuracy - 0.1}
    reached = [accuracy + (sd or 0) * (number - seeds // 2) for number in range(seeds)]
    return {
        "l1": l1,
        "paired": {"kmeans": {"pixels": NO_DIFFERENCE, "pca": NO_DIFFERENCE}},
        "clusters": {"kmeans": one},
        "sd": {"l1": sd, "clusters": {"kmeans": {"accuracy": sd}}},
        "seeds": {seed: {"clusters": {"kmeans": one | {"accuracy": value}}} for seed, value in enumerate(reached)},
    }


def scored(cells, pixels=0.4, pca=0.3, pca_l1=0.2, images=10_000):
    """Metrics with the same PCA at every size."""
    return {
        "data": {"test": images},
        "unscored": None,
        "cells": cells,
        "baselines": {"pixels": clustered(pixels), "pca": {dim: clustered(pca, l1=pca_l1) for dim in cells}},
    }


def test_the_answer_names_the_best_dim_its_scores_and_their_spread():
    metrics = scored({dim: clustered(a, 0.01, seeds=3) for dim, a in {2: 0.41, 16: 0.625, 256: 0.5}.items()})
    text = answer(metrics)
    assert text.startswith("Best: kmeans at dim 16, accuracy 0.625 ±0.010 on the test images (NMI 0.575, ARI 0.525).")
    assert "The next, dim 256 (0.500 ±0.010), is outside the range of its seeds." in text
    assert "Medians of 3 seeds" in text
    assert "It ties" not in text
    assert "uses a test label" in text


def test_sizes_within_the_spread_of_the_seeds_are_called_a_tie():
    metrics = scored({dim: clustered(a, 0.03, seeds=3) for dim, a in {2: 0.41, 16: 0.625, 256: 0.6}.items()})
    text = answer(metrics)
    assert "It ties, within the spread of seeds and test images, with dim 256 (0.600 ±0.030)." in text
    assert "dim 2 (0.41" not in text


def test_one_seed_claims_no_spread():
    text = answer(scored({2: clustered(0.41), 16: clustered(0.625)}))
    assert "One seed, so the spread is unknown; --seeds 3 shows it. The next is dim 2 (0.410)." in text
    assert "±" not in text


def test_a_single_dim_is_not_called_the_best():
    text = answer(scored({1: clustered(0.41)}))
    assert text.startswith("kmeans at dim 1, accuracy 0.410 on the test images")
    assert "Best" not in text


def test_few_test_images_tie_what_many_tell_apart():
    cells = {2: clustered(0.5, 0.001, seeds=3), 16: clustered(0.6, 0.001, seeds=3)}
    assert "It ties" in answer(scored(cells, images=50))
    assert "It ties" not in answer(scored(cells, images=5000))


def test_what_failed_and_what_was_kept_as_it_started_is_said():
    metrics, results, data, settings = made((2, 5))
    failed = [{"dim": 7, "seed": 3, "reason": "it did"}]
    metrics = changed(metrics, ["cells", 5, "seeds", 0, "best_epoch"], 0) | {"failed": failed}
    text = " ".join(summarize(metrics, results, data, settings).remarks)
    assert "Failed, and left out of all scores: dim 7 (seed 3)." in text
    assert "Training is no better on validation images than the initial PCA, which is kept: dim 5." in text


@pytest.mark.parametrize(
    ("pixels", "pca", "text"),
    [
        (0.4, 0.5, "beats raw pixels (0.400) and PCA at dim 16 (0.500)"),
        (0.4, 0.7, "beats raw pixels (0.400) and loses to PCA at dim 16 (0.700)"),
        (0.7, 0.645, "loses to raw pixels (0.700) and ties with PCA at dim 16 (0.645)"),
    ],
)
def test_the_answer_says_whether_training_was_worth_it(pixels, pca, text):
    metrics = scored({16: clustered(0.625, 0.02, seeds=3)}, pixels, pca)
    assert f"With the same clusterer it {text}." in answer(metrics)


def test_one_seed_is_compared_with_baselines_on_the_same_images():
    """10,000 images; 0.545 against 0.54 is within the error of one proportion, and of discordant images it is clear."""
    ours, baseline = np.zeros(10_000, bool), np.zeros(10_000, bool)
    ours[:5450], baseline[:5400] = True, True
    metrics = scored({16: clustered(0.545)}, pixels=0.54, pca=0.54)
    clear = mcnemar(ours, baseline)
    assert (clear["only_latents"], clear["only_baseline"]) == (50, 0)
    assert clear["p_value"] == pytest.approx(2 * 0.5**50)
    unclear = mcnemar(np.array([1, 1, 1, 0, 1]) > 0, np.array([0, 0, 0, 1, 1]) > 0)
    assert unclear["p_value"] == pytest.approx(2 * (4 + 1) / 2**4)
    metrics = changed(metrics, ["cells", 16, "paired", "kmeans"], {"pixels": clear, "pca": unclear})
    text = answer(metrics)
    assert "it beats raw pixels (0.540, p < 0.001) and ties with PCA at dim 16 (0.540, p = 0.625)." in text


def test_images_that_are_classified_alike_tie():
    assert mcnemar(np.ones(5, bool), np.ones(5, bool)) == {"only_latents": 0, "only_baseline": 0, "p_value": 1.0}


def test_the_correct_images_make_the_accuracy():
    metrics, results, data, _ = made((5,), clusterers=("kmeans", "gmm"))
    for name, correct in results[5][0].correct.items():
        assert correct.mean() == pytest.approx(metrics["cells"][5]["clusters"][name]["accuracy"])
        paired = metrics["cells"][5]["paired"][name]["pca"]
        pca = metrics["baselines"]["pca"][5]["clusters"][name]["accuracy"]
        gain = (paired["only_latents"] - paired["only_baseline"]) / len(data.test)
        assert gain == pytest.approx(correct.mean() - pca)


def test_another_clusterer_has_a_best_dim_of_its_own():
    metrics, results, data, settings = made((2, 5), clusterers=("kmeans", "gmm"))
    metrics = changed(metrics, ["cells", 2, "clusters", "gmm", "accuracy"], 0.999)
    text = summarize(metrics, results, data, settings).metrics["answer"]
    assert text.startswith("Best: gmm at dim 2, accuracy 0.999")
    assert "kmeans: dim 5, " in text


def test_dims_that_lose_to_pca_are_named():
    metrics, results, data, settings = made((2, 5))
    metrics = changed(metrics, ["cells", 5, "l1"], 0.9)
    metrics = changed(metrics, ["cells", 5, "clusters", "kmeans", "accuracy"], 0.01)
    pca = metrics["baselines"]["pca"][5]
    sentences = summarize(metrics, results, data, settings).remarks
    assert f"Reconstruction, no better than PCA: dim 5 (L1 0.9000 vs {pca['l1']:.4f})." in sentences
    accuracy = pca["clusters"]["kmeans"]["accuracy"]
    assert f"kmeans, no better than on PCA: dim 5 (accuracy 0.010 vs {accuracy:.3f})." in sentences


def test_unstable_clusters_are_named():
    path = [16, "seeds", 1, "clusters", "kmeans"]
    cells = {dim: clustered(0.5, seeds=2) for dim in (2, 16)}

    def judged(stable, agreement):
        return changed(changed(cells, [*path, "stable"], stable), [*path, "stability"], {"agreement": agreement})

    assert not [*on_stability(judged(True, 0.99), ["kmeans"])]
    for agreement, text in ((0.65, "0.65"), (None, "too few images")):
        (sentence,) = on_stability(judged(False, agreement), ["kmeans"])
        assert f"Unstable clusters of kmeans: dim 16, seed 1 ({text})." in sentence


def test_the_answer_warns_of_unstable_clusters():
    metrics = scored({2: clustered(0.41), 16: clustered(0.625)})
    for dim, is_warned in ((2, False), (16, True)):
        path = ["cells", dim, "seeds", 0, "clusters", "kmeans"]
        doubt = {"agreement": 0.65}
        doubted = changed(changed(metrics, [*path, "stable"], False), [*path, "stability"], doubt)
        assert "Unstable clusters" not in answer(doubted)  # but among the remarks
        doubted = changed(doubted, [*path, "trust"], doubt | {"trusted": False})
        assert ("Unstable clusters" in answer(doubted)) is is_warned


def test_the_answer_is_printed_and_written():
    result = summarize(*made())
    assert result.remarks[-1] == json.loads(strict_json(result.metrics))["answer"]


@pytest.mark.parametrize("clusterers", [("kmeans",), ("kmeans", "gmm")])
def test_the_headline_fits_a_terminal(clusterers):
    result = summarize(*made((2, 4, 64), seeds=3, clusterers=clusterers))
    assert len(result.headline.rows) == (3 + 1) * len(clusterers) + 2
    assert rendered_width(result.headline) <= WIDEST


def rendered_width(table):
    from rich.console import Console

    console = Console(width=1000)
    with console.capture() as captured:
        console.print(fitting(table, console))
    return max(len(line.rstrip()) for line in captured.get().splitlines())


def test_the_headline_has_the_numbers_of_metrics_json():
    result = summarize(*made((2, 5), seeds=2))
    cell, pca = result.metrics["cells"][5], result.metrics["baselines"]["pca"][5]
    row = next(row for row in result.headline.rows if row["latent"] == 5)
    assert row["L1"] == f"{cell['l1']:.4f}±{cell['sd']['l1']:.4f}".replace("±0", "±")
    assert row["PCA L1"] == f"{pca['l1']:.4f}"
    assert row["accuracy"].startswith(f"{cell['clusters']['kmeans']['accuracy']:.3f}±.")
    assert row["on PCA"] == f"{pca['clusters']['kmeans']['accuracy']:.3f}"


def test_every_score_has_a_row():
    metrics, results, data, settings = made((2, 5), seeds=2, clusterers=("kmeans", "gmm"))
    table = summarize(metrics, results, data, settings).tables["scores"]
    rows = {(row["vectors"], row["dim"], row["seed"], row["clusterer"]): row for row in table.rows}
    assert len(rows) == len(table.rows) == 2 * 2 * 2 + 2 * 2 + 2
    row, scores = rows["autoencoder", 5, 1, "gmm"], metrics["cells"][5]["seeds"][1]
    assert (row["l1"], row["ari"], row["knn"]) == (
        scores["l1"],
        scores["clusters"]["gmm"]["ari"],
        scores["probes"]["knn"],
    )
    assert len(to_csv(table).splitlines()) == len(rows) + 1


def test_the_cluster_table_counts_every_image_once_and_the_right_ones_make_the_accuracy():
    metrics, results, data, settings = made((5,), seeds=2)
    rows = summarize(metrics, results, data, settings).tables["clusters"].rows
    for seed, result in results[5].items():
        mine = [row for row in rows if row["seed"] == seed]
        assert sum(row["count"] for row in mine) == len(data.test)
        right = sum(row["count"] for row in mine if row["name"] == row["digit"])
        assert right / len(data.test) == pytest.approx(result.scores["clusters"]["kmeans"]["accuracy"])


@pytest.mark.parametrize("settings", [{}, {"projector": True}])
def test_files_have_the_same_bytes_twice(settings):
    one, two = (summarize(*made((2, 5), **settings)) for _ in range(2))
    assert dict(one.files) == dict(two.files)
    assert {name: to_csv(table) for name, table in one.tables.items()} == {
        name: to_csv(table) for name, table in two.tables.items()
    }


def test_latents_are_written_with_their_labels_and_clusters():
    metrics, results, data, settings = made((2, 5), seeds=2)
    result = summarize(metrics, results, data, settings)
    written = np.load(io.BytesIO(result.files["latents_5.npz"]))
    assert sorted(written) == ["classes", "clusters_kmeans", "labels", "latents"]
    assert tuple(written["classes"]) == data.classes
    first = results[5][0]
    np.testing.assert_array_equal(written["latents"], first.latents)
    np.testing.assert_array_equal(written["labels"], data.test.labels)
    np.testing.assert_array_equal(written["clusters_kmeans"], first.partitions["kmeans"])
    plane = result.tables["latents_2"].rows[7]
    z = np.load(io.BytesIO(result.files["latents_2.npz"]))["latents"][7]
    assert (plane["image"], plane["digit"], plane["z1"], plane["z2"]) == (7, "1", *z)


def test_images_without_labels_are_reported_without_scores():
    result = summarize(*made((2, 5), seeds=2, names=(), clusters=4))
    assert result.headline.columns == ("latent", "L1", "PCA L1", "PSNR dB")
    assert "no labels" in result.metrics["answer"]
    assert "Most stable clusters of kmeans: dim" in result.metrics["answer"]
    assert not {"labels", "classes"} & {*np.load(io.BytesIO(result.files["latents_5.npz"]))}
    assert result.tables["clusters"].columns == ("dim", "seed", "clusterer", "cluster", "count")
    assert "class" not in result.tables["projections"].columns
    assert [sentence for sentence in result.remarks if "accuracy" in sentence.lower()] == [result.metrics["answer"]]


def test_one_class_is_no_claim():
    metrics, results, data, settings = made((2, 5), names=("only",), clusters=3)
    result = summarize(metrics, results, data, settings)
    assert result.headline.columns == ("latent", "L1", "PCA L1", "PSNR dB")
    assert "no accuracy, NMI or ARI, because all training images are of one class" in result.metrics["answer"]
    assert "Best: " not in result.metrics["answer"]
    found = json.loads(strict_json(result.metrics))["cells"]["5"]["clusters"]["kmeans"]
    assert found == {"accuracy": None, "ari": None, "nmi": None, "purity": None}
    assert result.metrics["chance"] is None
    assert result.tables["latents_2"].rows[0]["class"] == "only"


def test_clusters_are_named_by_their_classes():
    metrics = summarize(*made((5,), names=("10", "9"), clusters=3)).metrics
    found = metrics["cells"][5]["seeds"][0]["clusters"]["kmeans"]
    assert [None if label is None else metrics["data"]["class_names"][label] for label in found["names"]] == (
        found["class_names"]
    )
    assert {*found["class_names"]} == {"10", "9", None}


def test_classes_on_one_side_are_found():
    learn, test = (ImageSet(np.zeros((3, 1, 1, 1), np.uint8), np.array(labels)) for labels in ([0, 0, 1], [1, 2, 2]))
    expected = {"only_in_train": ["a"], "only_in_test": ["c"], "images_of_only_in_test": 2}
    assert on_one_side(learn, test, ("a", "b", "c", "in neither")) == expected


def test_classes_on_one_side_are_remarked_on():
    metrics, results, data, settings = made((5,), names=("cat", "d\nog", "eel"))
    expected = {"only_in_test": ["d\nog"], "images_of_only_in_test": 20, "only_in_train": ["eel"]}
    remarks = summarize(metrics | {"data": metrics["data"] | expected}, results, data, settings).remarks
    assert "No training image shows d og, so 20 of the 60 test images count as wrong in any cluster." in (remarks)
    assert "No test image shows eel: clusters of it are not tested." in remarks


def test_classes_that_are_not_the_ten_digits_are_called_so():
    result = summarize(*made((2, 5), names=("shirt", "shoe")))
    assert class_noun(DIGITS) == "digit"
    assert {row["class"] for row in result.tables["latents_2"].rows} == {"shirt", "shoe"}
    assert "digit" not in " ".join(result.remarks)
    assert "random clusters have 0.5, " in " ".join(result.remarks)
    assert "random clusters have 0.1, " in " ".join(
        summarize(*made((5,), names=("shirt", "shoe"), clusters=10)).remarks
    )


def test_principal_axes_are_those_of_the_variance():
    random = np.random.RandomState(0)
    latents = (random.normal(size=(500, 4)) * [1, 8, 2, 4]).astype(np.float32)
    places, shares = project(latents, "pca", 0)
    assert abs(np.corrcoef(places[:, 0], latents[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(places[:, 1], latents[:, 3])[0, 1]) > 0.99
    assert shares == pytest.approx([latents[:, one].var() / latents.var(axis=0).sum() for one in (1, 3)], abs=0.02)


def test_at_most_two_thousand_images_are_projected_whatever_the_seed():
    chosen = subset(10_000, MAX_POINTS, 0)
    assert len(chosen) == MAX_POINTS == len(set(chosen))
    np.testing.assert_array_equal(subset(50, MAX_POINTS, 0), np.arange(50))
    tables = [summarize(*made((5,), seed=seed)).tables["projections"] for seed in (0, 1)]
    assert [row["image"] for row in tables[0].rows] == [row["image"] for row in tables[1].rows] == [*range(60)]


@pytest.mark.slow
def test_umap_is_a_second_model_with_the_same_places_twice():
    latents = made((5,), images=60)[1][5][0].latents
    one, two = (project(latents, "umap", 3)[0] for _ in range(2))
    assert one.shape == (60, 2)
    np.testing.assert_array_equal(one, two)


def test_too_few_images_for_umap_leave_the_projection_out():
    result = summarize(*made((2, 5), images=3, names=("a", "b"), projection="umap"))
    reason = "umap needs 4 test images for a projection, and there are 3"
    assert result.metrics["left_out"] == {"projection": reason}
    assert f"Left out: {reason}." in result.remarks
    assert "projection" not in result.figures
    assert "projections" not in result.tables
    assert project(np.ones((1, 3), np.float32), "pca", 0)[0].tolist() == [[0, 0]]


@pytest.mark.slow
def test_umap_places_four_images():
    assert np.isfinite(project(np.ones((MIN_POINTS["umap"], 3), np.float32), "umap", 0)[0]).all()


def test_a_clusterer_that_sees_the_images_is_remarked_on():
    def text(*clusterers):
        return " ".join(summarize(*made(clusterers=clusterers)).remarks)

    assert "best trains on the images" in text("kmeans", "best")
    assert "trains on the images" not in text("kmeans", "gmm")


def test_umap_without_its_package_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr("bs6207.latent.settings.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"umap needs the umap extra; run pip install \"bs6207\[umap\]\""):
        LatentSettings(projection="umap")
    LatentSettings(projection="pca")


def test_the_projector_gets_a_line_per_image_and_one_sprite():
    from PIL import Image

    metrics, results, data, settings = made((2, 5), names=("a\tb", "c"), projector=True)
    files = summarize(metrics, results, data, settings).files
    vectors = [line.split("\t") for line in files["projector_5_vectors.tsv"].decode().splitlines()]
    np.testing.assert_array_equal(np.array(vectors, np.float32), results[5][0].latents)
    metadata = files["projector_5_metadata.tsv"].decode().splitlines()
    assert metadata[:2] == ["image\tclass\tkmeans", f"0\ta b\t{results[5][0].partitions['kmeans'][0]}"]
    assert len(metadata) == len(vectors) + 1
    sprite = np.array(Image.open(io.BytesIO(files["projector_sprite.png"])))
    assert sprite.shape == (8 * 8, 8 * 8)  # 60 images of 8 x 8 pixels in eight rows of eight
    np.testing.assert_array_equal(sprite[8:16, :8], data.test.pixels[8, 0])
    listed = files["projector_config.pbtxt"].decode()
    assert listed.count("embeddings {") == 2
    assert all(name in listed for name in files if name.startswith("projector_") and not name.endswith("pbtxt"))
    assert not [name for name in summarize(*made()).files if name.startswith("projector")]
