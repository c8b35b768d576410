"""The remarks of the deblur experiment."""

import math

import pytest

from bs6207.deblur.settings import DeblurSettings, SigmaRange
from bs6207.deblur.summary import (
    baseline_sentences,
    clarity_sentences,
    disc_sentences,
    evaluator_sentences,
    harm_sentences,
    remarks,
)

SETTINGS = DeblurSettings(test_sigmas=[2.0, 1.0])


def scored(psnr, l1=0.02, sharpness=0.9, two_sample=0.8):
    return {"psnr": psnr, "l1": l1, "sharpness": sharpness, "two_sample": two_sample}


def made(**changes):
    restorers = {
        "identity": {"1.0": scored(19), "2.0": scored(14)},
        **{name: {"1.0": scored(25), "2.0": scored(20)} for name in ("unsharp", "wiener", "richardson_lucy", "tv")},
        "l1": {"1.0": scored(30), "2.0": scored(26)},
        "l1_disc": {
            "1.0": scored(29.8, 0.0202, 0.98, 0.6),
            "2.0": scored(25.9, 0.019, 0.97, 0.5),
        },
    }
    conditions = {
        "clear": {"caption": "no blur", "psnr": {"identity": 42.0, "l1": 46.0, "l1_disc": 41.5}},
        "motion": {"caption": "motion", "psnr": {"identity": 14.0, "l1": 12.5, "l1_disc": 12.0}},
    }
    return {
        "restorers": restorers,
        "conditions": conditions,
        "clear": {"1.0": {"heldout_clear": 0.99, "digit_accuracy": 0.98}},
        "clarity": {"chosen": 0.7, "clear_score": 2.5, "validation": [{"weight": 0.7, "heldout_score": 2.6}]},
        "data": {"scored": 1000, "name": "mnist", "train": 49500, "validation": 5000, "only_in_test": []},
    } | changes


def test_the_changes_by_disc_net_are_listed_for_every_blur_in_order():
    first, second = disc_sentences(made(), SETTINGS)
    assert first.startswith("Sigma 1: disc_net changes PSNR by -0.20 dB, L1 by +1.0%, sharpness from 0.900 to 0.980")
    assert second.startswith("Sigma 2: disc_net changes PSNR by -0.10 dB, L1 by -5.0%")
    assert second.endswith("two-sample from 0.80 to 0.50.")


def test_a_change_that_rounds_to_nothing_has_no_minus():
    metrics = made()
    metrics["restorers"]["l1_disc"]["1.0"] = scored(29.999, 0.0199999)
    assert "PSNR by +0.00 dB, L1 by +0.0%" in next(iter(disc_sentences(metrics, SETTINGS)))


@pytest.mark.parametrize(
    ("sigma", "words"), [("0.2:4", "blind, trained on sigma 0.2 to 4"), ("2", "trained on sigma 2 only")]
)
def test_a_baseline_that_is_ahead_is_named_and_no_other(sigma, words):
    metrics, settings = made(), SETTINGS.model_copy(update={"sigma": SigmaRange.parse(sigma)})
    assert not [*baseline_sentences(metrics["restorers"], settings)]
    metrics["restorers"]["tv"]["1.0"]["psnr"] = 30.5
    assert [*baseline_sentences(metrics["restorers"], settings)] == [
        f"Sigma 1: TV with the true kernel has a PSNR 0.50 dB above that of L1, {words}."
    ]


def test_harm_is_reported_of_every_restorer_that_does_it_wherever_it_does():
    metrics = made()
    metrics["restorers"]["autoencoder"] = {"1.0": scored(25), "2.0": scored(13.5)}
    assert [*harm_sentences(metrics)] == [
        "Sigma 2: restored images have a lower PSNR than the blurred ones: autoencoder -0.5 dB, to 13.5 dB.",
        'Condition "no blur": restored images have a lower PSNR than the blurred ones: L1 + disc -0.5 dB, to 41.5 dB.',
        'Condition "motion": restored images have a lower PSNR than the blurred ones: L1 -1.5 dB, to 12.5; '
        "L1 + disc -2.0 dB, to 12.0 dB.",
    ]


@pytest.mark.parametrize(("accuracy", "two_sample", "words"), [(0.98, 0.8, ""), (None, 0.8, "Fréch"), (1, None, "few")])
def test_a_missing_evaluator_is_reported(accuracy, two_sample, words):
    metrics = made(clear={"1.0": {"digit_accuracy": accuracy, "heldout_clear": 1.0}})
    metrics["restorers"]["l1"]["1.0"]["two_sample"] = two_sample
    assert bool(words) == bool(sentences := [*evaluator_sentences(metrics)])
    assert words in " ".join(sentences)
    assert ("two-sample" in next(iter(disc_sentences(metrics, SETTINGS)))) == (two_sample is not None)


def test_classes_that_the_classifier_never_saw_are_reported():
    metrics = made()
    metrics["data"] |= {"only_in_test": ["a\nb", "c"], "images_of_only_in_test": 30}
    assert "No training image shows a b, c, so 30 of the 1000 test images count as wrong" in " ".join(
        remarks(metrics, SETTINGS)
    )


def test_what_has_no_number_is_not_reported():
    metrics = made()
    for name in ("l1", "l1_disc"):
        metrics["restorers"][name]["1.0"] = scored(math.inf, 0.0, math.nan, None)
    assert next(iter(disc_sentences(metrics, SETTINGS))) == (
        "Sigma 1: disc_net changes no score: both equal the truth."
    )
    metrics["restorers"]["l1"]["1.0"] = scored(30, 0.01, math.nan, None)
    assert "changes L1 by -100.0%." in next(iter(disc_sentences(metrics, SETTINGS)))


def test_the_frontier_and_the_reason_of_the_clarity_are_reported():
    ends = [{"psnr": 29.0, "sharpness": 0.95}, {"psnr": 28.5, "sharpness": 1.01}]
    settings = SETTINGS.model_copy(update={"frontier": True})
    definition, first, enough = clarity_sentences(made(frontier=ends), settings)
    assert "L1 + 40 times the adversarial loss" in definition
    assert "From clarity 0 to 1 PSNR goes from 29.00 to 28.50 dB and sharpness from 0.950 to 1.010" in first
    assert "uses clarity 0.7 by default: the least" in enough
    short = made()
    short["clarity"]["clear_score"] = 2.7
    assert "that of the highest score of the held-out discriminator" in [*clarity_sentences(short, SETTINGS)][-1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SETTINGS, "sigma 0.2 to 4;"),
        (SETTINGS.model_copy(update={"sigma": SigmaRange(1.5, 1.5), "seeds": 3}), "medians of 3 seeds"),
    ],
)
def test_the_remarks_say_on_what_and_by_what(settings, said):
    text = " ".join(remarks(made(), settings))
    assert said in text
    assert "1000 test images of mnist" in text
    assert "clarity 0.7" in text


@pytest.mark.parametrize(
    ("term", "definition"),
    [
        ("L1 + disc", "`L1 + disc` is a restorer trained with L1 and the adversarial loss of a discriminator"),
        ("disc_net", "a discriminator, disc_net"),
        ("held-out", "`held-out` is the share of images that the held-out discriminator, which trained no restorer,"),
        ("two-sample", "`two-sample` is the test accuracy of a new network"),
        ("sharpness", "`sharpness` is the strength of the edges relative to the truth"),
        ("clarity", "Clarity is the weight, 0 to 1, of an interpolation"),
    ],
)
@pytest.mark.parametrize("frontier", [False, True])
def test_every_term_of_the_remarks_is_defined_at_its_first_use(term, definition, frontier):
    ends = [{"psnr": 29.0, "sharpness": 0.95}, {"psnr": 28.5, "sharpness": 1.01}]
    text = " ".join(remarks(made(frontier=ends), SETTINGS.model_copy(update={"frontier": frontier})))
    place = text.index(definition)
    assert place <= text.lower().index(term.lower()) < place + len(definition)
