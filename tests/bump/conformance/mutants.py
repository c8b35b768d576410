"""Hand-written optimizers, right ones and copies that differ from them in one thing, with the words that name it."""

from typing import Any

import torch
from torch.optim import Optimizer


class Hand(Optimizer):
    """A loop over parameters; `change` is what a subclass adds."""

    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.groups():
                for x in group["params"]:
                    if x.grad is not None:
                        self.update(x, x.grad, self.state[x], group)
        return loss

    def groups(self):
        return self.param_groups

    def update(self, x, g, s, h):
        g = -g if h.get("maximize") else g
        self.decay(x, g, s, h)

    def decay(self, x, g, s, h):
        self.change(x, g + h["weight_decay"] * x, s, h)


class SGD(Hand):
    def __init__(self, params, lr=0.01, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
        values = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, values | {"nesterov": nesterov, "maximize": maximize})

    def change(self, x, g, s, h):
        x.sub_(h["lr"] * self.direction(g, s, h))

    def direction(self, g, s, h):
        if not h["momentum"]:
            return g
        v = s["v"] = h["momentum"] * s["v"] + (1 - h["dampening"]) * g if "v" in s else g.clone()
        return g + h["momentum"] * v if h["nesterov"] else v


class Adam(Hand):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False):
        values = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, values | {"amsgrad": amsgrad, "maximize": maximize})

    def change(self, x, g, s, h):
        b1, b2 = h["betas"]
        t = s["t"] = s.get("t", 0) + 1
        m = s["m"] = b1 * s.get("m", torch.zeros_like(x)) + (1 - b1) * g
        v = s["v"] = b2 * s.get("v", torch.zeros_like(x)) + (1 - b2) * g * g
        if h["amsgrad"]:
            v = s["most"] = torch.maximum(s.get("most", torch.zeros_like(x)), v)
        x.sub_(h["lr"] * self.direction(m, v, b1, b2, t, h))

    def direction(self, m, v, b1, b2, t, h):
        return m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + h["eps"])


class AdamW(Adam):
    def decay(self, x, g, s, h):
        x.mul_(1 - h["lr"] * h["weight_decay"])
        self.change(x, g, s, h)


class RMSprop(Hand):
    def __init__(self, params, lr=0.01, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
        values = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, values | {"momentum": momentum, "centered": centered})

    def change(self, x, g, s, h):
        a, zero = h["alpha"], torch.zeros_like(x)
        v = s["v"] = a * s.get("v", zero) + (1 - a) * g * g
        if h["centered"]:
            mean = s["mean"] = a * s.get("mean", zero) + (1 - a) * g
            v = v - mean * mean
        step = g / self.root(v, h)
        if h["momentum"]:
            step = s["step"] = h["momentum"] * s.get("step", zero) + step
        x.sub_(h["lr"] * step)

    def root(self, v, h):
        return v.sqrt() + h["eps"]


class Adagrad(Hand):
    def __init__(self, params, lr=0.01, lr_decay=0.0, eps=1e-10, weight_decay=0.0, initial_accumulator_value=0.0):
        values = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, values | {"initial_accumulator_value": initial_accumulator_value})

    def change(self, x, g, s, h):
        t = s["t"] = s.get("t", 0) + 1
        s["sum"] = s.get("sum", torch.full_like(x, h["initial_accumulator_value"])) + g * g
        x.sub_(h["lr"] / (1 + (t - 1) * h["lr_decay"]) * g / (s["sum"].sqrt() + h["eps"]))


class Lion(Hand):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    def decay(self, x, g, s, h):
        (b1, b2), m = h["betas"], s.get("m", torch.zeros_like(x))
        x.mul_(1 - h["lr"] * h["weight_decay"]).sub_(h["lr"] * (b1 * m + (1 - b1) * g).sign())
        s["m"] = b2 * m + (1 - b2) * g


RIGHT = (SGD, Adam, AdamW, RMSprop, Adagrad, Lion)
MUTANTS: dict[str, tuple[type, str]] = {}  # by name: the class, and words that a finding must hold


def mutant(words: str) -> Any:
    def add(kind: type) -> type:
        MUTANTS[kind.__name__] = kind, words
        return kind

    return add


def directed(base: type, name: str, words: str, direction: Any) -> None:
    """A copy with another `direction`, whose signature is that of the base."""
    kind = type(name, (base,), {"direction": direction, "__module__": __name__})
    globals()[name] = mutant(words)(kind)


def of_adam(name: str, words: str, direction: Any) -> None:
    directed(Adam, name, words, lambda self, m, v, b1, b2, t, h: direction(m, v, b1, b2, t, h["eps"]))


of_adam("M01", "no bias correction", lambda m, v, b1, b2, t, e: m / (v.sqrt() + e))
of_adam("M02", "no bias correction of the first", lambda m, v, b1, b2, t, e: m / ((v / (1 - b2**t)).sqrt() + e))
of_adam("M03", "no bias correction of the second", lambda m, v, b1, b2, t, e: m / (1 - b1**t) / (v.sqrt() + e))
of_adam("M04", "eps inside the root", lambda m, v, b1, b2, t, e: m / (1 - b1**t) / (v / (1 - b2**t) + e).sqrt())
of_adam("M05", "eps before the bias correction",
        lambda m, v, b1, b2, t, e: m / (1 - b1**t) * (1 - b2**t) ** 0.5 / (v.sqrt() + e))  # fmt: skip
of_adam("M06", "no eps", lambda m, v, b1, b2, t, e: m / (1 - b1**t) / (v / (1 - b2**t)).sqrt())
of_adam("M07", "eps has no effect: it is always 1e-08",
        lambda m, v, b1, b2, t, e: m / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + 1e-8))  # fmt: skip
of_adam("M08", "no root", lambda m, v, b1, b2, t, e: m / (1 - b1**t) / (v / (1 - b2**t) + e))
of_adam("M09", "counter is one ahead",
        lambda m, v, b1, b2, t, e: m / (1 - b1 ** (t + 1)) / ((v / (1 - b2 ** (t + 1))).sqrt() + e))  # fmt: skip
of_adam("M10", "steps are 0.5 times as long",
        lambda m, v, b1, b2, t, e: m / 2 / (1 - b1**t) / ((v / (1 - b2**t)).sqrt() + e))  # fmt: skip


@mutant("decay is decoupled")
class M11(Adam):
    decay = AdamW.decay


@mutant("decay is coupled (L2)")
class M12(AdamW):
    decay = Adam.decay


@mutant("not scaled by lr")
class M13(AdamW):
    def decay(self, x, g, s, h):
        x.mul_(1 - h["weight_decay"])
        self.change(x, g, s, h)


@mutant("after the step")
class M14(AdamW):
    def decay(self, x, g, s, h):
        self.change(x, g, s, h)
        x.mul_(1 - h["lr"] * h["weight_decay"])


@mutant("wrong sign: parameters grow")
class M15(AdamW):
    def decay(self, x, g, s, h):
        x.mul_(1 + h["lr"] * h["weight_decay"])
        self.change(x, g, s, h)


@mutant("weight decay has no effect")
class M16(SGD):
    def decay(self, x, g, s, h):
        self.change(x, g, s, h)


@mutant("beta1 and beta2 are swapped")
class M17(Adam):
    def change(self, x, g, s, h):
        super().change(x, g, s, {**h, "betas": h["betas"][::-1]})


@mutant("amsgrad has no effect")
class M18(Adam):
    def change(self, x, g, s, h):
        super().change(x, g, s, {**h, "amsgrad": False})


@mutant("maximize has no effect")
class M19(Adam):
    def update(self, x, g, s, h):
        self.decay(x, g, s, h)


@mutant("it ascends")
class M20(SGD):
    def update(self, x, g, s, h):
        super().update(x, -g, s, h)


@mutant("Nesterov's form is missing")
class M21(SGD):
    def direction(self, g, s, h):
        return super().direction(g, s, {**h, "nesterov": False})


@mutant("lacks the gradient of this step")
class M22(SGD):
    def direction(self, g, s, h):
        d = super().direction(g, s, h)
        return d - g if h["nesterov"] and h["momentum"] else d


@mutant("dampening has no effect")
class M23(SGD):
    def direction(self, g, s, h):
        return super().direction(g, s, {**h, "dampening": 0.0})


@mutant("dampening of the first gradient")
class M24(SGD):
    def direction(self, g, s, h):
        s.setdefault("v", torch.zeros_like(g))
        return super().direction(g, s, h)


@mutant("the velocity is a mean")
class M25(SGD):
    def direction(self, g, s, h):
        return super().direction(g, s, {**h, "dampening": h["momentum"]})


@mutant("eps inside the root")
class M26(RMSprop):
    def root(self, v, h):
        return (v + h["eps"]).sqrt()


@mutant("centered has no effect")
class M27(RMSprop):
    def change(self, x, g, s, h):
        super().change(x, g, s, {**h, "centered": False})


@mutant("lr_decay has no effect")
class M28(Adagrad):
    def change(self, x, g, s, h):
        super().change(x, g, s, {**h, "lr_decay": 0.0})


@mutant("counter is shared")
class M29(Adam):
    def change(self, x, g, s, h):
        self.count = getattr(self, "count", 0) + 1
        s["t"] = self.count - 1
        super().change(x, g, s, h)


@mutant("part of the state is not saved")
class M30(SGD):
    def direction(self, g, s, h):
        self.buffers = getattr(self, "buffers", {})
        return super().direction(g, self.buffers.setdefault(g.shape, {}), h)


@mutant("lr is cached")
class M31(Adam):
    def change(self, x, g, s, h):
        super().change(x, g, s, {**h, "lr": s.setdefault("lr", h["lr"])})


@mutant("gradients are changed in place")
class M32(SGD):
    def decay(self, x, g, s, h):
        self.change(x, g.add_(h["weight_decay"] * x + 0 * x).mul_(1.0).sub_(0).add_(1).sub_(1), s, h)


@mutant("second parameter group is ignored")
class M33(Adam):
    def groups(self):
        return self.param_groups[:1]


@mutant("gets the lr of the first")
class M34(SGD):
    def change(self, x, g, s, h):
        super().change(x, g, s, {**h, "lr": self.param_groups[0]["lr"]})


@mutant("None is not skipped")
class M35(Adam):
    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                x.grad = torch.zeros_like(x) if x.grad is None else x.grad
        return super().step(closure)


@mutant("a parameter without a gradient breaks it")
class M36(AdamW):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                self.update(x, x.grad, self.state[x], group)


@mutant("shares memory with the gradient")
class M37(SGD):
    def direction(self, g, s, h):
        if not h["momentum"] or "v" in s:
            return super().direction(g, s, h)
        s["v"] = g
        return g + h["momentum"] * g if h["nesterov"] else g

    def decay(self, x, g, s, h):
        self.change(x, g + h["weight_decay"] * x if h["weight_decay"] else g, s, h)


@mutant("is float32, the parameter float64")
class M38(Adam):
    def change(self, x, g, s, h):
        super().change(x, g, s, h)
        s.update({key: value.float() for key, value in s.items() if key != "t"})


@mutant("closure 2 times")
class M39(SGD):
    def step(self, closure=None):
        if closure is not None:
            closure()
        return super().step(closure)


@mutant("does not return the loss")
class M40(AdamW):
    def step(self, closure=None):
        super().step(closure)


@mutant("without gradients: torch.enable_grad")
class M41(SGD):
    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else closure()
        super().step()
        return loss


@mutant("the second moment is that of the step before")
class M42(Adam):
    def change(self, x, g, s, h):
        self.before = s.get("v", torch.zeros_like(x))
        super().change(x, g, s, h)

    def direction(self, m, v, b1, b2, t, h):
        return super().direction(m, self.before, b1, b2, t, h)


@mutant("clipped to norm 1")
class M43(SGD):
    def update(self, x, g, s, h):
        super().update(x, g / max(1.0, float(g.norm())), s, h)


@mutant("differ")
class M44(Adam):
    def change(self, x, g, s, h):
        self.noise = getattr(self, "noise", torch.Generator()) if hasattr(self, "noise") else torch.Generator()
        self.noise.seed()
        super().change(x, g * (1 + 1e-3 * torch.rand(1, generator=self.noise, dtype=x.dtype)), s, h)
