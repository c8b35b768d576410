"""Whatever optimizer, keywords and flags: a result, a failure in one sentence, or a refusal before any file."""

import json
import random
from collections import Counter

import pytest
import torch

from bs6207 import figures
from bs6207.bump.adapter import constructor_keywords, load
from bs6207.bump.kernels import KERNELS
from bs6207.bump.optimizers import SPELLINGS
from bs6207.errors import SettingsError
from bs6207.training.optimizers import OPTIMIZERS

LINES = 200
SPELT_OTHERWISE = [keyword for ways in SPELLINGS.values() for keyword in ways]
WORDS = [
    *("true", "FALSE", "none", "null", "nan", "inf", "-inf", "0", "1", "-1", "3", "3.0", "0.5", "1e-3", "-0.5"),
    *("(0.5,0.9)", "[0.5,0.9]", "0.5,0.9,0.99", "(0.5,)", "()", "(none,1e-3)", "(true,0.9)", "{}", "{'a':1}", "fast"),
    *("", " ", "torch.optim:SGD", "torch.optim.SGD", "torch.optim:Nosuch", "nosuch:X", "a:b:c", "'0.5'", "0x10"),
    *("1e400", "9" * 400),
]
FLAGS = {
    **{
        f"--{flag}": ["0.1", "0.5", "0.9"] for flag in ("lr", "beta1", "beta2", "momentum", "rho", "alpha", "dampening")
    },
    "--eps": ["0", "1e-8"],
    "--weight-decay": ["0", "0.1"],
    "--seed": ["7"],
    "--up-slope": ["0.5"],
    "--scan": ["0.01"],
    "--height": ["0.1", "3"],
    "--distance": ["0.7", "2"],
}
ALONE = ["--band", "--exact", "--sweep lr=0.1:0.3:2", "--sweep beta1=0.5,0.9 lr=0.1,0.2", "--noise 0.1 --trials 50"]


def plausible(default, chance):
    """A value near a default."""
    if isinstance(default, bool):
        return chance.choice(["true", "false", "1", "0"])
    if isinstance(default, int | float):
        return repr(default * chance.choice([0, 0.5, 1, 2]))
    return repr(default) if isinstance(default, tuple | list) else chance.choice(WORDS)


def line_of(chance, sources):
    """A random line of bump."""
    optimizers = chance.sample(chance.choice(sources), chance.choice([1, 1, 1, 2]))
    try:
        recipe = OPTIMIZERS.get(optimizers[0])
        takes, _ = constructor_keywords(getattr(torch.optim, recipe.kind) if recipe else load(optimizers[0]))
    except SettingsError:
        takes = {}
    words = ["bump", "--quiet", "--json", "--steps", "12", "--optimizer", *optimizers]
    sets = {}
    for _ in range(chance.choice([0, 1, 1, 2, 3])):
        is_known = takes and chance.random() < 0.9
        keyword = chance.choice(list(takes) if is_known else [*SPELT_OTHERWISE, "nosuch"])
        is_plausible = is_known and chance.random() < 0.7
        sets[keyword] = plausible(takes[keyword].default, chance) if is_plausible else chance.choice(WORDS)
    words += ["--set", *(f"{keyword}={value}" for keyword, value in sets.items())] if sets else []
    for flag in chance.sample([*FLAGS], chance.choice([0, 0, 0, 1])):
        words += [flag, chance.choice(FLAGS[flag])]
    if chance.random() < 0.2:
        words += chance.choice(ALONE if optimizers[0] in KERNELS else ALONE[1:]).split()
    return words


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_optimizer_with_any_keywords_ends_in_a_result_or_in_a_sentence(main, tmp_path, monkeypatch):
    import pytorch_optimizer

    monkeypatch.setattr(figures, "drawn", lambda draw: ({}, ""))
    wrappers = ["Lookahead", "SAM", "GSAM", "WSAM", "TRAC", "GradientCentralization", "SafeFP16Optimizer"]
    foreign = [pytorch_optimizer.load_optimizer(key).__name__ for key in pytorch_optimizer.get_supported_optimizers()]
    sources = [
        list(OPTIMIZERS),
        [f"torch.optim:{recipe.kind}" for recipe in OPTIMIZERS.values()],
        [f"pytorch_optimizer:{name}" for name in (*sorted(foreign), *wrappers)],
    ]
    chance, codes = random.Random(6207), Counter()
    for number in range(LINES):
        line = line_of(chance, sources)
        out = tmp_path / str(number)
        done = main(*line, "--out", str(out))
        codes[done.returncode] += 1
        if done.returncode == 0:
            for one in json.loads(done.stdout)["optimizers"].values():
                assert one["h_max"] is None or one["h_max"] > 0, line
        else:
            sentence = done.stderr.removeprefix("bs6207: ").removesuffix("\n")
            assert done.returncode in (1, 2), line
            assert sentence.strip(), line
            assert "\n" not in sentence, (line, done.stderr)
            assert "--debug" not in sentence, (line, done.stderr)
            assert done.returncode == 1 or not out.exists(), line
    assert min(codes[0], codes[2]) > LINES / 10
