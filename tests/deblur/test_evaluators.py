"""The evaluators on digits they must tell apart, and on digits they cannot."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bs6207.data.images import ImageSet
from bs6207.data.sources import embedded_digits
from bs6207.deblur import evaluators
from bs6207.deblur.blur import blur_for_test
from bs6207.deblur.evaluators import FEATURES, plausibility, train_classifier, train_heldout_disc, two_sample_accuracy

pytestmark = pytest.mark.xdist_group("evaluators")  # its tests share what one of them has trained

DIGITS = embedded_digits()
TEST = DIGITS.test.unit_pixels[:500]
LEARN, OTHERS = (DIGITS.train[part].unit_pixels for part in (slice(1000, 1200), slice(1400, 1600)))


@pytest.fixture(scope="module")
def heldout_disc():
    return train_heldout_disc(DIGITS.train.pixels[:350], (0.2, 4.0), seed=0)


@pytest.fixture(scope="module")
def classifier():
    return train_classifier(DIGITS.train.pixels, DIGITS.train.labels, len(DIGITS.classes), seed=0)


def test_the_heldout_disc_takes_clear_digits_for_clear_and_blurred_ones_not(heldout_disc):
    assert heldout_disc.clearness(TEST) >= 0.98
    for sigma in (0.6, 1.0, 2.0, 4.0):
        assert heldout_disc.clearness(blur_for_test(TEST, sigma, 0.0, 0)) <= 0.03


@pytest.mark.slow
def test_the_classifier_learns_the_digits_and_describes_them(classifier):
    assert classifier.accuracy(DIGITS.test.unit_pixels, DIGITS.test.labels) >= 0.95
    features = classifier.features(TEST)
    assert features.shape == (500, FEATURES)
    assert features.dtype == np.float32
    own, *_ = np.linalg.lstsq(features, np.eye(10)[DIGITS.test.labels[:500]], rcond=None)
    assert np.mean((features @ own).argmax(1) == DIGITS.test.labels[:500]) >= 0.95


def test_two_sets_of_clear_digits_cannot_be_told_apart():
    accuracy = two_sample_accuracy(LEARN, OTHERS, TEST, DIGITS.test.unit_pixels[500:1000], seed=0)
    assert accuracy == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 1000))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda images: blur_for_test(images, 0.5, 0.0, 0), marks=pytest.mark.slow),
        lambda images: images * np.float32(0.97),
    ],
    ids=["a blur of half a pixel", "3 % less light"],
)
def test_small_changes_give_restored_digits_away(change):
    assert two_sample_accuracy(LEARN, change(OTHERS), TEST, change(TEST), seed=0) >= 0.95


@pytest.mark.slow
def test_what_8_bits_cannot_hold_gives_nothing_away(monkeypatch):
    monkeypatch.setattr(evaluators, "TWO_SAMPLE_STEPS", 30)
    clear, restored = TEST[:250], TEST[250:]

    def with_less_than_half_a_level(images):
        return images + np.random.RandomState(0).uniform(-0.4 / 255, 0.4 / 255, images.shape).astype(np.float32)

    noisy = [with_less_than_half_a_level(images) for images in (OTHERS, restored)]
    expected = two_sample_accuracy(LEARN, OTHERS, clear, restored, seed=0)
    assert two_sample_accuracy(LEARN, noisy[0], clear, noisy[1], seed=0) == expected


def test_the_same_seed_gives_the_same_evaluators_and_leaves_the_runs_random_numbers_alone(monkeypatch):
    for steps in ("DISC_STEPS", "TWO_SAMPLE_STEPS"):
        monkeypatch.setattr(evaluators, steps, 3)
    monkeypatch.setattr(evaluators, "CLASSIFIER_STEPS", (3, 3))
    blurred = blur_for_test(OTHERS, 0.4, 0.0, 0)

    def trained(seed):
        heldout = train_heldout_disc(DIGITS.train.pixels[:100], (0.2, 4.0), seed)
        features = train_classifier(DIGITS.train.pixels[:300], DIGITS.train.labels[:300], 10, seed).features(TEST[:20])
        return (
            [weights.tolist() for weights in heldout.weights.values()],
            features.tolist(),
            two_sample_accuracy(LEARN, blurred, TEST, blurred, seed),
        )

    torch.manual_seed(5)
    expected = torch.rand(2).tolist()
    torch.manual_seed(5)
    first = trained(1)
    drawn = [torch.rand(1).item()]
    again, other = trained(1), trained(2)
    assert [*drawn, torch.rand(1).item()] == expected
    assert first == again
    assert first[:2] != other[:2]


@pytest.mark.parametrize("shape", [(1, 7, 7), (3, 9, 20), pytest.param((3, 300, 70), marks=pytest.mark.slow)])
def test_images_of_any_size_and_colour_are_evaluated(monkeypatch, shape):
    for steps in ("DISC_STEPS", "TWO_SAMPLE_STEPS"):
        monkeypatch.setattr(evaluators, steps, 2)
    monkeypatch.setattr(evaluators, "CLASSIFIER_STEPS", (2, 2))
    pixels = np.random.RandomState(0).randint(0, 256, (20, *shape)).astype(np.uint8)
    unit = ImageSet(pixels, None).unit_pixels
    assert 0 <= train_heldout_disc(pixels, (0.2, 4.0), seed=0).clearness(unit) <= 1
    assert 0 <= two_sample_accuracy(unit[::2], unit[1::2], unit, unit, seed=0) <= 1
    assert train_classifier(pixels, np.arange(20) % 2, 2, seed=0).features(unit).shape == (20, FEATURES)


def test_without_noise_the_truth_explains_the_blurred_image_up_to_the_rounding_to_8_bits():
    textured = np.random.RandomState(0).uniform(0.2, 0.8, (20, 1, 28, 28)).astype(np.float32)
    ceiling = plausibility(textured, blur_for_test(textured, 1.5, 0.0, 0), 1.5)
    assert ceiling == pytest.approx(-20 * np.log10(1 / 255 / np.sqrt(12)), abs=0.2)  # a uniform error of one level


def test_noise_sets_the_ceiling_of_plausibility_and_another_image_stays_below():
    grey = np.random.RandomState(0).uniform(0.3, 0.7, (20, 1, 28, 28)).astype(np.float32)
    blurred = blur_for_test(grey, 1.0, 0.01, 0)
    ceiling = plausibility(grey, blurred, 1.0)
    assert ceiling == pytest.approx(-10 * np.log10(0.01**2 + 1 / 255**2 / 12), abs=0.1)
    assert plausibility(grey, blurred, 2.0) < ceiling - 3
    assert plausibility(grey[::-1], blurred, 1.0) < ceiling - 3


def test_what_blurring_takes_away_plausibility_cannot_see():
    checks = np.indices((28, 28)).sum(0) % 2 * 0.1 - 0.05  # the finest pattern there is
    grey = np.full((2, 1, 28, 28), 0.5, np.float32)
    gone = gaussian_filter(checks, 2.0)[8:-8, 8:-8]
    assert np.abs(gone).max() < 1e-6
    blurred = blur_for_test(grey, 2.0, 0.01, 0)
    assert plausibility((grey + checks).astype(np.float32), blurred, 2.0) == pytest.approx(
        plausibility(grey, blurred, 2.0), abs=0.5
    )


def test_no_images_are_nothing_to_learn_from():
    with pytest.raises(ValueError, match="no images to train on"):
        two_sample_accuracy(TEST[:0], TEST, TEST, TEST, seed=0)
