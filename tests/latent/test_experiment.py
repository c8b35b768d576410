"""The latent experiment: what is scored, what is compared, and that labels choose nothing."""

import numpy as np
import pytest
import torch

from bs6207.data.images import DataSet, ImageSet
from bs6207.data.sources import embedded_digits
from bs6207.latent import experiment
from bs6207.latent.experiment import run
from bs6207.latent.scores import middle
from bs6207.latent.settings import LatentSettings


class Silent:
    """Progress nobody watches."""

    def __init__(self):
        self.rows, self.expected, self.steps = [], 0, 0

    def expect(self, steps):
        self.expected += steps

    def step(self, doing):
        self.steps += 1

    def record(self, row):
        self.rows.append(row)

    def note(self, sentence):
        raise AssertionError(sentence)


SETTINGS = LatentSettings(
    dims=[2, 5], data="mnist-5k", epochs=2, batch_size=64, seeds=2, clusterer=["kmeans", "gmm"], train_images=600
)


@pytest.fixture(scope="module")
def finished():
    progress = Silent()
    return run(SETTINGS, progress), progress


def test_every_number_stands_beside_its_baseline(finished):
    metrics = finished[0].metrics
    assert list(metrics["cells"]) == list(metrics["baselines"]["pca"]) == [2, 5]
    for dim, cell in metrics["cells"].items():
        assert list(cell["seeds"]) == [0, 1]
        assert cell["l1"] < metrics["baselines"]["median"]["l1"] < metrics["baselines"]["black"]["l1"]
        for scores in (cell, metrics["baselines"]["pca"][dim], metrics["baselines"]["pixels"]):
            assert list(scores["clusters"]) == ["kmeans", "gmm"]
            assert all(0 < one["accuracy"] < 1 for one in scores["clusters"].values())
        values = [one["l1"] for one in cell["seeds"].values()]
        assert cell["l1"] == pytest.approx(np.median(values))
        assert values[0] != values[1]
    assert metrics["data"]["train"] == 600
    assert metrics["data"]["test"] == 1000


def test_the_black_floor_is_the_mean_pixel_and_pca_is_scikit_learns(finished):
    from sklearn.decomposition import PCA

    data = embedded_digits()
    baselines = finished[0].metrics["baselines"]
    assert baselines["black"]["l1"] == pytest.approx(data.test.pixels.mean() / 255, abs=1e-6)
    learn, test = (part.unit_pixels.reshape(-1, 784) for part in (data.train[:600], data.test))
    pca = PCA(2).fit(learn)
    restored = np.clip(pca.inverse_transform(pca.transform(test)), 0, 1)
    assert baselines["pca"][2]["l1"] == pytest.approx(np.abs(restored - test).mean(), abs=1e-4)


def test_progress_is_promised_and_kept_and_history_has_every_epoch(finished):
    progress = finished[1]
    assert progress.expected == progress.steps == len(progress.rows) == 2 * 2 * 2
    assert finished[0].tables["history"].rows == progress.rows


def test_labels_choose_nothing_but_scores(finished, monkeypatch):
    honest = embedded_digits()
    random = np.random.RandomState(1)

    def shuffle(part):
        return ImageSet(part.pixels, random.permutation(part.labels))

    shuffled = DataSet(honest.name, *map(shuffle, (honest.train, honest.validation, honest.test)), honest.sha256)
    monkeypatch.setattr(experiment, "load", lambda name, note: shuffled)
    result = run(SETTINGS, Silent())
    for name, weights in result.weights.items():
        assert all(torch.equal(tensor, finished[0].weights[name][key]) for key, tensor in weights.items())
    for dim, cell in result.metrics["cells"].items():
        assert cell["l1"] == finished[0].metrics["cells"][dim]["l1"]
        assert cell["clusters"]["kmeans"]["ari"] < 0.05


def test_a_run_without_the_two_number_latent_draws_no_scatter():
    result = run(LatentSettings(dims=[3], data="mnist-5k", epochs=4, batch_size=32, train_images=300), Silent())
    assert "scatter" not in result.figures
    assert set(result.figures) == {"reconstructions", "loss_curves", "scores"}


def test_the_middle_of_nested_scores_is_taken_number_by_number():
    assert middle([{"a": 1, "b": {"c": 5}}, {"a": 3, "b": {"c": 1}}, {"a": 2, "b": {"c": 9}}]) == {
        "a": 2,
        "b": {"c": 5},
    }
