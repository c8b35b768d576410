"""Published update rules in float64 NumPy, each written from its paper's equations.

A rule is a function of the gradient g, the parameter x before the step, the state s of this parameter (empty at first)
and the hyperparameters h. It returns the change of x. `advance` adds what all rules share: direction and weight decay.
Where implementations are known to differ, h names the form (`eps_place`, `decay`, ...); `RULES` has the published one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # of float64
Hyperparameters: TypeAlias = SimpleNamespace
Step: TypeAlias = Callable[[Array, Array, dict[str, Any], Hyperparameters], Array]

RECTIFIED_ABOVE = 5.0  # degrees of freedom, of RAdam: the authors' code and torch; algorithm 2 has 4
NADAM_DECAY = 0.96  # base of the momentum's schedule (Dozat 2016, section 2)


def mean(g: Array, s: dict[str, Any], name: str, beta: float, weight: float | None = None) -> Array:
    """The exponential moving average of g, from 0 on; `weight` of g is 1 - beta unless given."""
    s[name] = beta * s.get(name, 0.0) + (1 - beta if weight is None else weight) * g
    return s[name]


def corrected(beta: float, s: dict[str, Any], is_on: bool = True) -> float:
    """The bias of a moving average that starts at 0 (Kingma and Ba 2015, section 3)."""
    return 1 - beta ** s["t"] if is_on else 1.0


def biases(s: dict[str, Any], h: Hyperparameters) -> tuple[float, float]:
    """What the first and the second moment are divided by."""
    first = corrected(h.beta1, s, h.corrects_first) ** h.first_power
    second = corrected(h.beta2, s, h.corrects_second) ** h.second_power
    return (second, first) if h.swaps_biases else (first, second)


def root(v: Array, bias: float, h: Hyperparameters) -> Array:
    """The denominator of an adaptive rule, with eps where `h.eps_place` says."""
    if h.eps_place == "inside":
        return np.sqrt(v / bias + h.eps)
    if h.eps_place == "both":
        return np.sqrt(v / bias + h.eps) + h.eps
    if h.eps_place == "inside, before":
        return np.sqrt((v + h.eps) / bias)
    if h.eps_place == "before":
        return (np.sqrt(v) + h.eps) / math.sqrt(bias)
    if h.eps_place == "maximum":
        return np.maximum(np.sqrt(v / bias), h.eps)
    return (np.sqrt(v / bias) if h.has_root else v / bias) + (h.eps if h.eps_place != "quotient" else 0.0)


def quotient(m: Array, v: Array, bias: float, h: Hyperparameters) -> Array:
    """The step of an adaptive rule: m over the root of v."""
    return m / root(v, bias, h) + (h.eps if h.eps_place == "quotient" else 0.0)


def sgd(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Polyak 1964, doi:10.1016/0041-5553(64)90137-5; nesterov: Sutskever et al. 2013, ICML; dampening: torch.optim."""
    if not h.momentum:
        return -h.lr * g
    gain = h.lr if h.lr_inside else 1.0
    before, is_first = s.get("velocity", 0.0 * g), "velocity" not in s and not h.first_dampened
    v = mean(gain * g, s, "velocity", h.momentum, 1.0 if is_first else 1 - h.dampening)
    v = before if h.stale == "velocity" else v
    if h.nesterov:
        v = {"sutskever": gain * g + h.momentum * v, "bare": h.momentum * v, "twice": gain * g + h.momentum**2 * v}[
            h.nesterov_form
        ]
    return -(h.lr / gain) * v


def adam(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Kingma and Ba 2015, arXiv:1412.6980, algorithm 1; amsgrad: Reddi et al. 2018, arXiv:1904.09237, algorithm 2."""
    before = s.get("m", 0.0), s.get("v", 0.0)
    pull = s["pull"]
    m = mean(g + pull if h.decay == "first moment" else g, s, "m", h.beta1, 1.0 if h.first_whole else None)
    v = mean(g**2 if h.squares else np.abs(g), s, "v", h.beta2, 1.0 if h.second_whole else None)
    if h.square_of_mean:
        v = s["v"] = h.beta2 * before[1] + (1 - h.beta2) * m**2
    if h.starts_with_first and s["t"] == 1:
        m, v = s["m"], s["v"] = g, g**2
    m, v = (before[0] if h.stale == "m" else m), (before[1] if h.stale == "v" else v)
    bias1, bias2 = biases(s, h)
    if h.keeps_corrected:
        s["m"], s["v"] = m / bias1, v / bias2
    if h.amsgrad:
        v, bias2 = largest(v, before[1], bias2, s, h)
    if h.nesterov:
        m = h.beta1 * m + (1 - h.beta1) * g
    return -h.lr * quotient(m / bias1 + (pull if h.decay == "in the quotient" else 0.0), v, bias2, h)


def largest(v: Array, before: Array, bias: float, s: dict[str, Any], h: Hyperparameters) -> tuple[Array, float]:
    """The largest second moment so far, and the bias that is left to correct."""
    if h.amsgrad_form == "corrected":
        v, bias = v / bias, 1.0
    if h.amsgrad_form == "previous":
        return np.maximum(before, v), bias
    s["largest"] = np.maximum(s.get("largest", 0.0), v)
    if h.amsgrad_form == "kept":
        s["v"] = s["largest"]
    return s["largest"], bias


def sparse_adam(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """torch.optim.SparseAdam: entries without a gradient keep x and their averages; t counts all steps."""
    before = {name: s.get(name, np.zeros_like(x)) for name in ("m", "v")}
    change, absent = adam(g, x, s, h), g == 0
    for name, values in before.items():
        s[name] = np.where(absent, values, s[name])
    return np.where(absent, 0.0, change)


def adamax(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Kingma and Ba 2015, algorithm 2; eps, which the paper lacks, is added to |g| as in torch.optim."""
    m = mean(g, s, "m", h.beta1)
    u = s["u"] = np.maximum(h.beta2 * s.get("u", 0.0), np.abs(g) + (h.eps if h.eps_place == "maximum" else 0.0))
    bias1, bias2 = biases(s, h)
    return -h.lr / bias1 * m / (u / bias2 + (h.eps if h.eps_place == "outside" else 0.0))


def nadam(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Dozat 2016, ICLR workshop, algorithm 2, with the schedule of its section 2."""
    mu, after = (h.beta1 * (1 - 0.5 * NADAM_DECAY ** ((s["t"] + ahead) * h.momentum_decay)) for ahead in (0, 1))
    mu, after = (mu, after) if h.is_scheduled else (h.beta1, h.beta1)
    product = s["product"] = s.get("product", 1.0) * mu
    m, v = mean(g, s, "m", h.beta1), mean(g**2, s, "v", h.beta2)
    biases1 = (1 - product * (after if h.corrects_ahead else 1), 1 - product) if h.corrects_first else (1.0, 1.0)
    numerator = after / biases1[0] * m + (1 - mu) / biases1[1] * g
    return -h.lr * quotient(numerator, v, corrected(h.beta2, s, h.corrects_second), h)


def radam(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array | None:
    """Liu et al. 2020, arXiv:1908.03265, algorithm 2; eps, which the paper lacks, as in torch.optim."""
    m, v = mean(g, s, "m", h.beta1), mean(g**2, s, "v", h.beta2)
    bias, bias2 = corrected(h.beta1, s, h.corrects_first), corrected(h.beta2, s)
    longest = 2 / (1 - h.beta2) - 1
    rho = longest - 2 * s["t"] * h.beta2 ** s["t"] / bias2
    if rho <= h.rectified_above and h.unrectified == "none":
        return None
    if rho <= h.rectified_above:
        return -h.lr * {"momentum": m / bias, "uncorrected": m, "gradient": g}[h.unrectified]
    rectification = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
    factor = math.sqrt(rectification) if h.rectification == "root" else rectification
    factor = 1.0 if h.rectification == "none" else factor
    return -h.lr * factor * quotient(m / bias, v, corrected(h.beta2, s, h.corrects_second), h)


def rmsprop(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Hinton 2012, lecture 6e; centered: Graves 2013, arXiv:1308.0850, equations 38 to 45."""
    s.setdefault("v", np.full_like(g, h.first_v))
    before, v = s["v"], mean(g**2, s, "v", h.alpha, 1.0 if h.second_whole else None)
    v = before if h.stale == "v" else v
    if h.centered:
        average = mean(g, s, "g", h.alpha)
        v = v - (average**2 if h.squares_mean else average)
    if h.momentum and h.momentum_of_gradient:
        g = mean(g, s, "velocity", h.momentum, 1.0)
    scaled = quotient(g, v, corrected(h.alpha, s, h.corrects_second), h)
    if not h.momentum or h.momentum_of_gradient:
        return -h.lr * scaled
    gain = h.lr if h.lr_inside else 1.0
    v = mean(gain * scaled, s, "velocity", h.momentum, 1 - h.dampening)
    return -(h.lr / gain) * (gain * scaled + h.momentum * v if h.nesterov else v)


def adagrad(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Duchi et al. 2011, JMLR 12, section 1.1; lr_decay and the first sum: torch.optim."""
    before = s.get("sum", np.full_like(g, h.initial_accumulator_value))
    s["sum"] = before + g**2
    scaled = quotient(g, before if h.stale == "v" else s["sum"], 1.0, h)
    return -h.lr / (1 + (s["t"] - 1) * h.lr_decay) * scaled


def adadelta(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Zeiler 2012, arXiv:1212.5701, algorithm 1; lr, 1 there: torch.optim."""
    v, moved = mean(g**2, s, "v", h.rho), s.get("moved", 0.0)
    if h.eps_place == "inside":
        step = np.sqrt(moved + h.eps) / np.sqrt(v + h.eps) * g
    elif h.eps_place == "numerator":
        step = np.sqrt(moved + h.eps) / np.sqrt(v) * g
    else:
        step = (np.sqrt(moved) + h.eps) / (np.sqrt(v) + h.eps) * g
    mean((h.lr * step if h.moved_holds_lr else step) ** 2, s, "moved", h.rho)
    return -h.lr * step


def rprop(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Riedmiller and Braun 1993, doi:10.1109/ICNN.1993.298623, as iRprop- (Igel and Huesken 2000): no step back."""
    size = s.setdefault("size", np.full_like(x, h.lr))
    agreement = np.sign(g * s.get("g", 0.0))
    factor = np.where(agreement > 0, h.etas[1], np.where(agreement < 0, h.etas[0], 1.0))
    s["size"] = np.clip(size * factor, *h.step_sizes)
    g = s["g"] = np.where(agreement < 0, 0.0, g) if h.skips else g
    return -(np.sign(g) if h.takes_sign else g) * s["size"]


def asgd(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Polyak and Juditsky 1992, doi:10.1137/0330046, with Bottou's step sizes; x is the iterate, not the average."""
    eta = s.get("eta", h.lr)
    s["eta"] = h.lr / (1 + h.lambd * h.lr * s["t"]) ** h.alpha
    return -eta * (g + h.lambd * x)


def adafactor(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 to 6, with eps1 as in torch.optim."""
    eps1, eps2 = h.eps if isinstance(h.eps, list | tuple) else (None, h.eps)
    eps1 = float(np.finfo(np.float64).eps) if eps1 is None else eps1
    fresh = s["t"] ** h.beta2_decay
    if g.ndim > 1:
        rows = mean((g**2).mean(-1, keepdims=True), s, "rows", 1 - fresh, fresh)
        columns = mean((g**2).mean(-2, keepdims=True), s, "columns", 1 - fresh, fresh)
        v = rows @ columns / np.maximum(rows.mean(-2, keepdims=True), eps1)
    else:
        v = mean(g**2, s, "v", 1 - fresh, fresh)
    update = g / np.sqrt(np.maximum(v, eps1**2))
    update = update / max(1.0, rms(update) / h.d)
    return -max(eps2, rms(x)) * min(h.lr, s["t"] ** -0.5) * update


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def norm(values: Array) -> float:
    return float(np.sqrt(np.sum(np.square(values))))


def muon(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Jordan et al. 2024, kellerjordan.github.io/posts/muon; `adjust_lr_fn`: Liu et al. 2025, arXiv:2502.16982."""
    v = mean(g, s, "v", h.momentum)
    matrix = (1 - h.momentum) * g + h.momentum * v if h.nesterov else v
    is_tall = matrix.shape[0] > matrix.shape[1]
    ortho = matrix.T if is_tall else matrix
    ortho = ortho / max(norm(ortho), h.eps)
    a, b, c = h.ns_coefficients
    for _ in range(h.ns_steps):
        gram = ortho @ ortho.T
        ortho = a * ortho + (b * gram + c * gram @ gram) @ ortho
    rows, columns = matrix.shape
    scale = {"original": math.sqrt(max(1, rows / columns)), "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns))}
    return -h.lr * scale.get(h.adjust_lr_fn or "original", 1.0) * (ortho.T if is_tall else ortho)


def lion(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Chen et al. 2023, arXiv:2302.06675, algorithm 2."""
    before, m = s.get("m", 0.0), mean(g, s, "m", h.beta2)
    mixed = h.beta1 * (m if h.mixes_new else before) + (1 - h.beta1) * g
    return -h.lr * (np.sign(mixed) if h.takes_sign else mixed)


def signum(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Bernstein et al. 2018, arXiv:1802.04434, algorithms 1 and 2; without momentum it is signSGD."""
    mixed = mean(g, s, "m", h.momentum) if h.momentum else g
    return -h.lr * (np.sign(mixed) if h.takes_sign else mixed)


def adabelief(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Zhuang et al. 2020, arXiv:2010.07468, algorithm 2: eps is also added to every s_t."""
    m = mean(g, s, "m", h.beta1)
    v = s["v"] = h.beta2 * s.get("v", 0.0) + (1 - h.beta2) * (g - m) ** 2 + h.eps
    bias1, bias2 = biases(s, h)
    return -h.lr * quotient(m / bias1, v, bias2, h)


def yogi(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Zaheer et al. 2018, NeurIPS, algorithm 2, without bias correction; v starts as in TensorFlow's and optax's."""
    if not s.keys() & {"m", "v"}:
        s["v"] = g**2 if h.starts_with_first else np.full_like(g, h.initial_accumulator_value)
        s["m"] = np.full_like(g, h.initial_accumulator_value if h.first_starts_too else 0.0)
    m, v = mean(g, s, "m", h.beta1), s["v"]
    v = s["v"] = v - (1 - h.beta2) * np.sign(v - g**2) * g**2
    bias1, bias2 = biases(s, h)
    return -h.lr * quotient(m / bias1, v, bias2, h)


def adan(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Xie et al. 2022, arXiv:2208.06677, algorithm 1, with corrected averages as in the authors' code."""
    change = g - s.get("before", g)
    s["before"] = g
    m, d = mean(g, s, "m", h.beta1), mean(change, s, "d", h.beta2)
    v = mean((g + h.beta2 * change) ** 2, s, "v", h.beta3)
    bias1, bias2 = corrected(h.beta1, s), corrected(h.beta2, s)
    return -h.lr * (m / bias1 + h.beta2 * d / bias2) / root(v, corrected(h.beta3, s), h)


def adopt(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Taniguchi et al. 2024, arXiv:2411.02853, algorithm 2: the second moment is that before the step.

    `clip_lambda` of None is algorithm 1, which does not clip.
    """
    if "v" not in s:
        s["v"] = g**2
        return np.zeros_like(x)
    scaled = g / np.maximum(np.sqrt(s["v"]), h.eps)
    if h.clip_lambda is not None:
        scaled = np.clip(scaled, -(bound := h.clip_lambda(s["t"] - 1 + h.clips_ahead)), bound)
    m = mean(scaled, s, "m", h.beta1)
    mean(g**2, s, "v", h.beta2)
    return -h.lr * m


def qhm(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Ma and Yarats 2019, arXiv:1810.06801, equations 3 and 4."""
    return -h.lr * ((1 - h.nu) * g + h.nu * mean(g, s, "m", h.momentum))


def qhadam(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """Ma and Yarats 2019, arXiv:1810.06801, section 4.3."""
    m = mean(g, s, "m", h.beta1) / corrected(h.beta1, s)
    v = mean(g**2, s, "v", h.beta2) / corrected(h.beta2, s)
    nu1, nu2 = h.nus
    return -h.lr * ((1 - nu1) * g + nu1 * m) / (np.sqrt((1 - nu2) * g**2 + nu2 * v) + h.eps)


def lamb(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """You et al. 2020, arXiv:1904.00962, algorithm 2, with phi the identity."""
    m, v = mean(g, s, "m", h.beta1), mean(g**2, s, "v", h.beta2)
    bias1, bias2 = biases(s, h)
    update = quotient(m / bias1, v, bias2, h) + (s["pull"] if h.decay == "inside" else 0.0)
    x, lr = decayed(x, 0.0, h.weight_decay, h), h.lr / corrected(h.beta1, s, h.corrects_step)
    return -lr * trust_ratio(x, update, h.eps if h.trust_has_eps else 0.0) * update


def lars(g: Array, x: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """You et al. 2017, arXiv:1708.03888, algorithm 1."""
    if x.ndim < 2 and h.scales_matrices_only:
        return sgd(g, x, s, h)
    decay = h.weight_decay if h.decay == "inside" else 0.0
    sizes = norm(x), norm(g) + decay * norm(x)
    local = h.trust_coefficient * sizes[0] / sizes[1] if all(sizes) else 1.0
    return sgd(local * (g + decay * x), x, s, h)


def trust_ratio(x: Array, update: Array, eps: float) -> float:
    sizes = norm(x), norm(update)
    return sizes[0] / (sizes[1] + eps) if all(sizes) else 1.0


def lbfgs(evaluate: Callable[[Array], tuple[float, Array]], x: Array, h: Hyperparameters, steps: int) -> list[Array]:
    """Positions of L-BFGS, [steps + 1], on all parameters as one vector (Liu and Nocedal 1989, doi:10.1007/BF01589116).

    Two-loop recursion with a fixed step size, and the stopping rules of torch.optim.LBFGS.
    """
    path, pairs, scale, before, move = [x], list[tuple[Array, Array]](), 1.0, None, None
    for _ in range(steps):
        loss, g = evaluate(x)
        for inner in range(h.max_iter if np.abs(g).max() > h.tolerance_grad else 0):
            if before is not None:
                y, moved = g - before, move
                if y @ moved > 1e-10:
                    pairs, scale = [*pairs, (moved, y)][-h.history_size :], (y @ moved) / (y @ y)
            direction, weights = -g, list[float]()
            for moved, y in reversed(pairs):
                weights.append((moved @ direction) / (y @ moved))
                direction = direction - weights[-1] * y
            direction = scale * direction
            for (moved, y), weight in zip(pairs, reversed(weights), strict=True):
                direction = direction + (weight - (y @ direction) / (y @ moved)) * moved
            size = h.lr if before is not None else min(1.0, 1.0 / np.abs(g).sum()) * h.lr
            before = g
            if g @ direction > -h.tolerance_change:
                break
            move = size * direction
            x = x + move
            if inner + 1 < h.max_iter:
                earlier, (loss, g) = loss, evaluate(x)
                is_small = np.abs(move).max() <= h.tolerance_change or abs(loss - earlier) < h.tolerance_change
                if is_small or np.abs(g).max() <= h.tolerance_grad or inner + 2 >= h.max_eval:
                    break
        path.append(x)
    return path


FORMS: Mapping[str, Any] = {  # the published form of everything that `deviations.py` varies
    **{"lr": 1e-3, "weight_decay": 0.0, "maximize": False, "decay": "l2", "eps": 1e-8, "eps_place": "outside"},
    **{"beta1": 0.9, "beta2": 0.999, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "amsgrad": False},
    **{"corrects_first": True, "corrects_second": True, "clock": "own", "scale": 1.0, "period": 1, "gradient": "whole"},
    **{"nesterov_form": "sutskever", "lr_inside": False, "first_dampened": False, "amsgrad_form": "raw"},
    **dict.fromkeys(("squares", "squares_mean", "has_root", "takes_sign", "skips"), True),
    **{"is_scheduled": True, "corrects_ahead": True, "corrects_step": False},
    **dict.fromkeys(("first_whole", "second_whole", "square_of_mean", "starts_with_first", "first_starts_too"), False),
    **dict.fromkeys(("keeps_corrected", "swaps_biases", "momentum_of_gradient", "mixes_new", "moved_holds_lr"), False),
    **dict.fromkeys(("centered", "matrices_only", "flips_decay", "trust_has_eps", "scales_matrices_only"), False),
    **{"stale": "", "first_v": 0.0, "first_power": 1, "second_power": 1, "lr_power": 0.0, "state": "own"},
    **{"rectified_above": RECTIFIED_ABOVE, "unrectified": "momentum", "rectification": "root"},
    **{"clip_lambda": None, "clips_ahead": 0},
}
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
UNCORRECTED = {"corrects_first": False, "corrects_second": False}
LR_INSIDE = {"lr_inside": True, "nesterov": False}


@dataclass(frozen=True)
class Rule:
    """A published rule: how it steps, the defaults and forms in which it differs from `FORMS`, and its source."""

    step: Any  # a `Step`, or `lbfgs`
    own: Mapping[str, Any] = field(default_factory=dict)
    needs_closure: bool = False

    @property
    def source(self) -> str:
        return " ".join((self.step.__doc__ or "").split("\n\n")[0].split())

    def hyperparameters(self, given: Mapping[str, Any]) -> Hyperparameters:
        """The values of `given` over the rule's own defaults."""
        return SimpleNamespace(**{**FORMS, **self.own, **given})


RULES: dict[str, Rule] = {
    "sgd": Rule(sgd),
    "adam": Rule(adam, ADAM),
    "adamw": Rule(adam, {**ADAM, "decay": "decoupled"}),  # Loshchilov and Hutter 2019, arXiv:1711.05101
    "adamax": Rule(adamax, {**ADAM, "eps_place": "maximum", "corrects_second": False}),
    "nadam": Rule(nadam, {**ADAM, "momentum_decay": 4e-3}),
    "radam": Rule(radam, {**ADAM, "eps_place": "before"}),
    "rmsprop": Rule(rmsprop, {"alpha": 0.99, "corrects_second": False}),
    "adagrad": Rule(adagrad, {"eps": 1e-10, "lr_decay": 0.0, "initial_accumulator_value": 0.0}),
    "adadelta": Rule(adadelta, {"rho": 0.9, "eps": 1e-6, "eps_place": "inside"}),
    "rprop": Rule(rprop, {"etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}),
    "asgd": Rule(asgd, {"lambd": 1e-4, "alpha": 0.75}),
    "adafactor": Rule(adafactor, {"eps": (None, 1e-3), "d": 1.0, "beta2_decay": -0.8, "decay": "decoupled"}),
    "muon": Rule(
        muon,
        {"momentum": 0.95, "nesterov": True, "eps": 1e-7, "ns_steps": 5, "ns_coefficients": (3.4445, -4.775, 2.0315)}
        | {"adjust_lr_fn": None, "decay": "decoupled"},
    ),
    "sparseadam": Rule(sparse_adam, {**ADAM, "eps_place": "before"}),
    "lbfgs": Rule(
        lbfgs,
        {"max_iter": 20, "max_eval": 25, "history_size": 100, "tolerance_grad": 1e-7, "tolerance_change": 1e-9},
        needs_closure=True,
    ),
    "lion": Rule(lion, {"beta1": 0.9, "beta2": 0.99, "decay": "decoupled"}),
    "signsgd": Rule(signum, {"decay": "decoupled"}),
    "adabelief": Rule(adabelief, {**ADAM, "decay": "decoupled"}),
    "yogi": Rule(yogi, {**ADAM, **UNCORRECTED, "initial_accumulator_value": 1e-6}),
    "adan": Rule(adan, {"beta1": 0.98, "beta2": 0.92, "beta3": 0.99, "decay": "proximal"}),
    "adopt": Rule(adopt, {**ADAM, "beta2": 0.9999}),
    "qhm": Rule(qhm, {"momentum": 0.9, "nu": 0.7}),
    "qhadam": Rule(qhadam, {**ADAM, "nus": (1.0, 1.0)}),
    "lamb": Rule(lamb, {**ADAM, "eps": 1e-6, "decay": "inside"}),
    "lars": Rule(lars, {"momentum": 0.9, "trust_coefficient": 1e-3, "decay": "inside", **LR_INSIDE}),
}


def advance(rule: Rule, x: Array, g: Array, s: dict[str, Any], h: Hyperparameters) -> Array:
    """One parameter after one step: direction, weight decay and the rule itself."""
    s["t"] = s["clock"] = s.get("clock", 0) + 1
    s["t"] += {"ahead": 1, "behind": -1, "late": -1 if s["t"] > 1 else 0}.get(h.clock, 0)
    if h.maximize and not h.flips_decay:
        g = -g
    decay = 0.0 if h.matrices_only and x.ndim < 2 else h.weight_decay
    s["pull"] = decay * x
    if h.decay in ("l2", "both"):
        g = g + s["pull"]
    if h.maximize and h.flips_decay:
        g = -g
    g = limited(g, h.gradient)
    change = rule.step(g, x, s, h)
    if change is None or s["clock"] % h.period:
        return x
    change = change * h.scale * s["clock"] ** -h.lr_power
    return decayed(x, change, decay, h) if decay else x + change


def decayed(x: Array, change: Array | float, decay: float, h: Hyperparameters) -> Array:
    """A step with the decay that does not pass through the gradient."""
    rate = h.lr * decay
    if h.decay == "after":
        return (x + change) * (1 - rate)
    if h.decay == "proximal":
        return (x + change) / (1 + rate)
    kept = {"unscaled": 1 - decay, "squared": 1 - h.lr * rate, "grows": 1 + rate}
    kept |= dict.fromkeys(("decoupled", "both"), 1 - rate)
    return x * kept.get(h.decay, 1.0) + change


def limited(g: Array, how: str) -> Array:
    """The gradient as some implementations change it."""
    if how == "clipped":
        return np.clip(g, -1, 1)
    if how == "clipped norm":
        return g / max(1.0, norm(g))
    if how == "normalized":
        return g / (norm(g) or 1.0)
    if how == "centralized":
        return g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g
    return np.sign(g) if how == "sign" else g
