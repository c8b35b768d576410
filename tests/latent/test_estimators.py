"""The autoencoder as scikit-learn estimators."""

import pickle

import numpy as np
import pytest
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
