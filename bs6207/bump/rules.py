"""Optimizers whose steps are linear in the signs of the slopes, and their paths without rounding errors.

The landscape is the bump that never ends (see search.py): x starts at 0, the slope is s = -1 before the foot of the
bump at x = L and s = +1 from it on. An optimizer sees nothing but these signs, and for many, those of
`LINEAR_RULES`, step t is then linear in them:

    m <- decay m + gain s
    x <- shrink x - lr c_t (fast s + slow m),    c_t = correction(fade^t), falling to c = correction(0)

Hyperparameters are the decimals that the user wrote: 0.3 is 3/10. A path is walked in fractions for as long as these
are short, so that it is known where x stands on the foot itself, and in intervals from there on.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from bs6207.bump.intervals import DIGITS, Number, Refusal, enclose

LONGEST = 10**2_200  # the largest denominator; momentum 0.99 has 10^(2 t + 1) after t steps: 1000 of them take 0.1 s


def constant(power: Number) -> Number:
    """No correction."""
    return power**0


@dataclass(frozen=True)
class LinearRule:
    """One optimizer's step, when all slopes are -1 or +1, as the recurrence at the top of this module.

    `first_gain` replaces `gain` in the first step. `correction` is convex and rises with its argument, `fade`^t; it
    takes fractions to fractions if the rule is `rational`, and intervals to intervals.
    """

    lr: Number
    decay: Number = Fraction(0)
    gain: Number = Fraction(1)
    first_gain: Number = None
    fast: Number = Fraction(0)
    slow: Number = Fraction(1)
    shrink: Number = Fraction(1)
    fade: Number = Fraction(0)
    correction: Callable[[Number], Number] = constant
    rational: bool = True

    def enclosed(self) -> "LinearRule":
        """The same, with intervals for fractions."""
        numbers: dict[str, Number] = {k: enclose(v) for k, v in vars(self).items() if isinstance(v, Fraction)}
        return replace(self, **numbers)

    def step(self, m: Number, x: Number, sign: str, gain: Number, rate: Number) -> tuple[Number, Number]:
        """The next m and x; `rate` is lr c_t."""
        m = self.decay * m + signed(gain, sign)
        return m, self.shrink * x - rate * (signed(self.fast, sign) + self.slow * m)


def signed(number: Number, sign: str) -> Number:
    """The number times a slope, "-" or "+"."""
    return number if sign == "+" else -number


def gd(lr: Fraction) -> LinearRule:
    """x <- x - lr s."""
    return LinearRule(lr)


def momentum(lr: Fraction, momentum: Fraction, dampening: Fraction = Fraction(0)) -> LinearRule:
    """torch.optim.SGD: the first slope is not dampened, and without momentum none is."""
    return LinearRule(lr, momentum, 1 - dampening if momentum else Fraction(1), first_gain=Fraction(1))


def nesterov(lr: Fraction, momentum: Fraction) -> LinearRule:
    """torch.optim.SGD with nesterov: x <- x - lr (g + momentum m)."""
    return LinearRule(lr, momentum, fast=Fraction(1), slow=momentum)


def adam(lr: Fraction, beta1: Fraction, beta2: Fraction, eps: Fraction, shrink: Fraction = Fraction(1)) -> LinearRule:
    """Adam, AMSGrad and Adamax: squared slopes are 1, so v_t = 1 - beta2^t, v_hat = 1, and beta2 cannot matter.

    AMSGrad's running maximum of v_t is v_t, which rises; Adamax's u_t is 1 + eps from the first step on.
    """
    return LinearRule(
        lr / (1 + eps), beta1, 1 - beta1, shrink=shrink, fade=beta1, correction=lambda power: 1 / (1 - power)
    )


def adamw(lr: Fraction, beta1: Fraction, beta2: Fraction, eps: Fraction, weight_decay: Fraction) -> LinearRule:
    """Adam on an x that shrinks by the factor 1 - lr weight_decay before each step."""
    return adam(lr, beta1, beta2, eps, shrink=1 - lr * weight_decay)


def rmsprop(lr: Fraction, alpha: Fraction, eps: Fraction) -> LinearRule:
    """x <- x - lr s / (sqrt(v_t) + eps), v_t = 1 - alpha^t; convex, as one over a positive concave function."""
    epsilon = enclose(eps)
    return LinearRule(lr, fade=alpha, correction=lambda power: 1 / ((1 - power).sqrt() + epsilon), rational=False)


LINEAR_RULES: dict[str, Callable[..., LinearRule]] = {
    "gd": gd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "amsgrad": adam,
    "adamax": adam,
    "adamw": adamw,
    "rmsprop": rmsprop,
}


def linear_rule(name: str, hyperparameters: Mapping[str, float]) -> LinearRule:
    """The rule of an optimizer, if it has one with these hyperparameters.

    Raises:
        Refusal: it has none.
    """
    if name not in LINEAR_RULES:
        raise Refusal(f"the steps of {name} are not linear in the signs of the slopes")
    known = inspect.signature(LINEAR_RULES[name]).parameters
    for key, value in hyperparameters.items():
        if key not in known and value != 0:
            raise Refusal(f"the steps of {name} with {key} {value} are not linear in the signs of the slopes")
    return LINEAR_RULES[name](**{k: Fraction(str(v)) for k, v in hyperparameters.items() if k in known})


def is_on(x: Number, foot: Number) -> bool:
    """Whether x is the foot of the bump itself, for certain."""
    return foot <= x <= foot


def side(x: Number, foot: Number) -> str | None:
    """The slope at x, that of the right-hand side at the foot itself; None where it, or a tie, cannot be told."""
    if x < foot:
        return "-"
    return "+" if x > foot or is_on(x, foot) else None


@dataclass
class Walk:
    """The steps of a rule towards a bump with its foot at `foot`, all in fractions or all in intervals.

    Attributes:
        m, x, fading: after the last step; `fading` is fade^t.
        signs: the slope of every step so far, as "-" and "+".
        path: every x so far, the start included; what was walked in fractions stays so.
        ties: the steps after which x stood on the foot itself.
    """

    rule: LinearRule
    foot: Number
    m: Number = Fraction(0)
    x: Number = Fraction(0)
    fading: Number = Fraction(1)
    signs: str = ""
    path: list[Number] = field(default_factory=lambda: [Fraction(0)])
    ties: list[int] = field(default_factory=list)

    @property
    def rate(self) -> Number:
        """lr c_t of the last step."""
        return self.rule.lr * self.rule.correction(self.fading)

    def advance(self) -> None:
        """Take the next step.

        Raises:
            Refusal: x cannot be told from the foot.
        """
        sign = side(self.x, self.foot)
        if sign is None:
            where = f"x after step {len(self.signs)}"
            raise Refusal(f"{where} cannot be told from the foot of the bump in {DIGITS} decimals")
        self.fading = self.fading * self.rule.fade
        gain = self.rule.gain if self.signs or self.rule.first_gain is None else self.rule.first_gain
        self.m, self.x = self.rule.step(self.m, self.x, sign, gain, self.rate)
        self.signs += sign
        self.path.append(self.x)
        if is_on(self.x, self.foot):
            self.ties.append(len(self.signs))

    def enclosed(self) -> "Walk":
        """The same walk, to go on in intervals."""
        rule, foot, m, x, fading = self.rule.enclosed(), *map(enclose, (self.foot, self.m, self.x, self.fading))
        return Walk(rule, foot, m, x, fading, self.signs, [*self.path[:-1], x], [*self.ties])


def follow(rule: LinearRule, foot: Fraction, steps: int) -> Iterator[Walk]:
    """The walk after 1, 2, ... `steps` steps: in fractions while these are short, then in intervals.

    Raises:
        Refusal: as `Walk.advance` does.
    """
    walk = Walk(rule, foot) if rule.rational else Walk(rule, foot).enclosed()
    for _ in range(steps):
        walk.advance()
        if isinstance(walk.x, Fraction) and max(walk.m.denominator, walk.x.denominator) > LONGEST:
            walk = walk.enclosed()
        yield walk
