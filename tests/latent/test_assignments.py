"""Pictures of a folder assigned to clusters: how many, how stable, how sure, and where they are written."""

import csv
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Watched
from PIL import Image

from bs6207.data.images import ImageSet
from bs6207.latent import graph
from bs6207.latent.assignments import (
    SURE,
    Features,
    Opinion,
    assess,
    assignment_rows,
    find,
    find_communities,
    neighbours_of,
    parts_of,
    see,
    shares_that_stay,
    votes,
)
from bs6207.latent.clusterers import CLUSTERERS
from bs6207.latent.experiment import run
from bs6207.latent.graph import (
    EXPLAINED,
    HALF_NEIGHBOURS,
    STABLE,
    GraphClusterer,
    Scan,
    choose_count,
    descriptors,
    explained_share,
    scan,
)
from bs6207.latent.settings import LatentSettings
from bs6207.latent.summary import on_number
from bs6207.runs.folder import open_run
from bs6207.runs.result import Row
from bs6207.runs.run import make_links


def shapes(count: int, kinds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bars, rings and crosses, [N, 1, 28, 28], moved and scaled at random, and the kind of each."""
    random = np.random.RandomState(seed)
    labels = np.arange(count) % kinds
    down, across = np.mgrid[:28, :28] - 13.5
    images = np.zeros((count, 1, 28, 28), np.uint8)
    for place, kind in enumerate(labels):
        size, (top, left) = random.uniform(5, 8), random.uniform(-4, 4, 2)
        y, x = (down - top) / size, (across - left) / size
        distance = np.hypot(y, x)
        drawn = {
            0: (np.abs(x) < 0.3) & (np.abs(y) < 1.1),
            1: (distance < 1) & (distance > 0.65),
            2: ((np.abs(x) < 0.25) | (np.abs(y) < 0.25)) & (np.maximum(np.abs(x), np.abs(y)) < 1),
            3: (np.abs(y) < 0.3) & (np.abs(x) < 1.1),
        }[kind]
        images[place, 0] = np.clip(220 * drawn + random.normal(0, 8, (28, 28)), 0, 255)
    return images, labels


def scans_of(train: np.ndarray, every: np.ndarray) -> tuple[Features, list[Scan]]:
    features = see(train, every, 0)
    chosen, others = (torch.from_numpy(points) for points in (features.chosen, features.every))
    return features, [scan(chosen, others, size, 0) for size in HALF_NEIGHBOURS]


def curve_of(images: np.ndarray) -> list[Row]:
    return [row for one in scans_of(images, images[:1])[1] for row in one.rows]


@pytest.mark.parametrize("kinds", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_the_number_of_kinds_is_found_wherever_and_however_large_they_are(kinds):
    images, labels = shapes(200, kinds)
    curve = curve_of(images[40:])
    found, agreement = choose_count(curve, (2, 100))
    assert found == kinds
    assert agreement >= STABLE
    assert explained_share(images[40:], images[:40]) >= EXPLAINED
    clusters = GraphClusterer(kinds, 0).fit(None, images[40:]).predict(None, images)
    assert len({*zip(clusters.tolist(), labels.tolist(), strict=True)}) == kinds
    assert choose_count(curve, (5, 20))[0] >= 5


def test_noise_has_no_stable_number_of_clusters():
    noise = np.random.RandomState(0).randint(0, 256, (200, 1, 28, 28)).astype(np.uint8)
    assert choose_count(curve_of(noise[40:]), (2, 100))[1] < STABLE
    assert explained_share(noise[40:], noise[:40]) < EXPLAINED


def test_registered_images_do_not_depend_on_place_and_size():
    small, large = np.zeros((2, 1, 1, 56, 56), np.uint8)
    small[..., 8:16, 6:20] = large[..., 20:36, 20:48] = 200
    one, other = descriptors(small)[0], descriptors(large)[0]
    assert one @ other > 0.97
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-5)
    assert descriptors(255 - large)[0] @ other > 0.99  # dark on light is like light on dark


def opinion_of(images: np.ndarray, count: int) -> Opinion:
    features, scans = scans_of(images[60:], images)
    return Opinion(explained_share(images[60:], images[:60]), features.neighbours).with_communities(scans, count)


def assessed(name: str, count: int, images: np.ndarray, opinion: Opinion):
    train = images[60:]
    if name == "graph":
        return assess(find_communities(train, images, count, 0), opinion.neighbours, opinion)
    return assessed_points(
        *(part.reshape(len(part), -1).astype(np.float32) for part in (train, images)), count, opinion
    )


def assessed_points(train: np.ndarray, every: np.ndarray, count: int, opinion: Opinion):
    """By K-means."""
    make = CLUSTERERS["kmeans"]
    found = find("kmeans", make, make(count, 0).fit(train), (train,), (every,))
    return assess(found, neighbours_of(train, every), opinion)


def test_sure_images_are_with_their_class_mates_and_unstable_clusters_have_none():
    images, labels = shapes(300, 4)
    opinion = opinion_of(images, 4)
    facts, assignment = assessed("graph", 4, images, opinion)
    assert facts["stable"]
    sure = assignment.confidence > SURE
    assert sure.mean() == pytest.approx(facts["stability"]["sure"])
    assert sure.mean() > 0.3
    pairs = {*zip(assignment.clusters[sure].tolist(), labels[sure].tolist(), strict=True)}
    assert len(pairs) == len(np.unique(labels[sure])) == len(np.unique(assignment.clusters[sure]))
    facts, assignment = assessed("kmeans", 4, images, opinion)  # of pixels: place and size decide
    assert not facts["stable"]
    assert assignment.confidence.max() <= SURE


def test_a_crowd_cut_in_two_is_not_stable_however_well_halves_agree():
    random = np.random.RandomState(0)
    points = (random.normal(size=(400, 2)) * (5, 1)).astype(np.float32)
    assert not assessed_points(points, points, 2, Opinion(1.0))[0]["stable"]
    apart = points + np.where(random.rand(400, 1) < 0.5, 40, 0).astype(np.float32)
    assert not assessed_points(apart, apart, 2, Opinion(0.0))[0]["stable"]  # nothing in the images explains them
    assert not assessed_points(apart, apart, 2, Opinion(1.0, communities=[]))[0]["stable"]  # no graph has communities
    facts, assignment = assessed_points(apart, apart, 2, Opinion(1.0))
    assert facts["stable"]
    assert facts["stability"]["agreement"] == pytest.approx(1)
    assert (assignment.second == -1).all()


def test_images_that_other_partitions_part_from_their_cluster_are_less_sure():
    clusters = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    same, split = clusters, np.array([0, 0, 0, 2, 1, 1, 1, 1])
    assert shares_that_stay(clusters, [[same]]).tolist() == [1] * 8
    assert shares_that_stay(clusters, [[same], [split]]).tolist() == [0.875] * 3 + [0.625] + [1] * 4
    assert shares_that_stay(clusters, []).tolist() == [1] * 8
    assert shares_that_stay(split, [[clusters]]).tolist() == [0.75] * 3 + [0.25] + [1] * 4  # merged, as if split
    assert votes(clusters, [1 - clusters, split], 2)[3].tolist() == [0.5, 0]
    points = np.arange(20, dtype=np.float32)[:, None]
    assert not (neighbours_of(points, points)[0] == np.arange(20)[:, None]).any()


def test_every_image_has_a_row_whatever_its_part():
    from bs6207.data.images import DataSet

    def part(count, letter):
        files = np.array([f"{letter}{place}.png" for place in range(count)])
        return ImageSet(np.zeros((count, 1, 2, 2), np.uint8), np.zeros(count, np.int64), files)

    data = DataSet("made", part(7, "c"), part(2, "a"), part(3, "b"), "", ("only",))
    parts = parts_of(data, 4)
    images = shapes(72, 3)[0]
    _, assignment = assessed("kmeans", 2, images, opinion_of(images, 2))
    first = type(assignment)(*(getattr(assignment, field.name)[:12] for field in fields(assignment)))
    rows = assignment_rows(first, parts, data.classes)
    assert [row["file"] for row in rows] == sorted(row["file"] for row in rows)
    assert [row["split"] for row in rows] == ["validation"] * 2 + ["test"] * 3 + ["train"] * 4 + ["unused"] * 3
    assert [*rows[0]] == ["file", "split", "class", "cluster", "confidence", "second", "outlier"]


def test_the_number_is_that_of_wide_agreement_and_not_of_the_best_alone():
    curve = [
        {"clusters": number, "agreement": agreement}
        for number, agreement in [(2, 0.99), (5, 0.93), (5, 0.95), (5, 0.94), (6, 0.9), (1, 1.0), (1, 1.0), (30, 0.5)]
    ]
    assert choose_count(curve, (2, 100)) == (5, 0.95)
    assert choose_count(curve, (2, 4)) == (2, 0.99)
    assert choose_count(curve, (20, 40)) == (30, 0.5)
    assert choose_count(curve, (50, 60)) == (50, 0.0)


def test_a_number_that_is_not_stable_is_reported_as_such():
    number = {"searched": True, "used": 8, "agreement": 0.893, "stable": False}
    (sentence,) = on_number({"number_of_clusters": number})
    assert sentence.startswith("The number of clusters, 8, is not stable")
    assert sentence.endswith("(adjusted Rand index 0.89).")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Pictures of three kinds, of several sizes, without classes."""
    place = tmp_path_factory.mktemp("mine") / "pictures"
    place.mkdir()
    for number, (image, kind) in enumerate(zip(*shapes(150, 3), strict=True)):
        picture = Image.fromarray(image[0]).resize((20 + 4 * (number % 4),) * 2)
        picture.save(place / f"{number:03}_{kind}.png")
    return place


def test_a_folder_without_classes_is_sorted_by_file(folder, tmp_path):
    notes: list[str] = []
    progress = Watched()
    progress.warn = notes.append
    settings = LatentSettings(
        dims=[3], data=str(folder), epochs=2, skip_probes=True, link=str(tmp_path / "links"), batch_size=32
    )
    result = run(settings, progress)
    assert notes == ["of 150 pictures, brings 113 of 20 x 20 to 32 x 32 pixels to 28 x 28 (--size) by pad (--fit)"]
    with open_run("latent", tmp_path / "run", settings) as files:
        kept = {name: drawing for name, drawing in result.figures.items() if name in ("contact_sheet_0",)}
        files.write_result(replace(result, figures=kept))
    make_links(result)
    with (tmp_path / "run/assignments.csv").open() as stream:
        rows = [*csv.DictReader(stream)]
    assert [row["file"] for row in rows] == sorted(file.name for file in folder.iterdir())
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["number_of_clusters"]["used"] == 3
    assert metrics["number_of_clusters"]["stable"] is True
    assert metrics["assignments"]["clusterer"] == "graph"
    assert metrics["assignments"]["stable"] is True
    sure = [row for row in rows if float(row["confidence"]) > SURE]
    assert len({(row["cluster"], row["file"][4]) for row in sure}) == len({row["cluster"] for row in sure}) > 0
    assert {name for name in result.figures if "sheet" in name} == {f"contact_sheet_{place}" for place in range(3)}
    assert (tmp_path / "run/contact_sheet_0.png").exists()
    for row in rows:
        link = tmp_path / "links" / row["cluster"] / row["file"]
        assert link.is_symlink()
        assert link.resolve() == folder / row["file"]
    assert "disjoint halves of the images agree best on that number" in metrics["answer"]


def test_a_sweep_over_the_size_reads_the_folder_once_for_each(folder, monkeypatch):
    monkeypatch.setattr(graph, "SCANNED", (1.0,))
    settings = LatentSettings(
        dims=[2], data=str(folder), clusters=3, epochs=4, skip_probes=True, batch_size=32, sweep=["size=12,16"]
    )
    progress, notes = Watched(), list[str]()
    progress.warn = notes.append
    result = run(settings, progress)
    assert "pixels to 12 x 12 (--size)" in notes[0]
    assert "pixels to 16 x 16 (--size)" in notes[1]
    assert result.failures == []
    small, large = (point["metrics"]["data"] for point in result.metrics["points"])
    assert [data["brought_to_one"]["width"] for data in (small, large)] == [12, 16]
    assert small["sha256"] != large["sha256"]
    assert {row["size"] for row in result.tables["sweep"].rows} == {12, 16}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"link": "links", "data": "mnist-5k"}, "--link is for the pictures of a folder, not for mnist-5k"),
        ({"size": 20, "data": "mnist-5k"}, "are for a folder, not for --data mnist-5k"),
        ({"clusters": "3:1"}, "3:1 is outside of 2 to 100, or turned round"),
        ({"clusters": 1}, "1 is outside of 2 to 100"),
        ({"clusters": "many"}, "'many' is no number of clusters; write one, as 10, or 2:20, or auto"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        LatentSettings(**given)


def test_numbers_of_clusters_are_read_as_written():
    assert LatentSettings(clusters="7").clusters == 7
    assert LatentSettings(clusters="2:20").cluster_range == (2, 20)
    assert LatentSettings(clusters="auto").cluster_range == (2, 100)


def test_a_folder_of_links_must_be_empty(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(ValueError, match="exists and is not empty; give a new folder"):
        LatentSettings(data=str(tmp_path), link=str(tmp_path / "full"))
