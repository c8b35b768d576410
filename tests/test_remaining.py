"""The time that is left: told when it is worth something, and then never ten times off."""

import random

import pytest

from bs6207.runs.remaining import Remaining, about

OFF = 3  # times that an estimate may be too long or too short here; ten is what is promised


def run(stages, processes=1, start=0.0, before=0):
    """What is told after every second of a run, and what is true: a list of (told, true).

    Args:
        stages: lists of (kind, seconds), one after the other; the steps of a stage are shared by the processes.
        start: seconds until the first step begins.
        before: so many steps were done before an interruption.
    """
    remaining, ends = Remaining(), list[tuple[float, str, float]]()
    for kind, _ in (step for stage in stages for step in stage):
        remaining.expect(1, kind)
    now = start
    for stage in stages:
        free = [now] * processes
        for kind, took in stage:
            if before:
                before -= 1
                remaining.step(kind, 0.0, start)
                continue
            begun = min(free)
            free[free.index(begun)] = begun + took
            ends.append((begun + took, kind, took))
        now = max(free)
    message, clock = [], 0.0
    for end, kind, took in sorted(ends):
        while clock + 1 < end:
            clock += 1
            message.append((remaining.seconds(clock), now - clock))
        remaining.step(kind, took, end)
    return message


EVEN = [[("epoch", 2.0)] * 40]
STAGES = [  # a deblur run, more or less
    [("l1", 12.0)] * 5 + [("disc", 4.0)] + [("evaluators", 6.0)] * 2 + [("tv", 8.0)] * 4,
    [("last", 20.0)] * 2,
    [("evaluation", 5.0)] * 12 + [("line", 3.0)] * 11,
]
UNEVEN = [[("pixels", 10.0)] + ([("epoch", 0.5)] * 30 + [("best", 75.0)]) * 4 + [("best", 70.0)] * 4]
SLOW_START = [[("epoch", 9.0)] + [("epoch", 0.3)] * 400]
RUNS = {
    "even": ((EVEN,), {}),
    "after a minute of imports": ((EVEN,), {"start": 60.0}),
    "stages": ((STAGES,), {}),
    "stages, in two processes": ((STAGES,), {"processes": 2}),
    "two steps in three were done before": ((EVEN,), {"before": 27}),
    "long steps among short ones": ((UNEVEN,), {}),
    "long steps among short ones, in four processes": ((UNEVEN,), {"processes": 4}),
    "a first step that takes long": ((SLOW_START,), {}),
}


@pytest.mark.parametrize(("given", "how"), RUNS.values(), ids=RUNS)
def test_an_estimate_is_never_far_off(given, how):
    message = run(*given, **how)
    worth = [(estimate, true) for estimate, true in message if estimate is not None]
    assert worth
    assert all(true / OFF <= estimate + 2 and estimate <= OFF * true + 5 for estimate, true in worth)


@pytest.mark.parametrize("seed", range(20))
def test_neither_is_it_where_steps_of_a_kind_differ(seed):
    draw = random.Random(seed)
    stages = [
        [(f"{stage}-{kind}", draw.uniform(0.5, 1.5) * mean) for _ in range(draw.randint(1, 30))]
        for stage in range(draw.randint(1, 4))
        for kind, mean in ((kind, draw.choice([0.1, 1, 20])) for kind in range(2))
    ]
    message = run(stages, processes=draw.randint(1, 3), before=draw.choice([0, 10]))
    worth = [(estimate, true) for estimate, true in message if estimate is not None and true >= 1]
    assert all(true / 10 <= estimate <= 10 * true for estimate, true in worth)


def test_nothing_is_shown_before_every_kind_that_is_to_come_was_timed():
    remaining = Remaining()
    remaining.expect(10, "short")
    remaining.expect(4, "long")
    for second in range(1, 10):
        remaining.step("short", 1.0, float(second))
        assert remaining.seconds(float(second)) is None
    remaining.step("long", 20.0, 29.0)
    assert remaining.seconds(29.0) is None
    remaining.step("long", 20.0, 49.0)
    assert remaining.seconds(49.0) == pytest.approx(41, rel=0.1)


def test_steps_from_before_an_interruption_say_nothing_of_the_pace():
    remaining = Remaining()
    remaining.expect(100, "epoch")
    for _ in range(90):
        remaining.step("epoch", 0.0, 0.5)
    assert remaining.seconds(0.5) is None
    for second in (10.0, 20.0, 30.0):
        remaining.step("epoch", 10.0, second)
    assert remaining.seconds(30.0) == pytest.approx(70)


def test_steps_that_are_done_together_share_their_time():
    remaining = Remaining()
    remaining.expect(1000, "row")
    for second in (10.0, 20.0, 30.0):
        for row in range(100):
            remaining.step("row", 10.0 if row == 0 else 1e-5, second)
    assert remaining.seconds(30.0) == pytest.approx(70, rel=0.01)


def test_a_step_that_takes_longer_than_all_before_ends_the_estimate():
    remaining = Remaining()
    remaining.expect(10, "epoch")
    for second in range(1, 10):
        remaining.step("epoch", 10.0, 10.0 * second)
    assert remaining.seconds(90.0) == pytest.approx(10)
    assert remaining.seconds(120.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (6.1, "about 5 s to go"),
        (41, "about 40 s to go"),
        (118, "about 120 s to go"),
        (130, "about 2 min to go"),
        (3600, "about 60 min to go"),
        (7300, "about 2 h to go"),
    ],
)
def test_an_estimate_is_given_no_more_exactly_than_it_is(seconds, words):
    assert about(seconds) == words
