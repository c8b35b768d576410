"""More right copies and mutants: of rules with a schedule or a state of their own, and of what surrounds a rule."""

import math

import torch
from bump.conformance.mutants import SGD, Adagrad, Adam, AdamW, Hand, Lion, RMSprop, mutant, of_adam


class TwoMoments(Hand):
    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, **more):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, **more})

    def change(self, x, g, s, h):
        (b1, b2), zero = h["betas"], torch.zeros_like(x)
        s["t"] = s.get("t", 0) + 1
        s["m"] = b1 * s.get("m", zero) + (1 - b1) * g
        s["v"] = b2 * s.get("v", zero) + (1 - b2) * g * g
        x.sub_(h["lr"] * self.direction(g, s, b1, b2, h))


class NAdam(TwoMoments):
    def __init__(self, params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3):
        super().__init__(params, lr, betas, eps, weight_decay, momentum_decay=momentum_decay)

    def direction(self, g, s, b1, b2, h):
        now, after = (self.momentum(s["t"] + ahead, b1, h["momentum_decay"]) for ahead in (0, 1))
        product = s["product"] = s.get("product", 1.0) * now
        numerator = after * s["m"] / (1 - self.ahead(product, after)) + (1 - now) * g / (1 - product)
        return numerator / ((s["v"] / (1 - b2 ** s["t"])).sqrt() + h["eps"])

    def momentum(self, t, b1, decay):
        return b1 * (1 - 0.5 * 0.96 ** (t * decay))

    def ahead(self, product, after):
        return product * after


class RAdam(TwoMoments):
    above = 5

    def direction(self, g, s, b1, b2, h):
        t, m, longest = s["t"], s["m"] / (1 - b1 ** s["t"]), 2 / (1 - b2) - 1
        rho = longest - 2 * t * b2**t / (1 - b2**t)
        if rho <= self.above:
            return self.early(m, s["m"])
        factor = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
        return self.root(factor) * m * math.sqrt(1 - b2**t) / (s["v"].sqrt() + h["eps"])

    def early(self, corrected, m):
        return corrected

    def root(self, factor):
        return math.sqrt(factor)


class Adamax(TwoMoments):
    def direction(self, g, s, b1, b2, h):
        s["u"] = torch.maximum(b2 * s.get("u", torch.zeros_like(g)), self.size(g, h["eps"]))
        return s["m"] / (1 - b1 ** s["t"]) / self.norm(s["u"], b2, s["t"], h["eps"])

    def size(self, g, eps):
        return g.abs() + eps

    def norm(self, u, b2, t, eps):
        return u


class Adadelta(Hand):
    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay})

    def change(self, x, g, s, h):
        rho, zero = h["rho"], torch.zeros_like(x)
        s["v"] = rho * s.get("v", zero) + (1 - rho) * g * g
        step = self.root(s.get("moved", zero), h["eps"]) / self.root(s["v"], h["eps"]) * g
        s["moved"] = rho * s.get("moved", zero) + (1 - rho) * self.moved(step, h["lr"]) ** 2
        x.sub_(h["lr"] * step)

    def root(self, v, eps):
        return (v + eps).sqrt()

    def moved(self, step, lr):
        return step


class Rprop(Hand):
    def __init__(self, params, lr=0.01, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0)):
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes})

    def decay(self, x, g, s, h):
        shrink, grow = h["etas"]
        agreement = g * s.get("g", torch.zeros_like(g))
        factor = torch.where(agreement > 0, grow, torch.where(agreement < 0, shrink, 1.0)).to(x.dtype)
        s["size"] = self.bounded(s.get("size", torch.full_like(x, h["lr"])) * factor, h)
        s["g"] = self.seen(g, agreement)
        x.sub_(s["g"].sign() * s["size"])

    def bounded(self, size, h):
        return size.clamp(*h["step_sizes"])

    def seen(self, g, agreement):
        return torch.where(agreement < 0, 0.0, g)


RIGHT = (NAdam, RAdam, Adamax, Adadelta, Rprop)

of_adam("M45", "bias correction of the second moment is not under the root",
        lambda m, v, b1, b2, t, e: m / (1 - b1**t) / (v.sqrt() / (1 - b2**t) + e))  # fmt: skip
of_adam("M46", "corrections of the two moments are swapped",
        lambda m, v, b1, b2, t, e: m / (1 - b2**t) / ((v / (1 - b1**t)).sqrt() + e))  # fmt: skip
of_adam("M47", "eps is added to the quotient",
        lambda m, v, b1, b2, t, e: m / (1 - b1**t) / (v / (1 - b2**t)).sqrt() + e)  # fmt: skip


@mutant("counter is one behind, and 1 at the first two")
class M48(Adam):
    def direction(self, m, v, b1, b2, t, h):
        return super().direction(m, v, b1, b2, max(t - 1, 1), h)


@mutant("corrected moments are written back")
class M49(Adam):
    def direction(self, m, v, b1, b2, t, h):
        return m.div_(1 - b1**t) / (v.div_(1 - b2**t).sqrt() + h["eps"])


@mutant("decay enters the first moment, not the second")
class M50(Adam):
    def decay(self, x, g, s, h):
        self.pull = h["weight_decay"] * x
        self.change(x, g, s, h)

    def direction(self, m, v, b1, b2, t, h):
        m.add_((1 - b1) * self.pull)
        return super().direction(m, v, b1, b2, t, h)


@mutant("amsgrad compares with the step before only")
class M51(Adam):
    def change(self, x, g, s, h):
        s["most"] = s.get("v", torch.zeros_like(x))
        super().change(x, g, s, h)


@mutant("decay divides by 1 + lr * weight_decay after the step")
class M52(AdamW):
    def decay(self, x, g, s, h):
        self.change(x, g, s, h)
        x.div_(1 + h["lr"] * h["weight_decay"])


@mutant("velocity is that of the step before")
class M53(SGD):
    def direction(self, g, s, h):
        before = s.get("v", torch.zeros_like(g))
        super().direction(g, s, h)
        return g + h["momentum"] * before if h["nesterov"] else before if h["momentum"] else g


@mutant("starts at 1")
class M54(RMSprop):
    def change(self, x, g, s, h):
        s.setdefault("v", torch.ones_like(x))
        super().change(x, g, s, h)


@mutant("momentum of the gradient")
class M55(RMSprop):
    def change(self, x, g, s, h):
        s["before"] = h["momentum"] * s.get("before", torch.zeros_like(x)) + g
        kept, self.divided = x.clone(), torch.ones_like(x)
        super().change(x, g, s, {**h, "momentum": 0.0})
        x.copy_(kept - h["lr"] * s["before"] / self.divided)

    def root(self, v, h):
        self.divided = super().root(v, h)
        return self.divided


@mutant("counter is one ahead")
class M56(Adagrad):
    def change(self, x, g, s, h):
        s.setdefault("t", 1)
        super().change(x, g, s, h)


@mutant("momentum has no schedule")
class M57(NAdam):
    def momentum(self, t, b1, decay):
        return b1


@mutant("both parts are corrected for the same step")
class M58(NAdam):
    def ahead(self, product, after):
        return product


@mutant("momentum_decay has no effect")
class M59(NAdam):
    def momentum(self, t, b1, decay):
        return super().momentum(t, b1, 4e-3)


@mutant("above 4 degrees of freedom")
class M60(RAdam):
    above = 4


@mutant("rectification lacks its root")
class M61(RAdam):
    def root(self, factor):
        return factor


@mutant("x stays until")
class M62(RAdam):
    def early(self, corrected, m):
        return torch.zeros_like(m)


@mutant("eps outside of the maximum")
class M63(Adamax):
    def size(self, g, eps):
        return g.abs()

    def norm(self, u, b2, t, eps):
        return u + eps


@mutant("bias correction of the infinity norm")
class M64(Adamax):
    def norm(self, u, b2, t, eps):
        return u / (1 - b2**t)


@mutant("eps outside of the root")
class M65(Adadelta):
    def root(self, v, eps):
        return v.sqrt() + eps


@mutant("mean of squared steps holds lr")
class M66(Adadelta):
    def moved(self, step, lr):
        return lr * step


@mutant("does not skip the step")
class M67(Rprop):
    def seen(self, g, agreement):
        return g


@mutant("step_sizes are no bounds")
class M68(Rprop):
    def bounded(self, size, h):
        return size


@mutant("momentum is updated before it is mixed")
class M69(Lion):
    def decay(self, x, g, s, h):
        (b1, b2), m = h["betas"], s.get("m", torch.zeros_like(x))
        m = s["m"] = b2 * m + (1 - b2) * g
        x.mul_(1 - h["lr"] * h["weight_decay"]).sub_(h["lr"] * (b1 * m + (1 - b1) * g).sign())


@mutant("foreach=True takes other steps")
class M70(torch.optim.Adam):
    """Its foreach path takes parameters without a gradient for such with a gradient of zero."""

    def step(self, closure=None):
        absent = [x for group in self.param_groups for x in group["params"] if group["foreach"] and x.grad is None]
        for x in absent:
            x.grad = torch.zeros_like(x)
        loss = super().step(closure)
        for x in absent:
            x.grad = None
        return loss


@mutant("drops the gradients")
class M71(SGD):
    def step(self, closure=None):
        loss = super().step(closure)
        self.zero_grad()
        return loss


@mutant("not contiguous")
class M72(SGD):
    def change(self, x, g, s, h):
        x.reshape(-1).sub_(h["lr"] * self.direction(g, s, h).reshape(-1))


@mutant("parameters of one shape share their state")
class M73(SGD):
    def decay(self, x, g, s, h):
        super().decay(x, g, self.state[tuple(x.shape)], h)


@mutant("a second optimizer of this class")
class M74(AdamW):
    def __init__(self, params, lr=1e-3, **more):
        super().__init__(params, lr, **more)
        M74.held = self.defaults

    def decay(self, x, g, s, h):
        super().decay(x, g, s, {**h, "eps": M74.held["eps"]})


@mutant("weight_decay between steps has no effect")
class M75(AdamW):
    def decay(self, x, g, s, h):
        super().decay(x, g, s, {**h, "weight_decay": s.setdefault("decay", h["weight_decay"])})


@mutant("after a call of state_dict")
class M76(SGD):
    def state_dict(self):
        for s in self.state.values():
            s.clear()
        return super().state_dict()


@mutant("not finite after a gradient of zero")
class M77(SGD):
    def update(self, x, g, s, h):
        super().update(x, g / g.norm(), s, h)


@mutant("generator failed")
class M78(SGD):
    def __init__(self, params, lr=0.01, momentum=0.0, **more):
        self.count = sum(1 for _ in params)
        super().__init__(params, lr, momentum, **more)
