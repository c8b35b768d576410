"""The autoencoder as scikit-learn estimators."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from bs6207.data.sources import embedded_digits
from bs6207.latent import LatentClusterer, LatentTransformer
from bs6207.latent.clusterers import CLUSTERERS

SHORT = {"dim": 2, "epochs": 1, "precision": "fp32"}
ESTIMATORS = [LatentTransformer(**SHORT), LatentClusterer(**SHORT)]
LEFT_OUT = {"check_array_api_input": "needs SCIPY_ARRAY_API set before scipy is imported; arrays here are numpy's"}


@pytest.fixture(scope="module")
def digits():
    images = embedded_digits().train[:300]
    return images.pixels, images.labels


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of too few images for the clusters that a check asks for
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks_hold(estimator, check):
    name = getattr(check, "func", check).__name__
    if name in LEFT_OUT:
        pytest.skip(LEFT_OUT[name])
    check(estimator)


CHECKS = ("check_estimators_pickle", "check_methods_subset_invariance", "check_transformer_general", "check_clustering")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CHECKS)
def test_the_checks_that_are_easiest_to_break_hold(name):
    from sklearn.utils import estimator_checks

    estimator = ESTIMATORS[name == "check_clustering"]
    getattr(estimator_checks, name)(type(estimator).__name__, clone(estimator))


def test_images_come_back_in_their_shape_and_units_whatever_these_are(digits):
    pixels, _ = digits
    forms = {
        "uint8": pixels[:, 0],
        "channels": pixels,
        "flat": pixels.reshape(len(pixels), -1),
        "unit": pixels[:, 0] / 255,
        "scaled": 4 * (pixels[:, 0] / 255) - 2,
    }
    latents = {}
    for name, images in forms.items():
        model = LatentTransformer(3, epochs=2, precision="fp32").fit(images)
        assert model.image_shape_ == (1, 28, 28)
        latents[name] = model.transform(images)
        restored = model.inverse_transform(latents[name])
        assert restored.shape == images.shape
        assert images.min() <= restored.min()
        assert restored.max() <= images.max()
        assert np.abs(restored - images).mean() < np.abs(images - images.min()).mean() * 1.5
    for name, found in latents.items():
        assert found.dtype == (np.float64 if name in ("unit", "scaled") else np.float32)
        assert np.allclose(found, latents["uint8"], atol=1e-5), name
    model = pickle.loads(pickle.dumps(model))
    assert np.allclose(model.transform(forms["scaled"][:7]), latents["scaled"][:7], rtol=1e-9)
    with pytest.raises(ValueError, match="an image of 784 pixels has no shape"):
        LatentTransformer(image_shape=(3, 5)).fit(forms["flat"])
    with pytest.raises(ValueError, match="--epochs: should be greater than or equal to 1, not 0"):
        LatentTransformer(epochs=0).fit(forms["flat"])


@pytest.fixture(scope="module")
def fitted(digits):
    """By what `fit` saw: 8 bits, or values in [0, 1]."""
    pixels = digits[0][:, 0]
    return {name: LatentTransformer(**SHORT).fit(images) for name, images in (("8", pixels), ("1", pixels / 255))}


@pytest.mark.parametrize("seen", ["8", "1"])
def test_8_bits_and_unit_values_give_the_same_latents_and_other_units_are_refused(digits, fitted, seen):
    pixels, model = digits[0][:9, 0], fitted[seen]
    assert np.allclose(model.transform(pixels), model.transform(pixels / 255), atol=1e-5)
    for units, words in ((5.0, "above 1; divide 8-bit"), (-1.0, "negative"), (255.0, "above 1; divide 8-bit")):
        with pytest.raises(ValueError, match=f"must lie in .*{words}"):
            model.transform(pixels / 255 * units)


def test_images_come_in_lists_and_with_channels_at_either_end(digits, fitted):
    pixels, model = digits[0][:9, 0], fitted["8"]
    latents = model.transform(pixels)
    for images in (
        [*pixels], [*pixels[:, None]], [Image.fromarray(image) for image in pixels], pixels[:, None], pixels[..., None],
        pixels.reshape(9, -1), torch.from_numpy(pixels / 255).requires_grad_(),
    ):  # fmt: skip
        assert np.allclose(model.transform(images), latents, atol=1e-5)
    with pytest.raises(ValueError, match="0 sample"):
        model.transform(pixels[:0])
    colours = np.stack([pixels, pixels // 2, 255 - pixels], -1)
    last = LatentTransformer(**SHORT).fit(colours)
    first = LatentTransformer(**SHORT).fit(np.moveaxis(colours, -1, 1))
    assert last.image_shape_ == first.image_shape_ == (3, 28, 28)
    assert np.array_equal(last.transform(colours), first.transform(np.moveaxis(colours, -1, 1)))
    restored = [model.inverse_transform(np.zeros((1, 2))) for model in (last, first)]
    assert np.array_equal(restored[0], np.moveaxis(restored[1], 1, -1))
    assert LatentTransformer(image_shape=784, **SHORT).fit(pixels.reshape(9, -1)).image_shape_ == (1, 1, 784)


def test_what_would_not_be_used_is_refused_before_any_training(digits):
    pixels, labels = digits
    for parameters, sentence in (
        ({"dim": [2, 3]}, "dim is one value here, not 2"),
        ({"clusterer": ["kmeans", "gmm"]}, "clusterer is one value here, not 2"),
    ):
        with pytest.raises(ValueError, match=sentence):
            LatentClusterer(3, **parameters).fit(pixels)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LatentClusterer().fit(pixels, labels[:5])
    assert len(LatentClusterer(3, clusterer=["kmeans"], **SHORT).fit_predict(pixels[:20])) == 20


@pytest.mark.parametrize("name", [name for name in CLUSTERERS if name in ("kmeans", "gmm", "spectral")])
def test_every_quick_clusterer_labels_and_predicts_and_survives_a_pickle(digits, name):
    pixels, labels = digits
    model = LatentClusterer(10, dim=4, clusterer=name, epochs=6, precision="fp32")
    found = model.fit_predict(pixels)
    assert adjusted_rand_score(labels, found) > 0.1  # random ones have 0
    again = pickle.loads(pickle.dumps(model))
    if name != "spectral":  # which lets neighbours vote
        assert np.array_equal(again.predict(pixels), found)
    assert again.transform(pixels).shape == (300, 4)


def test_the_number_of_clusters_is_given_or_that_of_the_classes_or_found(digits):
    pixels, labels = digits
    short = {"dim": 2, "epochs": 1, "precision": "fp32"}
    assert LatentClusterer(4, **short).fit(pixels).n_clusters_ == 4
    assert LatentClusterer(**short).fit(pixels, labels).n_clusters_ == 10
    rng = np.random.RandomState(0)
    blobs = np.concatenate([rng.normal(centre, 0.05, (40, 16)) for centre in (-1, 0, 1)])
    assert LatentClusterer(dim=2, epochs=10, precision="fp32").fit(blobs).n_clusters_ == 3
    with pytest.raises(ValueError, match="kmeans needs 500 training images for 500 clusters"):
        LatentClusterer(500, **short).fit(pixels)


def test_they_work_in_a_pipeline_and_the_seed_decides(digits):
    pixels, _ = digits
    pipeline = make_pipeline(FunctionTransformer(lambda images: 255 - images), LatentTransformer(**SHORT))
    first = pipeline.fit_transform(pixels)
    assert np.array_equal(clone(pipeline).fit_transform(pixels), first)
    assert not np.array_equal(
        clone(pipeline).set_params(latenttransformer__random_state=1).fit_transform(pixels), first
    )
    assert [*pipeline[-1].get_feature_names_out()] == ["latenttransformer0", "latenttransformer1"]
