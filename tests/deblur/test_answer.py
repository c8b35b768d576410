"""What the numbers of the deblur experiment are said to mean."""

import pytest

from bs6207.deblur.answer import condition_sentences, disc_sentences, judge_sentences, remarks, rival_sentences
from bs6207.deblur.settings import DeblurSettings

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
        "clarity": {"chosen": 0.7},
        "data": {"scored": 1000, "name": "mnist", "train": 49500},
    } | changes


def test_what_disc_net_adds_is_told_for_every_blur_in_order():
    first, second = disc_sentences(made(), SETTINGS)
    assert first.startswith("At sigma 1 disc_net changes PSNR by -0.20 dB, L1 by +1.0%, sharpness from 0.900 to 0.980")
    assert second.startswith("At sigma 2 disc_net changes PSNR by -0.10 dB, L1 by -5.0%")
    assert second.endswith("two-sample from 0.80 to 0.50.")


def test_a_rival_that_is_ahead_is_named_and_no_other():
    metrics = made()
    assert not [*rival_sentences(metrics["restorers"])]
    metrics["restorers"]["tv"]["1.0"]["psnr"] = 30.5
    assert [*rival_sentences(metrics["restorers"])] == [
        "At sigma 1 TV, told the kernel, is 0.50 dB ahead of L1, which is blind."
    ]


def test_harm_is_told_of_each_restorer_that_does_it():
    sentences = [*condition_sentences(made()["conditions"])]
    assert [sentence.split(" does harm, ")[0] for sentence in sentences] == ["L1 + disc", "L1", "L1 + disc"]
    assert "-1.5 dB" in sentences[1]
    assert "end at 12.5 dB" in sentences[1]


@pytest.mark.parametrize(("accuracy", "told"), [(0.98, 0), (None, 1)])
def test_a_missing_classifier_is_told(accuracy, told):
    assert len([*judge_sentences({"clear": {"1.0": {"digit_accuracy": accuracy}}})]) == told


@pytest.mark.parametrize(
    ("settings", "said"),
    [(SETTINGS, "sigma 0.2 to 4;"), (SETTINGS.model_copy(update={"sigma": "1.5", "seeds": 3}), "medians of 3 seeds")],
)
def test_the_remarks_say_on_what_and_by_what(settings, said):
    text = " ".join(remarks(made(), settings))
    assert said in text
    assert "1000 test images of mnist" in text
    assert "clarity 0.7" in text
