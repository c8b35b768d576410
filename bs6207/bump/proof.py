"""Why an optimizer never escapes above h_max: intervals that follow its path, exact arithmetic, and certificates."""

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import groupby, islice
from typing import Any, TypeAlias

from bs6207.bump.kernels import Follow
from bs6207.bump.landscape import START, Triangle

DIGITS = 60
UNIT = 10**DIGITS  # an interval's ends are integers, in units of 1e-60
LONGEST = 10**2_200  # the largest denominator; momentum 0.99 has 10^(2 t + 1) after t steps: 1000 of them take 0.1 s
LONGEST_WRITTEN = 13_000  # bits of a denominator that is written out, some 4,000 digits
ENOUGH = UNIT // 10**30  # a maximum that is approached for ever must be enclosed this closely
FIRST_ATTEMPT = 32  # steps before the first attempt at a proof; then twice as many, and so on
LONGEST_PREFIX = 16_384  # a fifth of a second
FOLLOWED = 60_000  # steps in search of a recurrence, some 20 us each
Number: TypeAlias = Any  # a Fraction or an Interval; the two never meet in one operation


class NoProof(Exception):
    """The reason, in a clause, why arithmetic cannot settle a question."""


@dataclass(slots=True)
class Interval:
    """The real numbers from `low` to `high`, in units of 1e-60.

    Arithmetic encloses every possible result; a comparison is true where it is true of all numbers in both.
    """

    low: int
    high: int

    def __add__(self, other: "Interval") -> "Interval":
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: "Interval") -> "Interval":
        return Interval(self.low - other.high, self.high - other.low)

    def __neg__(self) -> "Interval":
        return Interval(-self.high, -self.low)

    def __mul__(self, other: "Interval") -> "Interval":
        ends = (self.low * other.low, self.low * other.high, self.high * other.low, self.high * other.high)
        return Interval(min(ends) // UNIT, -(-max(ends) // UNIT))

    def __truediv__(self, other: "Interval") -> "Interval":
        """Quotient by an interval that should be above 0."""
        if other.low <= 0:
            raise NoProof(f"a divisor cannot be told from 0 in {DIGITS} decimals")
        ends = [(low * UNIT, divisor) for low in (self.low, self.high) for divisor in (other.low, other.high)]
        return Interval(min(end // by for end, by in ends), max(-(-end // by) for end, by in ends))

    def sqrt(self) -> "Interval":
        """Square root of an interval not below 0."""
        return Interval(math.isqrt(self.low * UNIT), math.isqrt(self.high * UNIT) + 1)

    def __abs__(self) -> "Interval":
        return Interval(max(self.low, -self.high, 0), max(-self.low, self.high))

    def __pow__(self, exponent: int) -> "Interval":
        return math.prod([self] * exponent, start=enclose(1))

    def __lt__(self, other: "Interval") -> bool:
        return self.high < other.low

    def __le__(self, other: "Interval") -> bool:
        return self.high <= other.low


def enclose(number: Number) -> Interval:
    """The narrowest interval around a number; an interval as it is."""
    if isinstance(number, Interval):
        return number
    return Interval(math.floor(number * UNIT), math.ceil(number * UNIT))


ZERO, ONE = enclose(0), enclose(1)


def decimal(end: int) -> str:
    """The end of an interval, exactly."""
    whole, part = divmod(abs(end), UNIT)
    return f"{'-' if end < 0 else ''}{whole}.{part:0{DIGITS}}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class LinearRule:
    """One optimizer's step for slopes s of -1 or +1: m <- decay m + gain s, x <- shrink x - lr c_t (fast s + slow m).

    c_t is the correction, of 1 and `fade`^t: convex and rising; it takes fractions to fractions if the rule is
    `rational`, and intervals to intervals. `first_gain` replaces `gain` in the first step.
    """

    lr: Number
    decay: Number = Fraction(0)
    gain: Number = Fraction(1)
    first_gain: Number = None
    fast: Number = Fraction(0)
    slow: Number = Fraction(1)
    shrink: Number = Fraction(1)
    fade: Number = Fraction(0)
    correction: Callable[[Number, Number], Number] = lambda one, power: one
    rational: bool = True

    def rate(self, power: Number) -> Number:
        """lr c_t."""
        return self.lr * self.correction(power**0, power)

    def step(self, m: Number, x: Number, sign: str, gain: Number, rate: Number) -> tuple[Number, Number]:
        """The next m and x; `rate` is lr c_t."""
        gain, fast = (gain, self.fast) if sign == "+" else (-gain, -self.fast)
        m = self.decay * m + gain
        return m, self.shrink * x - rate * (fast + self.slow * m)


def momentum(lr: Fraction, momentum: Fraction, dampening: Fraction = Fraction(0)) -> LinearRule:
    """torch.optim.SGD: the first slope is not dampened, and without momentum none is."""
    return LinearRule(lr, momentum, 1 - dampening if momentum else Fraction(1), first_gain=Fraction(1))


def adam(lr: Fraction, beta1: Fraction, beta2: Fraction, eps: Fraction, shrink: Fraction = Fraction(1)) -> LinearRule:
    """Adam, AMSGrad and Adamax: squared slopes are 1, so v_t = 1 - beta2^t, v_hat = 1, and beta2 cannot matter.

    AMSGrad's running maximum of v_t is v_t, which rises; Adamax's u_t is 1 + eps from the first step on.
    """
    rate = lr / (1 + eps)
    return LinearRule(rate, beta1, 1 - beta1, shrink=shrink, fade=beta1, correction=lambda one, p: one / (one - p))


def rmsprop(lr: Fraction, alpha: Fraction, eps: Fraction) -> LinearRule:
    """x <- x - lr s / (sqrt(v_t) + eps), v_t = 1 - alpha^t; convex, as one over a positive concave function."""
    epsilon = enclose(eps)
    return LinearRule(lr, fade=alpha, correction=lambda one, p: one / ((one - p).sqrt() + epsilon), rational=False)


LINEAR_RULES: dict[str, Callable[..., LinearRule]] = {
    "gd": lambda lr: LinearRule(lr),
    "momentum": momentum,
    "nesterov": lambda lr, momentum: LinearRule(lr, momentum, fast=Fraction(1), slow=momentum),
    **dict.fromkeys(("adam", "amsgrad", "adamax"), adam),
    "adamw": lambda lr, beta1, beta2, eps, weight_decay: adam(lr, beta1, beta2, eps, shrink=1 - lr * weight_decay),
    "rmsprop": rmsprop,
}


def linear_rule(name: str, hyperparameters: Mapping[str, float]) -> LinearRule:
    """The rule of an optimizer with these hyperparameters; a NoProof where they keep its steps from being linear."""
    if name not in LINEAR_RULES:
        raise NoProof(f"the steps of {name} are not linear in the signs of the slopes")
    known = inspect.signature(LINEAR_RULES[name]).parameters
    for key, value in hyperparameters.items():
        if key not in known and value != 0:
            raise NoProof(f"the steps of {name} with {key} {value} are not linear in the signs of the slopes")
    return LINEAR_RULES[name](**{k: Fraction(str(v)) for k, v in hyperparameters.items() if k in known})


def is_on(x: Number, foot: Number) -> bool:
    """Whether x is certainly the foot itself."""
    return foot <= x <= foot


def side(x: Number, foot: Number) -> str | None:
    """The slope at x, that of the right-hand side at the foot itself; None where it, or a tie, cannot be told."""
    if x < foot:
        return "-"
    return "+" if x > foot or is_on(x, foot) else None


@dataclass
class Walk:
    """The steps of a rule towards a bump with its foot at `foot`, all in fractions or all in intervals."""

    rule: LinearRule
    foot: Number
    m: Number = Fraction(0)
    x: Number = Fraction(0)
    fading: Number = Fraction(1)  # fade^t
    signs: str = ""  # the slope of every step so far, as "-" and "+"
    path: list[Number] = field(default_factory=lambda: [Fraction(0)])  # what was walked in fractions stays so
    ties: list[int] = field(default_factory=list)  # the steps after which x stood on the foot itself

    def advance(self) -> None:
        """Take the next step; a NoProof where x cannot be told from the foot."""
        sign, rule, step = side(self.x, self.foot), self.rule, len(self.signs)
        if sign is None:
            raise NoProof(f"x after step {step} cannot be told from the foot of the bump in {DIGITS} decimals")
        self.fading = self.fading * rule.fade
        gain = rule.gain if step or rule.first_gain is None else rule.first_gain
        self.m, self.x = rule.step(self.m, self.x, sign, gain, rule.rate(self.fading))
        self.signs += sign
        self.path.append(self.x)
        if is_on(self.x, self.foot):
            self.ties.append(step + 1)

    def enclosed(self) -> "Walk":
        numbers: dict[str, Any] = {k: enclose(v) for k, v in vars(self.rule).items() if isinstance(v, Fraction)}
        foot, m, x, fading = map(enclose, (self.foot, self.m, self.x, self.fading))
        path, ties = [*self.path[:-1], x], [*self.ties]
        return Walk(replace(self.rule, **numbers), foot, m, x, fading, self.signs, path, ties)


def follow(rule: LinearRule, foot: Fraction, steps: int) -> Iterator[Walk]:
    """The walk after 1, 2, ... `steps` steps: in fractions while these are short, then in intervals."""
    walk = Walk(rule, foot) if rule.rational else Walk(rule, foot).enclosed()
    for _ in range(steps):
        walk.advance()
        if isinstance(walk.x, Fraction) and max(walk.m.denominator, walk.x.denominator) > LONGEST:
            walk = walk.enclosed()
        yield walk


def exact_maximum(name: str, hyperparameters: Mapping[str, float], distance: float, steps: int) -> dict[str, Any]:
    """The tallest bump that an optimizer escapes within a number of steps, 1 or more, as plain data.

    Returns:
        h_max: the fraction itself, or [low, high], rounded outward to 60 decimals; below 0 if the bump is not reached.
        decimal: the same to 30 digits.
        step: after which x is largest; the first such, as far as can be told.
        ties: the steps after which x stood exactly on the foot of the bump.
        exact_steps: how many steps were taken in fractions.
        reason: why arithmetic cannot settle it, in place of all the others.
    """
    foot = Fraction(str(distance))
    try:
        rule = linear_rule(name, hyperparameters)
        if not rule.rational:
            raise NoProof(f"the steps of {name} hold a square root, which exact fractions cannot follow")
        *_, walk = follow(rule, foot, steps)
    except NoProof as failure:
        return {"reason": str(failure)}
    lows = [Fraction(x.low, UNIT) if isinstance(x, Interval) else x for x in walk.path]
    highs = [Fraction(x.high, UNIT) if isinstance(x, Interval) else x for x in walk.path]
    low, high = max(lows) - foot, max(highs) - foot
    is_exact = low == high and low.denominator.bit_length() < LONGEST_WRITTEN
    with localcontext(prec=30):
        rounded = f"{(Decimal(low.numerator) / low.denominator).normalize():f}"
    return {
        "h_max": str(low) if is_exact else [decimal(enclose(low).low), decimal(enclose(high).high)],
        "decimal": rounded,
        "step": lows.index(max(lows)),
        "ties": walk.ties,
        "exact_steps": sum(isinstance(x, Fraction) for x in walk.path) - 1,
    }


def certify(
    name: str, hyperparameters: Mapping[str, float], distance: float, steps: int, follow_float64: Follow | None = None
) -> dict[str, Any]:
    """Why the path of an optimizer never rises above its maximum: the strongest certificate found, as plain data.

    `follow_float64` is the float64 implementation, for a recurrence where no interval proof is found.

    Returns:
        `kind`, and with kind "interval": all that a checker needs to redo the proof (see `prove`); "recurrence":
        see `find_recurrence`; "steps": `steps`, and `reason`, why it is not more.
    """
    try:
        proof = prove(linear_rule(name, hyperparameters), Fraction(str(distance)))
        exact = {key: str(Fraction(str(value))) for key, value in hyperparameters.items()}
        return {"kind": "interval", "optimizer": name, "hyperparameters": exact, **proof}
    except NoProof as failure:
        reason = f"no interval proof: {failure}"
    if follow_float64 is not None:
        try:
            return {**find_recurrence(name, hyperparameters, distance, follow_float64, FOLLOWED), "reason": reason}
        except NoProof as failure:
            reason += f"; no recurrence: {failure}"
    return {"kind": "steps", "steps": steps, "reason": reason}


def prove(rule: LinearRule, foot: Fraction) -> dict[str, Any]:
    """Prove that the path never exceeds its maximum; a NoProof where no proof is found.

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
    """
    if not (rule.lr > 0 and 0 <= rule.decay < 1 and 0 <= rule.fade < 1 and 0 < rule.shrink <= 1):
        raise NoProof("the steps do not contract")
    for step, walk in enumerate(follow(rule, foot, LONGEST_PREFIX), start=1):
        if step >= FIRST_ATTEMPT and step.bit_count() == 1 and (proof := induction(walk.enclosed())):
            contraction = {key: str(getattr(rule, key)) for key in ("decay", "shrink", "fade")}
            return {"distance": str(foot), **proof, "contraction": contraction, "lattice": DIGITS}
    raise NoProof(f"no repetition of the signs is proved within {LONGEST_PREFIX} steps")


def induction(walk: Walk) -> dict[str, Any] | None:
    """The proof that the signs repeat from here on, as the theorem has it; None if they may not, or not yet."""
    foot, signs, word = walk.foot, walk.signs, repeated(walk.signs)
    steps, period = len(signs), len(word)
    if not word or (walk.rule.shrink == ONE and 2 * word.count("+") != period):
        return None
    m_orbit, orbit = periodic(walk, word)
    tail = farthest(walk, m_orbit, orbit[0]).high
    future = [Interval(x.low - tail, x.high + tail) for x in orbit]
    if any(side(x, foot) != sign for x, sign in zip(future, word, strict=True)):
        return None
    path = [enclose(x) for x in walk.path]
    maximum = max(path, key=lambda x: x.low)
    top, ever = (max(x.high for x in xs) for xs in (path, future))
    h_max = Interval(maximum.low, max(top, ever)) - foot
    if h_max.high - h_max.low > ENOUGH:
        return None
    start = steps - period  # of the repetition
    while start and signs[start - 1] == signs[start - 1 + period]:
        start -= 1
    apart = {  # from the foot
        "path": [x for step, x in enumerate(path) if step not in walk.ties],
        "orbit": [x for x in orbit if not is_on(x, foot)],
    }
    return {
        "signs": {"transient": run_lengths(signs[:start]), "repeated": run_lengths(signs[start : start + period])},
        "period": period,
        "steps": steps,
        "ties": walk.ties,
        "h_max": [decimal(h_max.low), decimal(h_max.high)],
        "width": f"{h_max.high - h_max.low}e-{DIGITS}",
        "step": path.index(maximum) if ever <= top else None,
        "margin": {key: decimal(min(abs(x - foot).low for x in xs)) for key, xs in apart.items()},
        "tail": decimal(tail),
    }


def periodic(walk: Walk, word: str) -> tuple[Interval, list[Interval]]:
    """m*_0 and every x*_j: what `word` drives round and round, and through the present x if shrink is 1."""
    rule, period, x = walk.rule, len(word), walk.x
    m = drive(rule, word, ZERO, ZERO)[0] / (ONE - rule.decay**period)
    if rule.shrink != ONE:
        x = drive(rule, word, m, ZERO)[1][-1] / (ONE - rule.shrink**period)
    return m, drive(rule, word, m, x)[1][:-1]


def drive(rule: LinearRule, word: str, m: Interval, x: Interval) -> tuple[Interval, list[Interval]]:
    """The last m, and every x from the given one on, under the signs of `word` at the last rate, lr c."""
    path, rate = [x], rule.rate(ZERO)
    for sign in word:
        m, x = rule.step(m, x, sign, rule.gain, rate)
        path.append(x)
    return m, path


def farthest(walk: Walk, m_orbit: Interval, x_orbit: Interval) -> Interval:
    """The tail: how far x can be from its orbit, which is now at m* and x*, as long as the word goes on."""
    rule, last = walk.rule, walk.rule.rate(ZERO)
    largest = abs(walk.m) + abs(rule.gain) / (ONE - rule.decay)  # no |m| to come exceeds this
    swing = last * rule.slow * abs(walk.m - m_orbit) * rule.decay / (ONE - rule.decay)
    late = (rule.rate(walk.fading) - last) * (rule.fast + rule.slow * largest) * rule.fade / (ONE - rule.fade)
    return abs(walk.x - x_orbit) + swing + late


def repeated(signs: str) -> str:
    """The shortest word that the last half of `signs` repeats, at least twice, and ends with; empty if none."""
    half = signs[len(signs) // 2 :]
    periods = range(1, len(half) // 2 + 1)
    return next((half[-period:] for period in periods if half[period:] == half[:-period]), "")


def run_lengths(signs: str) -> str:
    """----+ as -4+1."""
    return "".join(f"{sign}{len(list(run))}" for sign, run in groupby(signs))


# An optimizer may be here only if its step depends on the step count through 1 - beta^step alone, for these betas.
BIAS_CORRECTIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gd", "momentum", "nesterov", "rmsprop", "rmsprop-centered", "rprop", "adadelta"), ()),
    **dict.fromkeys(("adam", "amsgrad", "adamw"), ("beta1", "beta2")),
    "adamax": ("beta1",),
}


def find_recurrence(
    name: str, hyperparameters: Mapping[str, float], distance: float, follow_float64: Follow, limit: int
) -> dict[str, Any]:
    """Follow the float64 implementation until x and all its state repeat, bit for bit; a NoProof if they do not.

    The next step is a function of x, the state and the step count. The count has no effect once every 1 - beta^step
    is 1.0, and it stays so: beta^step <= 2^-54 then, and falls by more than pow can err (beta < 1 - 1e-15). So from
    the first repetition on the path is periodic, for ever, on this machine and this version of torch.

    Returns:
        first_step, period: the state after step `first_step` is that after `period` more, and so on.
        h_max, step: the maximum of the whole path, and the step at which it first stands.
        state: SHA-256 of the bytes of x and of the state's tensors in the order of their names.
    """
    if name not in BIAS_CORRECTIONS:
        raise NoProof(f"the steps of {name} depend on how many there were")
    betas = [hyperparameters[key] for key in BIAS_CORRECTIONS[name]]
    path, seen = [START], dict[bytes, int]()
    for x, state_of in islice(follow_float64(Triangle(distance, math.inf)), limit):
        step = len(path)
        if not math.isfinite(x):
            break
        path.append(x)
        if any(1 - beta**step != 1 for beta in betas):
            continue
        state = state_of()
        first_step = seen.setdefault(state, step)
        if first_step < step:
            highest = max(range(step), key=path.__getitem__)
            h_max, checksum = path[highest] - distance, hashlib.sha256(state).hexdigest()
            found = {"first_step": first_step, "period": step - first_step, "h_max": h_max, "step": highest}
            return {"kind": "recurrence", **found, "state": checksum}
    if len(path) <= limit:
        raise NoProof(f"x is no longer finite after step {len(path)}")
    raise NoProof(f"the state does not repeat within {limit} steps")
