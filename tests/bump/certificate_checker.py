"""Checks interval certificates of the bump from the definitions of the optimizers alone.

It shares nothing with `bs6207.bump`: numbers are fractions up to the last step said to land on the foot L of the bump
itself, and from there on balls (midpoint and radius) on a binary lattice of 2^-400; each optimizer is written as its
paper or PyTorch's documentation has it, squared slopes included; and the induction compares the future with the last
simulated period, not with a computed limit.

The argument. Walk to step T', far beyond the certificate's T, and see that every sign is the one it states. Let a be
the decay of the velocity m, and A = T' - p. While the signs repeat, m_A is off its periodic value by
d = |m_T' - m_A| / (1 - a^p), and from A on x is off a periodic orbit by no more than

    S = rate slow d / (1 - a) + rate (fast + slow) fade^(A + 1) / (1 - fade)^2,

or, where x itself shrinks by r < 1 per step, by E = S + (|x_T' - x_A| + S) / (1 - r^p). The second term of S sums all
that the correction of the rate can still do: with b = fade, 1 / (1 - b^t) and 1 / (sqrt(1 - b^t) + eps) exceed their
limits by at most b^t / (1 - b), and |m| <= 1 for the optimizers that have a correction. So every x to come is within
2 E of the x of the last period at the same phase; if that keeps its side of L, the signs repeat for ever.

If the path keeps landing on L itself, all is walked in fractions, and x, m and the rate must repeat exactly: E = 0.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import cycle
from typing import Any

BITS = 400
AGREEMENT = Fraction(1, 10**100)  # what the ends of a certified interval may miss by; far more than any radius here
ROUNDED = Fraction(1, 10**50)  # margins are stated as lower bounds, rounded on the lattice of the certificate


class Wrong(Exception):
    """The certificate does not prove what it claims."""


@dataclass
class Ball:
    """All real numbers within `radius` of `middle`, both in units of 2^-400."""

    middle: int
    radius: int = 0

    def __bool__(self) -> bool:
        return abs(self.middle) > self.radius

    def __add__(self, other: "Ball") -> "Ball":
        return Ball(self.middle + other.middle, self.radius + other.radius)

    def __sub__(self, other: "Ball") -> "Ball":
        return Ball(self.middle - other.middle, self.radius + other.radius)

    def __rsub__(self, number: int) -> "Ball":
        return Ball(number << BITS) - self

    def __mul__(self, other: "Ball") -> "Ball":
        spread = abs(self.middle) * other.radius + self.radius * (abs(other.middle) + other.radius)
        return Ball(self.middle * other.middle >> BITS, (spread >> BITS) + 2)

    def __truediv__(self, other: "Ball") -> "Ball":
        a, b = abs(self.middle), abs(other.middle)
        spread = (a * other.radius + b * self.radius << BITS) // (b * (b - other.radius))
        return Ball((self.middle << BITS) // other.middle, spread + 2)


Number = Any  # a Fraction or a Ball
Numbers = dict[str, Number]


def ball(number: Number) -> Ball:
    return number if isinstance(number, Ball) else Ball(math.floor(number * (1 << BITS)), 1)


def low(number: Number) -> Fraction:
    return Fraction(number.middle - number.radius, 1 << BITS) if isinstance(number, Ball) else number


def high(number: Number) -> Fraction:
    return Fraction(number.middle + number.radius, 1 << BITS) if isinstance(number, Ball) else number


def root(number: Number) -> Number:
    if isinstance(number, Ball):
        middle = math.isqrt(number.middle << BITS)
        return Ball(middle, (number.radius << BITS) // middle + 2)
    exact = Fraction(math.isqrt(number.numerator), math.isqrt(number.denominator))
    if exact * exact != number:
        raise Wrong(f"{number} has no root among the fractions")
    return exact


def largest(one: Number, other: Number) -> Number:
    if isinstance(one, Ball):
        return Ball(max(one.middle, other.middle), max(one.radius, other.radius))
    return max(one, other)


def sgd(h: Numbers, s: Numbers, g: Number, t: int, nesterov: bool = False) -> None:
    """torch.optim.SGD, as its documentation has it."""
    if h.get("momentum"):
        s["m"] = g if t == 1 else h["momentum"] * s["m"] + (1 - h["dampening"]) * g
        g = g + h["momentum"] * s["m"] if nesterov else s["m"]
    s["x"] -= h["lr"] * g


def adam(h: Numbers, s: Numbers, g: Number, t: int, amsgrad: bool = False) -> None:
    """Kingma and Ba 2015, algorithm 1; AMSGrad and AdamW's decay as in torch.optim."""
    if "weight_decay" in h:
        s["x"] -= h["lr"] * h["weight_decay"] * s["x"]
    s["m"] = h["beta1"] * s["m"] + (1 - h["beta1"]) * g
    s["v"] = h["beta2"] * s["v"] + (1 - h["beta2"]) * g * g
    s["beta1^t"] *= h["beta1"]
    s["beta2^t"] *= h["beta2"]
    s["highest v"] = largest(s["highest v"], s["v"])
    v_hat = (s["highest v"] if amsgrad else s["v"]) / (1 - s["beta2^t"])
    s["x"] -= h["lr"] * (s["m"] / (1 - s["beta1^t"])) / (root(v_hat) + h["eps"])


def adamax(h: Numbers, s: Numbers, g: Number, t: int) -> None:
    """Kingma and Ba 2015, algorithm 2, with eps where torch.optim.Adamax has it."""
    s["m"] = h["beta1"] * s["m"] + (1 - h["beta1"]) * g
    s["u"] = largest(h["beta2"] * s["u"], root(g * g) + h["eps"])
    s["beta1^t"] *= h["beta1"]
    s["x"] -= h["lr"] / (1 - s["beta1^t"]) * s["m"] / s["u"]


def rmsprop(h: Numbers, s: Numbers, g: Number, t: int) -> None:
    """torch.optim.RMSprop, as its documentation has it."""
    s["v"] = h["alpha"] * s["v"] + (1 - h["alpha"]) * g * g
    s["x"] -= h["lr"] * g / (root(s["v"]) + h["eps"])


DEFINITIONS: dict[str, Callable[[Numbers, Numbers, Number, int], None]] = {
    "gd": sgd,
    "momentum": sgd,
    "nesterov": lambda h, s, g, t: sgd(h, s, g, t, nesterov=True),
    "adam": adam,
    "amsgrad": lambda h, s, g, t: adam(h, s, g, t, amsgrad=True),
    "adamax": adamax,
    "adamw": adam,
    "rmsprop": rmsprop,
}


def expand(runs: str) -> str:
    """ "-4+1" as "----+"."""
    if not re.fullmatch(r"([+-][1-9]\d*)*", runs):
        raise Wrong(f"{runs!r} is no run of signs")
    return "".join(sign * int(count) for sign, count in re.findall(r"([+-])(\d+)", runs))


def walk(certificate: dict[str, Any], steps: int, exact: int) -> Iterator[tuple[Number, Number]]:
    """(x, m) after 0, 1, ... `steps` steps, under the signs of the certificate, each seen to be the right one.

    In fractions up to step `exact`, where x on the foot itself must go with the sign +; then in balls.
    """
    h: Numbers = {key: Fraction(text) for key, text in ({"dampening": "0"} | certificate["hyperparameters"]).items()}
    distance = Fraction(certificate["distance"])
    s: Numbers = {key: Fraction(0) for key in ("x", "m", "v", "highest v", "u")}
    s |= {"beta1^t": Fraction(1), "beta2^t": Fraction(1)}
    transient, repeated = (expand(certificate["signs"][key]) for key in ("transient", "repeated"))
    signs = iter(transient)
    again = cycle(repeated)
    for t in range(1, steps + 1):
        yield s["x"], s["m"]
        sign = next(signs, None) or next(again)
        beyond = low(s["x"]) > distance or s["x"] == distance
        if not (beyond if sign == "+" else high(s["x"]) < distance):
            raise Wrong(f"the sign of step {t} is not {sign}")
        g: Number = Fraction(1 if sign == "+" else -1)
        if t > exact:
            h, s = ({key: ball(number) for key, number in numbers.items()} for numbers in (h, s))
            g = ball(g)
        DEFINITIONS[certificate["optimizer"]](h, s, g, t)
    yield s["x"], s["m"]


def excursion(certificate: dict[str, Any], xs: list[Number], ms: list[Number]) -> Fraction:
    """E of the argument above: how far x can ever be from a periodic orbit from the last simulated period on."""
    h = {key: Fraction(text) for key, text in certificate["hyperparameters"].items()}
    name, period = certificate["optimizer"], certificate["period"]
    last = len(xs) - 1 - period
    decay = h.get("momentum", h.get("beta1", Fraction(0)))
    fade = {"gd": 0, "momentum": 0, "nesterov": 0, "rmsprop": h.get("alpha")}.get(name, h.get("beta1"))
    shrink = 1 - h["lr"] * h["weight_decay"] if name == "adamw" else Fraction(1)
    if not (0 <= decay < 1 and 0 <= fade < 1 and 0 < shrink <= 1):
        raise Wrong("the steps do not contract")
    if {"decay": str(decay), "shrink": str(shrink), "fade": str(Fraction(fade))} != certificate["contraction"]:
        raise Wrong("the contraction is not that of the hyperparameters")
    if fade == 0 and (xs[-1], ms[-1]) == (xs[last], ms[last]) and isinstance(xs[last], Fraction):
        return Fraction(0)
    fast, slow = (1, decay) if name == "nesterov" else (0, 1)

    def size(one: Ball) -> Fraction:
        return max(abs(low(one)), abs(high(one)))

    off = size(ball(ms[-1]) - ball(ms[last])) / (1 - above(decay, period))
    late = (fast + slow) * above(fade, last + 1) / (1 - fade) ** 2
    swing = h["lr"] * (slow * off / (1 - decay) + late)
    if shrink == 1:
        return swing
    return swing + (size(ball(xs[-1]) - ball(xs[last])) + swing) / (1 - above(shrink, period))


def above(base: Fraction | int, exponent: int) -> Fraction:
    """An upper bound on base^exponent, as a fraction with few digits."""
    power = Ball(1 << BITS)
    for _ in range(exponent):
        power = power * ball(Fraction(base))
    return high(power)


def check(certificate: dict[str, Any]) -> None:
    """Raise `Wrong` unless an interval certificate proves its h_max, and what it says beside it is so."""
    distance, steps, period = Fraction(certificate["distance"]), certificate["steps"], certificate["period"]
    least, most = map(Fraction, certificate["h_max"])
    tail = Fraction(certificate["tail"])
    margin = {key: Fraction(text) for key, text in certificate["margin"].items()}
    repeated = expand(certificate["signs"]["repeated"])
    if len(repeated) != period or len(expand(certificate["signs"]["transient"])) + period > steps:
        raise Wrong("the words do not have the lengths stated")
    if certificate["contraction"]["shrink"] == "1" and repeated.count("+") * 2 != period:
        raise Wrong("the repeated signs do not cancel")
    if not tail < margin["orbit"]:
        raise Wrong("the tail reaches the foot of the bump")
    if most - least != Fraction(certificate["width"]):
        raise Wrong("the width is not that of h_max")

    ties = certificate["ties"]
    for_ever = any(step > steps - period for step in ties)
    exact = 4 * steps if for_ever else max(ties, default=0)
    xs, ms = zip(*walk(certificate, 4 * steps, exact), strict=True)
    if [step for step, x in enumerate(xs[: steps + 1]) if x == distance] != ties:
        raise Wrong("the path is not on the foot of the bump at just the steps stated")
    off = excursion(certificate, xs, ms)
    future = xs[-1 - period :]
    if any(low(x) - 2 * off <= distance <= high(x) + 2 * off for x in future if off or x != distance):
        raise Wrong("the last period may yet change sides")
    if not least - AGREEMENT <= max(low(x) for x in xs) - distance:
        raise Wrong("h_max is not reached")
    if not max(*(high(x) for x in xs), *(high(x) + 2 * off for x in future)) - distance <= most + AGREEMENT:
        raise Wrong("h_max is exceeded")

    def nearest(path: tuple[Number, ...]) -> Fraction:
        return min(min(abs(low(x) - distance), abs(high(x) - distance)) for x in path if x != distance)

    if not margin["path"] - AGREEMENT <= nearest(xs[: steps + 1]) <= margin["path"] + ROUNDED:
        raise Wrong("the path's margin is not that stated")
    if abs(nearest(future) - margin["orbit"]) > tail + 2 * off + ROUNDED:
        raise Wrong("the orbit's margin is not that stated")
    last = len(xs) - 1 - period
    for t in range(steps, len(xs)):
        limit = xs[last + (t - last) % period]
        if max(abs(low(xs[t]) - high(limit)), abs(high(xs[t]) - low(limit))) > 2 * (tail + off) + AGREEMENT:
            raise Wrong(f"x after step {t} is farther from where it ends than the tail allows")
    step = certificate["step"]
    if step is not None and not least - AGREEMENT <= low(xs[step]) - distance <= most + AGREEMENT:
        raise Wrong("the maximum does not stand at the step stated")
