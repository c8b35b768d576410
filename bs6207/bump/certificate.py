"""Why a path never rises above the height it has reached: a proof for all steps where there is one.

An optimizer of `rules.LINEAR_RULES` sees nothing but the side of L on which x stands, and its steps are linear:

    m <- decay m + gain s
    x <- shrink x - lr c_t (fast s + slow m),    c_t = correction(fade^t), falling to c = correction(0)

Theorem. After T steps, let a word w of p signs begin with the side of L on which x_T stands, and let m*_j, x*_j
(j = 0 ... p - 1) be the orbit of period p that w drives when c_t is c: m* is unique, and so is x* if shrink < 1;
if shrink = 1 there is one through x_T when w has as many -1 as +1. As long as the signs after T are those of
w repeated, induction over k gives |m_{T+k} - m*_k| = decay^k |m_T - m*_0| and

    |x_{T+k} - x*_k| <= |x_T - x*_0| + lr c slow |m_T - m*_0| decay / (1 - decay)
                        + lr (c_T - c) (fast + slow M) fade / (1 - fade) = tail,    M = sup |m_t| over t > T,

because shrink <= 1 and because c_t, a convex function of fade^t, has c_{T+k} - c <= fade^k (c_T - c). If every x*_j
is farther than `tail` from L, on the side that w says, then the next sign is the next of w, and so on for ever: x
never exceeds the larger of max_{t <= T} x_t and max_j x*_j + tail. An x*_j may also be L itself, with w saying +, if
the tail is 0.

The proof is run in real arithmetic, not in floats: in fractions first, so that an x_t that is L itself is known to
be, and every number of the induction is an interval, rounded outward.

Where no proof is found the path of the float64 implementation itself may still repeat, bit for bit, all its state.
"""

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import groupby
from typing import Any

import torch

from bs6207.bump.descent import MakeOptimizer
from bs6207.bump.intervals import DIGITS, UNIT, Interval, Refusal, decimal, enclose
from bs6207.bump.landscape import START, Triangle
from bs6207.bump.rules import LinearRule, Walk, follow, is_on, linear_rule, side

ENOUGH = UNIT // 10**30  # a maximum that is approached for ever must be enclosed this closely
FIRST_ATTEMPT = 32  # steps before the first attempt at a proof; then twice as many, and so on
LONGEST_PREFIX = 16_384  # a fifth of a second
ZERO, ONE = enclose(0), enclose(1)


def certify(
    name: str,
    hyperparameters: Mapping[str, float],
    distance: float,
    steps: int,
    make_optimizer: MakeOptimizer | None = None,
    limit: int = 60_000,
) -> dict[str, Any]:
    """Why the path of an optimizer never rises above its maximum: the strongest certificate found, as plain data.

    Args:
        name: of the optimizer; one of `LINEAR_RULES` and `BIAS_CORRECTIONS`, or there is no proof.
        hyperparameters: all of the optimizer's, by the names of the settings.
        distance: L, from the start to the foot of the bump.
        steps: what the path is known for anyhow.
        make_optimizer: the float64 implementation, followed for a recurrence where no interval proof is found.
        limit: steps it is followed for, some 20 us each.

    Returns:
        `kind`, and with kind "interval": all that a checker needs to redo the proof (see `prove`); "recurrence":
        see `find_recurrence`; "steps": `steps`, and `reason`, why it is not more.
    """
    try:
        rule = linear_rule(name, hyperparameters)
        proof = prove(rule, Fraction(str(distance)))
        exact = {key: str(Fraction(str(value))) for key, value in hyperparameters.items()}
        return {"kind": "interval", "optimizer": name, "hyperparameters": exact, **proof}
    except Refusal as refusal:
        reason = f"no interval proof: {refusal}"
    if make_optimizer is not None:
        try:
            return {**find_recurrence(name, hyperparameters, distance, make_optimizer, limit), "reason": reason}
        except Refusal as refusal:
            reason += f"; no recurrence: {refusal}"
    return {"kind": "steps", "steps": steps, "reason": reason}


def prove(rule: LinearRule, foot: Fraction) -> dict[str, Any]:
    """Prove that the path never exceeds its maximum.

    Returns:
        distance: L, as an exact fraction.
        signs: {transient, repeated}, the slopes at steps 1, 2, ...; the second repeats for ever. "-4+1" is ----+.
        period: how many are repeated.
        steps: T, after how many the induction starts.
        h_max, width: [low, high] as exact decimals, below 0 if the bump is never reached; and high - low.
        step: where the maximum stands; None if it is not proved to be ever reached.
        ties: the steps t <= T after which x_t is L itself.
        margin: {path, orbit}, lower bounds on |x_t - L| for t <= T and on |x*_j - L|, but for those that are L itself.
        tail: upper bound on |x_{T+k} - x*_k|.
        contraction: {decay, shrink, fade}, the factors per step, as exact fractions.
        lattice: number of decimals to which every interval was rounded outward.

    Raises:
        Refusal: no proof is found, and why.
    """
    if not (rule.lr > 0 and 0 <= rule.decay < 1 and 0 <= rule.fade < 1 and 0 < rule.shrink <= 1):
        raise Refusal("the steps do not contract")
    for step, walk in enumerate(follow(rule, foot, LONGEST_PREFIX), start=1):
        if step >= FIRST_ATTEMPT and step.bit_count() == 1 and (proof := induction(walk.enclosed())):
            contraction = {"decay": str(rule.decay), "shrink": str(rule.shrink), "fade": str(rule.fade)}
            return {"distance": str(foot), **proof, "contraction": contraction, "lattice": DIGITS}
    raise Refusal(f"no repetition of the signs is proved within {LONGEST_PREFIX} steps")


def induction(walk: Walk) -> dict[str, Any] | None:
    """The proof that the signs repeat from here on, as the theorem has it; None if they may not, or not yet."""
    word = repeated(walk.signs)
    if not word or (walk.rule.shrink == ONE and 2 * word.count("+") != len(word)):
        return None
    m_orbit, orbit = periodic(walk, word)
    tail = farthest(walk, m_orbit, orbit[0]).high
    future = [Interval(x.low - tail, x.high + tail) for x in orbit]
    if any(side(x, walk.foot) != sign for x, sign in zip(future, word, strict=True)):
        return None
    path = [enclose(x) for x in walk.path]
    summit = max(path, key=lambda x: x.low)
    top, ever = (max(x.high for x in xs) for xs in (path, future))
    h_max = Interval(summit.low, max(top, ever)) - walk.foot
    if h_max.high - h_max.low > ENOUGH:
        return None
    transient, period = len(walk.signs) - len(word), len(word)
    while transient and walk.signs[transient - 1] == walk.signs[transient - 1 + period]:
        transient -= 1
    return {
        "signs": {
            "transient": run_lengths(walk.signs[:transient]),
            "repeated": run_lengths(walk.signs[transient : transient + period]),
        },
        "period": period,
        "steps": len(walk.signs),
        "ties": walk.ties,
        "h_max": [decimal(h_max.low), decimal(h_max.high)],
        "width": f"{h_max.high - h_max.low}e-{DIGITS}",
        "step": path.index(summit) if ever <= top else None,
        "margin": {
            "path": margin(walk.foot, [x for step, x in enumerate(path) if step not in walk.ties]),
            "orbit": margin(walk.foot, [x for x in orbit if not is_on(x, walk.foot)]),
        },
        "tail": decimal(tail),
    }


def periodic(walk: Walk, word: str) -> tuple[Interval, list[Interval]]:
    """m*_0 and every x*_j: what `word` drives round and round, and through the present x if shrink is 1."""
    swing, _ = drive(walk.rule, word, ZERO, ZERO)
    m, x = swing / (ONE - walk.rule.decay ** len(word)), walk.x
    if walk.rule.shrink != ONE:
        _, path = drive(walk.rule, word, m, ZERO)
        x = path[-1] / (ONE - walk.rule.shrink ** len(word))
    return m, drive(walk.rule, word, m, x)[1][:-1]


def drive(rule: LinearRule, word: str, m: Interval, x: Interval) -> tuple[Interval, list[Interval]]:
    """The last m, and every x from the given one on, under the signs of `word` at the last rate, lr c."""
    path, rate = [x], last_rate(rule)
    for sign in word:
        m, x = rule.step(m, x, sign, rule.gain, rate)
        path.append(x)
    return m, path


def last_rate(rule: LinearRule) -> Interval:
    """lr c, what lr c_t falls to."""
    return rule.lr * rule.correction(ZERO)


def farthest(walk: Walk, m_orbit: Interval, x_orbit: Interval) -> Interval:
    """The tail: how far x can be from its orbit, which is now at m* and x*, as long as the word goes on."""
    rule, last = walk.rule, last_rate(walk.rule)
    largest = abs(walk.m) + abs(rule.gain) / (ONE - rule.decay)  # no |m| to come exceeds this
    swing = last * rule.slow * abs(walk.m - m_orbit) * rule.decay / (ONE - rule.decay)
    late = (walk.rate - last) * (rule.fast + rule.slow * largest) * rule.fade / (ONE - rule.fade)
    return abs(walk.x - x_orbit) + swing + late


def margin(foot: Interval, path: list[Interval]) -> str:
    """A lower bound on the distance of a path from the foot of the bump."""
    return decimal(min(abs(x - foot).low for x in path))


def repeated(signs: str) -> str:
    """The shortest word that the last half of `signs` repeats, at least twice, and ends with; empty if none."""
    half = signs[len(signs) // 2 :]
    periods = range(1, len(half) // 2 + 1)
    return next((half[-period:] for period in periods if half[period:] == half[:-period]), "")


def run_lengths(signs: str) -> str:
    """Signs as "-4+1", for ----+."""
    return "".join(f"{sign}{len(list(run))}" for sign, run in groupby(signs))


# An optimizer may be here only if its step depends on the step count through 1 - beta^step alone, for these betas.
BIAS_CORRECTIONS: dict[str, tuple[str, ...]] = {
    "gd": (),
    "momentum": (),
    "nesterov": (),
    "adam": ("beta1", "beta2"),
    "amsgrad": ("beta1", "beta2"),
    "adamw": ("beta1", "beta2"),
    "adamax": ("beta1",),
    "rmsprop": (),
    "rmsprop-centered": (),
    "rprop": (),
    "adadelta": (),
}


def find_recurrence(
    name: str, hyperparameters: Mapping[str, float], distance: float, make_optimizer: MakeOptimizer, limit: int
) -> dict[str, Any]:
    """Follow the float64 implementation until x and all its state repeat, bit for bit.

    The next step is a function of x, the state and the step count. The count has no effect once every 1 - beta^step
    is 1.0, and it stays so: beta^step <= 2^-54 then, and falls by more than pow can err (beta < 1 - 1e-15). So from
    the first repetition on the path is periodic, for ever, on this machine and this version of torch.

    Returns:
        first_step, period: the state after step `first_step` is that after `period` more, and so on.
        h_max, step: the maximum of the whole path, and the step at which it first stands.
        state: SHA-256 of the bytes of x and of the state's tensors in the order of their names.

    Raises:
        Refusal: none is found, and why.
    """
    if name not in BIAS_CORRECTIONS:
        raise Refusal(f"the steps of {name} depend on how many there were")
    betas = [hyperparameters[key] for key in BIAS_CORRECTIONS[name]]
    landscape = Triangle(distance, math.inf)
    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    slope = x.grad = torch.zeros_like(x)
    optimizer = make_optimizer([x])
    path = [START]
    seen: dict[bytes, int] = {}
    for step in range(1, limit + 1):
        slope.fill_(landscape.slope(path[-1]))
        optimizer.step()
        path.append(x.item())
        if not math.isfinite(path[-1]):
            raise Refusal(f"x is no longer finite after step {step}")
        if any(1 - beta**step != 1 for beta in betas):
            continue
        tensors = [x.detach(), *(tensor for key, tensor in sorted(optimizer.state[x].items()) if key != "step")]
        state = b"".join(tensor.numpy().tobytes() for tensor in tensors)
        first_step = seen.setdefault(state, step)
        if first_step < step:
            highest = max(range(step), key=path.__getitem__)
            return {
                "kind": "recurrence",
                "first_step": first_step,
                "period": step - first_step,
                "h_max": path[highest] - distance,
                "step": highest,
                "state": hashlib.sha256(state).hexdigest(),
            }
    raise Refusal(f"the state does not repeat within {limit} steps")
