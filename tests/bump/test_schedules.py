"""Schedules of the learning rate, against plain loops of torch."""

import json
import math

import pytest
import torch

from bs6207 import bump
from bs6207.bump.adapter import descend
from bs6207.bump.landscape import Triangle
from bs6207.bump.optimizers import learning_rates, make_adapter
from bs6207.bump.search import passes, path_over
from bs6207.bump.settings import BumpSettings
from bs6207.errors import SettingsError
from bs6207.training.optimizers import SCHEDULES

STEPS = 50
SCHEDULERS = torch.optim.lr_scheduler
PLAIN = {  # by name what torch is given, for a learning rate of 0.3
    "linear": lambda optimizer: SCHEDULERS.LinearLR(optimizer, total_iters=STEPS),
    "cosine": lambda optimizer: SCHEDULERS.CosineAnnealingLR(optimizer, T_max=STEPS),
    "step": lambda optimizer: SCHEDULERS.StepLR(optimizer, step_size=STEPS // 3),
    "exponential": lambda optimizer: SCHEDULERS.ExponentialLR(optimizer, gamma=0.01 ** (1 / STEPS)),
    "one-cycle": lambda optimizer: SCHEDULERS.OneCycleLR(optimizer, 0.3, total_steps=STEPS, cycle_momentum=False),
}
OPTIMIZERS = {
    "momentum": lambda x: torch.optim.SGD([x], lr=0.3, momentum=0.9),
    "adam": lambda x: torch.optim.Adam([x], lr=0.3, eps=0.0),
    "own.py:Halved": lambda x: torch.optim.SGD([x], lr=0.15),
}
OWN = """
import torch

class Halved(torch.optim.SGD):
    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)

    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                x.grad *= 0.5
        return super().step(closure)

class Keeps(torch.optim.SGD):
    def __init__(self, params, lr=0.1, gamma=0.5):
        super().__init__(params, lr=lr)
        self.lr = lr

    def step(self, closure=None):
        self.param_groups[0]["lr"] = self.lr
        return super().step(closure)

class Plain:
    def __init__(self, parameters, lr):
        self.parameters, self.lr = list(parameters), lr

    def step(self):
        with torch.no_grad():
            for x in self.parameters:
                x -= self.lr * x.grad
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plain_path(make, schedule, slope_at, steps=STEPS):
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = make(x)
    scheduler, path = schedule(optimizer), [0.0]
    for _ in range(steps):
        x.grad = torch.tensor(slope_at(x.item()), dtype=torch.float64)
        optimizer.step()
        scheduler.step()
        path.append(x.item())
    return path


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_path_is_that_of_a_plain_loop_to_the_bit(name, schedule):
    settings = BumpSettings(optimizer=[name], schedule=schedule, steps=STEPS)
    ground = Triangle(1.0, 0.4)
    path = path_over(make_adapter(name, settings), settings, ground)
    if name == "own.py:Halved":  # a half of the slope is a half of lr, in powers of two
        plain = plain_path(lambda x: torch.optim.SGD([x], lr=0.3), PLAIN[schedule], lambda x: ground.slope(x) / 2)
    else:
        plain = plain_path(OPTIMIZERS[name], PLAIN[schedule], ground.slope)
    assert path == plain
    assert path != descend(make_adapter(name, BumpSettings(optimizer=[name])), ground, STEPS, "cpu")


def test_every_schedule_is_offered_and_compared_with_torch():
    offered = BumpSettings.model_fields["schedule"].annotation.__args__
    assert {*offered} == {"constant", *SCHEDULES}
    assert PLAIN.keys() == SCHEDULES.keys()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_threshold_is_that_of_brute_force_and_known_for_the_steps_only(schedule):
    found = bump.threshold("momentum", schedule=schedule, steps=STEPS)
    assert found["certificate"] == {"kind": "steps", "steps": STEPS, "reason": "proofs are for a constant lr"}
    assert found["settings"]["schedule"] == found["schedule"]["name"] == schedule
    assert found["schedule"]["h_max_of_constant_lr"] == pytest.approx(1.20323, abs=1e-12)
    assert found["bracket"] == (found["h_max"], math.nextafter(found["h_max"], math.inf))
    for height, expected in ((found["h_max"] - 1e-9, True), (found["h_max"] + 1e-9, False)):
        ground = Triangle(1.0, height)
        assert passes(plain_path(OPTIMIZERS["momentum"], PLAIN[schedule], ground.slope), ground) == expected


def test_a_constant_lr_is_as_before():
    found = bump.threshold("adam", schedule="constant")
    assert found["certificate"]["kind"] == "interval"
    assert "schedule" not in found
    assert "schedule" not in found["settings"]


def test_learning_rates_have_the_length_and_the_ends_that_are_given():
    def rates(schedule, *texts):
        return learning_rates(BumpSettings(schedule=schedule, set=list(texts), steps=300), 0.3)

    assert rates("linear")[:1] == pytest.approx([0.1])
    assert rates("linear", "total_iters=4", "start_factor=0.25")[:6] == pytest.approx(
        [0.075, 0.13125, 0.1875, 0.24375, 0.3, 0.3]
    )
    assert (rates("cosine")[0], rates("cosine")[150]) == pytest.approx((0.3, 0.15))
    assert rates("cosine", "eta_min=0.1")[-1] == pytest.approx(0.1, abs=1e-4)
    assert rates("step")[99:101] == pytest.approx([0.3, 0.03])
    assert rates("step", "step_size=10", "gamma=0.5")[10:30:10] == pytest.approx([0.15, 0.075])
    assert rates("exponential")[-1] == pytest.approx(0.003, rel=0.02)
    assert max(rates("one-cycle")) == pytest.approx(0.3)
    assert rates("one-cycle", "div_factor=3")[0] == pytest.approx(0.1)
    assert {len(rates(name)) for name in SCHEDULES} == {300}


def test_a_keyword_goes_to_the_schedule_or_to_the_optimizer_that_takes_it():
    settings = BumpSettings(
        optimizer=["momentum"], schedule="one-cycle", set=["pct_start=0.5", "nesterov=True"], steps=STEPS
    )
    adapter = make_adapter("momentum", settings)
    assert adapter.has["nesterov"] is True
    plain = plain_path(
        lambda x: torch.optim.SGD([x], lr=0.3, momentum=0.9, nesterov=True),
        lambda optimizer: SCHEDULERS.OneCycleLR(optimizer, 0.3, total_steps=STEPS, pct_start=0.5, cycle_momentum=False),
        Triangle(1.0, 0.4).slope,
    )
    assert path_over(adapter, settings, Triangle(1.0, 0.4)) == plain


def test_one_cycle_leaves_momentum_alone_unless_asked():
    def path(*texts):
        settings = BumpSettings(optimizer=["gd"], schedule="one-cycle", set=list(texts), steps=STEPS)
        return path_over(make_adapter("gd", settings), settings, Triangle(1.0, 0.4))

    assert path() != path("cycle_momentum=true")


def test_a_schedule_that_has_no_effect_is_reported_and_one_that_has_is_not(main):
    assert bump.threshold("own.py:Keeps", schedule="cosine", steps=STEPS)["schedule"]["changes_path"] is False
    assert bump.threshold("gd", schedule="cosine", steps=STEPS)["schedule"]["changes_path"] is True


def test_a_band_under_a_schedule_goes_through_torch(monkeypatch):
    monkeypatch.setattr("bs6207.bump.search.BAND_POINTS", 3)
    scheduled, constant = (
        bump.threshold("gd", schedule=name, steps=20, band=True)["band"] for name in ("exponential", "constant")
    )
    assert scheduled["high"] < constant["high"]
    alone = [
        bump.threshold("gd", schedule="exponential", steps=20, distance=1.0 + k * 0.3 / 3)["h_max"] for k in range(3)
    ]
    assert scheduled["high"] == pytest.approx(max(alone), abs=1e-12)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--schedule linnear", "--schedule: should be"),
        ("--schedule cosine --exact", "--exact, --sweep and --noise are for a constant lr; leave out --schedule"),
        ("--schedule cosine --noise 1", "are for a constant lr"),
        ("--schedule cosine --sweep lr=0.1,0.2", "are for a constant lr"),
        (
            "--schedule linear --set start_factor=2",
            "--schedule linear cannot be used with gd: Starting multiplicative factor",
        ),
        ("--schedule linear --set start_factor=a", "--set start_factor must be a number or none, not 'a'"),
        ("--schedule cosine --set T_max=0", "--schedule cosine with T_max 0: "),
        ("--schedule step --set step_size=0", "--schedule step with step_size 0: "),
        ("--schedule exponential --set gamma=-1", "lr is -0.3 in step 2"),
        ("--schedule exponential --set gamma=1e9", "lr is inf in step"),
        ("--schedule one-cycle --set total_steps=10", "--schedule one-cycle with total_steps 10"),
        ("--schedule one-cycle --set max_lr=1", "--set max_lr is the highest lr of one-cycle; give it as --lr"),
        ("--schedule linear --set T_max=9", "takes no 'T_max'"),
        ("--set total_iters=9", "takes no 'total_iters'"),
        ("--schedule cosine --optimizer own.py:Plain", "own.py:Plain: it is no torch.optim.Optimizer"),
        (
            "--schedule step --optimizer own.py:Keeps --set gamma=0.1",
            "--set gamma is taken by step and by own.py:Keeps",
        ),
        (
            "--schedule one-cycle --set cycle_momentum=true --optimizer adagrad",
            "cannot be used with adagrad: optimizer must",
        ),
    ],
)
def test_what_no_schedule_takes_is_refused_in_one_sentence_and_nothing_is_written(main, tmp_path, line, words):
    given = line if "--optimizer" in line else f"--optimizer gd {line}"
    done = main("bump", *given.split())
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_few_steps_are_enough_for_every_schedule():
    for schedule in SCHEDULES:
        settings = BumpSettings(optimizer=["gd"], schedule=schedule, steps=1)
        assert len(path_over(make_adapter("gd", settings), settings, Triangle(1.0, 0.4))) == 2
    with pytest.raises(SettingsError, match="with total_steps 1"):
        learning_rates(BumpSettings(schedule="one-cycle", steps=2, set=["total_steps=1"]), 0.3)


def test_a_run_tells_the_schedule_and_its_record_repeats_it(bs6207, tmp_path):
    line = "bump --optimizer momentum --schedule linear --set total_iters=20 --steps 60"
    done = bs6207(*line.split())
    assert done.returncode == 0, done.stderr
    assert "momentum: its lr goes from 0.1 to 0.3, at most 0.3 (LinearLR: start_factor 0.333333333333" in done.stdout
    assert "with a constant lr h_max is 1.20323." in done.stdout
    written = (tmp_path / "outputs/bump/metrics.json").read_text()
    entry = json.loads(written)["optimizers"]["momentum"]
    assert entry["schedule"]["arguments"] == {"start_factor": 1 / 3, "end_factor": 1.0, "total_iters": 20}
    again = bs6207("bump", "--config", "outputs/bump/config.toml", "--out", "again", "--json")
    assert again.stdout == written
