"""The latent experiment: what is scored, what is compared, and that labels choose nothing."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Watched

from bs6207 import latent
from bs6207.data import sources
from bs6207.data.images import DataSet, ImageSet
from bs6207.data.sources import embedded_digits
from bs6207.errors import DataError, FolderError, UserError, after
from bs6207.latent import clusterers, experiment, tasks
from bs6207.latent.assignments import Opinion
from bs6207.latent.experiment import count_clusters, require_images, required, run
from bs6207.latent.settings import LatentSettings
from bs6207.runs.folder import open_run
from bs6207.runs.progress import FailedTask

pytestmark = pytest.mark.xdist_group("latent")  # its tests share what one of them has trained

SETTINGS = LatentSettings(
    dims=[2, 5], data="mnist-5k", epochs=2, batch_size=64, seeds=2, clusterer=["kmeans", "gmm"], train_images=600
)


@pytest.fixture(scope="module", autouse=True)
def _one_start():
    """Clusterers that start once: how well they do is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusterers, "STARTS", 1)
        yield


@pytest.fixture(scope="module")
def finished():
    progress = Watched()
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


def test_progress_has_every_expected_step_and_history_every_epoch(finished):
    result, progress = finished
    assert progress.expected == progress.steps
    assert len(progress.rows) == 2 * 2 * 2
    assert result.tables["history"].rows == progress.rows


def test_labels_choose_nothing_but_scores(finished, monkeypatch):
    honest = embedded_digits()
    random = np.random.RandomState(1)

    def shuffle(part):
        return ImageSet(part.pixels, random.permutation(part.labels))

    parts = map(shuffle, (honest.train, honest.validation, honest.test))
    shuffled = DataSet(honest.name, *parts, honest.sha256, honest.classes)
    monkeypatch.setattr(experiment, "load", lambda *_, **__: shuffled)
    monkeypatch.setattr(sources, "loaded", lambda *_, **__: shuffled)
    result = run(SETTINGS.model_copy(update={"skip_probes": True, "seeds": 1}), Watched())
    for name, weights in result.weights.items():
        before = finished[0].weights[name].tensors
        assert all(torch.equal(tensor, before[key]) for key, tensor in weights.tensors.items())
    for dim, cell in result.metrics["cells"].items():
        before = finished[0].metrics["cells"][dim]
        for seed, scores in cell["seeds"].items():
            assert scores["l1"] == before["seeds"][seed]["l1"]
            for name, clusters in scores["clusters"].items():
                assert clusters["sizes"] == before["seeds"][seed]["clusters"][name]["sizes"]
                assert clusters["ari"] < 0.05 < before["seeds"][seed]["clusters"][name]["ari"]


def test_images_without_labels_are_reconstructed_and_clustered_but_not_scored_against_classes(monkeypatch):
    digits = embedded_digits()
    parts = digits.train[:600], digits.validation[:300], digits.test[:300]
    bare = DataSet("bare", *(ImageSet(part.pixels, None) for part in parts), "")
    monkeypatch.setattr(experiment, "load", lambda *_, **__: bare)
    monkeypatch.setattr(sources, "loaded", lambda *_, **__: bare)
    settings = SETTINGS.model_copy(update={"dims": [3], "clusters": 7, "seeds": 1})
    found = run(settings, Watched()).metrics["cells"][3]["seeds"][0]["clusters"]["kmeans"]
    assert {key for key, value in found.items() if value is not None} == {"sizes", "stable", "stability"}
    assert len(found["sizes"]) == 7
    searched = LatentSettings(dims=[3], data="mnist-5k", epochs=2, batch_size=64, skip_probes=True)
    result = run(searched, Watched())
    number = result.metrics["number_of_clusters"]
    assert number["searched"]
    assert result.settings.clusterer == ["graph", "kmeans"]
    assert result.tables["number_of_clusters"].rows == number["curve"]
    assert len(result.metrics["cells"][3]["seeds"][0]["clusters"]["graph"]["sizes"]) == number["used"]


def test_as_many_clusters_are_found_as_asked_for_and_no_probes():
    settings = LatentSettings(dims=[3], data="mnist-5k", epochs=4, train_images=300, clusters=13, skip_probes=True)
    result = run(settings, Watched())
    metrics = result.metrics
    assert metrics["cells"][3]["probes"] == metrics["baselines"]["pixels"]["probes"] == {}
    assert "probes" not in result.figures
    for scores in (metrics["cells"][3], metrics["baselines"]["pixels"], metrics["baselines"]["pca"][3]):
        assert len(scores["seeds"][0]["clusters"]["kmeans"]["sizes"]) == 13
        assert sum(scores["seeds"][0]["clusters"]["kmeans"]["sizes"]) == 1000


def test_a_latent_larger_than_the_images_or_their_number_is_refused(monkeypatch):
    digits = embedded_digits()
    few = DataSet("few", *(part[:50] for part in (digits.train, digits.validation, digits.test)), "", digits.classes)
    monkeypatch.setattr(experiment, "load", lambda *_, **__: few)
    with pytest.raises(DataError, match="51 components needs as many images, and there are 50"):
        run(LatentSettings(dims=[2, 51], data="mnist-5k"), Watched())
    small = DataSet(
        "small", *(ImageSet(part.pixels[..., 10:15, 10:15], part.labels) for part in (digits.train,) * 3), "", ("0",)
    )
    monkeypatch.setattr(experiment, "load", lambda *_, **__: small)
    with pytest.raises(DataError, match="larger than the 25 pixels"):
        run(LatentSettings(dims=[26], data="mnist-5k"), Watched())


@pytest.mark.slow
@pytest.mark.parametrize("dim", [1, 5, 23, 24, 100, 400, 784])
def test_no_size_loses_to_pca(dim):
    epochs = 3 if dim < 100 else 1  # a wide latent starts at PCA
    result = run(LatentSettings(dims=[dim], data="mnist-5k", epochs=epochs, batch_size=64, skip_probes=True), Watched())
    l1, pca = result.metrics["cells"][dim]["l1"], result.metrics["baselines"]["pca"][dim]["l1"]
    assert l1 <= pca + 1e-6  # where PCA is exact both are, but for rounding


@pytest.mark.slow
def test_a_size_that_learns_nothing_fails_and_the_others_are_kept(monkeypatch):
    train = tasks.train_autoencoder

    def blind(model, pixels, validation, epochs, recipe, *more):
        return train(model, pixels, validation, epochs, replace(recipe, lr=1e-9) if model.dim == 2 else recipe, *more)

    monkeypatch.setattr(tasks, "train_autoencoder", blind)
    result = run(SETTINGS.model_copy(update={"seeds": 1, "skip_probes": True}), Watched())
    assert list(result.metrics["cells"]) == [5]
    assert result.metrics["failed"][0]["dim"] == 2
    assert "no better than the median image" in result.failures[0]


def test_an_autoencoder_that_is_slightly_better_than_a_constant_image_is_kept_and_remarked_on():
    weak = {"lr": 0.0023, "epochs": 2, "precision": "fp32"}
    result = run(
        LatentSettings(dims=[2], data="mnist-5k", train_images=600, batch_size=64, skip_probes=True, **weak), Watched()
    )
    assert result.metrics["failed"] == []
    assert result.metrics["cells"][2]["beats_constant"] is True
    (reason,) = result.metrics["weak"]
    loss = min(row["validation_l1"] for row in result.tables["history"].rows)
    assert reason.startswith(f"dim 2, seed 0: a validation L1 of {loss:.4f}, ")
    assert re.search(
        r", [0-4]\.\d % better than the median image \(0\.\d+\), after 18 steps only; try more --epochs", reason
    )
    assert f"Hardly better than a constant image: {reason}." in result.remarks


def test_the_weights_of_the_best_epoch_decide_whether_a_training_failed(monkeypatch):
    train = tasks.train_autoencoder

    def diverging_at_the_end(*arguments):
        for epoch in train(*arguments):
            yield replace(epoch, train_l1=9.0, validation_l1=9.0)

    monkeypatch.setattr(tasks, "train_autoencoder", diverging_at_the_end)
    result = run(SETTINGS.model_copy(update={"dims": [5], "seeds": 1, "skip_probes": True}), Watched())
    assert result.metrics["failed"] == []


def test_a_process_reads_the_images_once_for_all_its_tasks(monkeypatch):
    reads = []
    monkeypatch.setattr(sources, "load", lambda *arguments: reads.append(arguments) or embedded_digits())
    monkeypatch.setattr(tasks, "score_pixels", lambda task, train, data, progress: data)
    sources.loaded.cache_clear()
    task = tasks.Task("pixels", (), 0, (), 10, 1.0, embedded_digits().sha256, SETTINGS, Opinion(1.0))
    assert tasks.run_task(task, Watched()) is tasks.run_task(task, Watched())
    assert len(reads) == 1


def use_images(monkeypatch, pixels, labels, test=None):
    """A data set of these images, which are for validation and test too unless there are others for the test."""
    names = tuple(f"class {label}" for label in range(max(labels) + 1))
    part = ImageSet(np.asarray(pixels, np.uint8), np.array(labels))
    data = DataSet("made", part, part, test or part, "", names)
    monkeypatch.setattr(experiment, "load", lambda *_, **__: data)
    monkeypatch.setattr(sources, "loaded", lambda *_, **__: data)


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape)


@pytest.mark.parametrize("level", [0, 100])
def test_images_that_are_all_alike_come_to_a_result(monkeypatch, level):
    use_images(monkeypatch, np.full((30, 1, 5, 4), level), [0, 1] * 15)
    result = run(LatentSettings(dims=[2], data="mnist-5k", epochs=2, clusterer=["kmeans", "spectral"]), Watched())
    assert result.metrics["failed"] == []
    assert result.metrics["cells"][2]["beats_constant"] is False
    assert result.metrics["baselines"]["median"]["l1"] == 0
    assert result.metrics["baselines"]["pca"][2]["l1"] < 1e-6
    remark = "No better than a constant image on validation images (too few training images or dimensions): dim 2."
    assert remark in result.remarks
    assert "projection" not in result.metrics["left_out"]


def test_noise_has_nothing_to_learn_and_comes_to_a_result_that_is_not_stable(monkeypatch):
    parts = [ImageSet(pixels.astype(np.uint8), None) for pixels in np.split(noise(600, 1, 28, 28), [400, 500])]
    data = DataSet("noise", *parts, "", ())
    monkeypatch.setattr(experiment, "load", lambda *_, **__: data)
    monkeypatch.setattr(sources, "loaded", lambda *_, **__: data)
    result = run(LatentSettings(dims=[2], data="mnist-5k", epochs=2, clusters=2, skip_probes=True), Watched())
    assert result.failures == []
    cell = result.metrics["cells"][2]
    assert cell["beats_constant"] is False
    assert cell["seeds"][0]["clusters"]["kmeans"]["stable"] is False


def test_few_or_tiny_images_that_are_learned_are_a_result(monkeypatch):
    use_images(
        monkeypatch, noise(10, 1, 2, 2), [0, 1] * 5, ImageSet(np.full((4, 1, 2, 2), 9, np.uint8), np.arange(4) % 2)
    )
    result = run(LatentSettings(dims=[2], data="mnist-5k", epochs=60, skip_probes=True), Watched())
    assert result.failures == []


@pytest.mark.parametrize(
    ("steps", "lr", "text"),
    [
        (1, None, "after one step only; try more --epochs"),
        (20, 0.1, "after 20 steps only; try more --epochs, or another --lr than 0.1"),
        (1000, None, "after 1000 steps; try another --lr, or more --epochs"),
        (1000, 0.1, "after 1000 steps; try another --lr than 0.1, or more --epochs"),
    ],
)
def test_advice_fits_the_cause(steps, lr, text):
    assert after(steps, lr) == text


def test_a_clusterer_that_has_too_few_images_is_left_out_and_the_others_are_kept(monkeypatch):
    use_images(monkeypatch, noise(12, 1, 4, 4), range(12))
    settings = LatentSettings(dims=[2], data="mnist-5k", epochs=40, clusterer=["spectral", "gmm", "kmeans"])
    result = run(settings, Watched())
    reason = "spectral needs 13 training images for 12 clusters, and there are 12"
    assert result.metrics["left_out"] == {"spectral": reason}
    assert [*result.metrics["cells"][2]["clusters"]] == ["gmm", "kmeans"]
    assert f"Left out: {reason}." in result.remarks
    assert result.settings.clusterer == settings.clusterer  # its record runs the same again


def test_where_no_clusterer_is_left_the_run_is_refused_before_any_training(monkeypatch):
    use_images(monkeypatch, noise(12, 1, 4, 4), [0] * 12)
    with pytest.raises(DataError, match="best needs 2 clusters or more, not 1; give other --clusters or another"):
        run(LatentSettings(dims=[2], data="mnist-5k", clusterer=["best"]), Watched())


def test_one_training_image_is_refused(monkeypatch):
    use_images(monkeypatch, noise(1, 1, 4, 4), [0])
    with pytest.raises(DataError, match="latent needs 2 training images"):
        run(LatentSettings(dims=[1], data="mnist-5k"), Watched())


def test_a_saved_autoencoder_encodes_and_decodes_as_it_did(finished, tmp_path):
    result = finished[0]
    with open_run("latent", tmp_path / "run", SETTINGS) as files:
        files.write_result(replace(result, figures={}))
    test = embedded_digits().test
    for dim in SETTINGS.dims:
        model = latent.load(tmp_path / "run", dim)
        latents = model.encode(test.unit_pixels)
        assert latents.shape == (1000, dim)
        error = np.abs(model.decode(latents).numpy() - test.unit_pixels).mean()
        assert error == pytest.approx(result.metrics["cells"][dim]["seeds"][0]["l1"], rel=1e-5)
        other = latent.load(tmp_path / "run", dim, seed=1).encode(test.unit_pixels)
        assert not torch.allclose(latents, other)
    with pytest.raises(ValueError, match=r"must be \[N, 1, 28, 28\]"):
        model.encode(np.zeros((3, 28, 28)))
    with pytest.raises(FolderError, match=r"no autoencoder of dim 7; it has dim 2 \(seed 0\)"):
        latent.load(tmp_path / "run", 7)
    file = tmp_path / "run" / "autoencoder_2_0.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FolderError, match=f"{file} is not an autoencoder"):
        latent.load(tmp_path / "run", 2)


def test_images_that_are_too_few_or_no_files_are_refused_with_what_to_do():
    few = ImageSet(np.zeros((3, 1, 4, 4), np.uint8), None)
    settings = LatentSettings(dims=[2], clusters=5)
    with pytest.raises(DataError, match="5 clusters need as many images, and there are 3; lower --clusters"):
        count_clusters(settings, few, None)
    with pytest.raises(DataError, match="a search of the number takes 4 training images, not 3; give --clusters"):
        count_clusters(LatentSettings(dims=[2]), few, None)
    assert count_clusters(settings, few, 2) == 2
    with pytest.raises(DataError, match="--link is for pictures; leave it out"):
        require_images(settings.model_copy(update={"link": "sorted"}), few)
    with pytest.raises(UserError, match="its worker died"):
        required({"one": np.zeros(1), "other": FailedTask("its worker died")})
