"""What PyTorch asks of its own optimizers: checks that compare an optimizer with itself, whatever its rule."""

import copy
import inspect
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bs6207.bump.adapter import last_line
from bs6207.bump.conformance.contract import (
    AFTER,
    BEFORE,
    COUNTED,
    DECAY,
    IMPLEMENTATIONS,
    LR,
    OTHER_LR,
    REFUSALS,
    SWITCHES,
    Broken,
    Contract,
    first_difference,
    joined,
    refused_in_words,
    require_same,
    shown,
    skip,
)
from bs6207.bump.conformance.problems import SEED
from bs6207.bump.conformance.subject import Array, Walk
from bs6207.bump.conformance.traces import SAME
from bs6207.bump.settings import BETAS


def deterministic(contract: Contract) -> None:
    path, again = (contract.start().walk(BEFORE) for _ in range(2))
    require_same(again, path, "two runs with the same seed differ")
    walk = contract.start()
    torch.manual_seed(1)
    require_same(walk.walk(BEFORE), path, "the steps are random: they depend on the seed", state="warning")


def independent(contract: Contract) -> None:
    if not contract.is_independent():
        raise Broken("the path of a parameter depends on the other parameters", state="warning")


def state_dict(contract: Contract) -> None:
    walk = contract.start()
    walk.walk(BEFORE)
    if not hasattr(walk.optimizer, "state_dict"):
        raise Broken("it has no state_dict()")
    positions, saved = walk.values(), copy.deepcopy(walk.optimizer.state_dict())
    path = contract.continued(walk)
    stream = io.BytesIO()
    torch.save(saved, stream)
    other = contract.subject.spelt(lr=OTHER_LR, weight_decay=DECAY)
    for keywords, finding in (
        (
            contract.keywords,
            "training that goes on from a state_dict takes other steps: part of the state is not saved",
        ),
        (contract.keywords | other, "load_state_dict does not restore the hyperparameters"),
    ):
        resumed = Walk(contract.subject, positions, contract.parts.gradient(), contract.parts.loss(), keywords=keywords)
        resumed.t = BEFORE
        stream.seek(0)
        resumed.optimizer.load_state_dict(torch.load(stream, weights_only=False))
        continued = contract.continued(resumed)
        require_same(continued, path, finding, contract.same)
        finding = "training goes on from a state_dict, but not to the same bits: part of the state is rounded or cast"
        require_same(continued, path, finding, state="warning")


def pickled(contract: Contract) -> None:
    walk = contract.start()
    walk.walk(BEFORE)
    try:
        stored = pickle.dumps((walk.xs, walk.optimizer))
    except (pickle.PicklingError, AttributeError, TypeError) as failure:
        if "<locals>" in str(failure) or "it's not" in str(failure) or "import" in str(failure):
            raise skip("the class cannot be imported by its name, so pickle cannot find it") from None
        raise Broken(f"it cannot be pickled: {last_line(failure)}") from None
    path = contract.continued(walk)
    walk.xs, walk.optimizer = pickle.loads(stored)
    walk.t = BEFORE
    require_same(
        contract.continued(walk), path, "after pickling, training takes other steps: part of the state is lost"
    )


def deep_copied(contract: Contract) -> None:
    walk = contract.start()
    walk.walk(BEFORE)
    copied = copy.deepcopy((walk.xs, walk.optimizer))
    path = contract.continued(walk)
    walk.xs, walk.optimizer = copied
    walk.t = BEFORE
    require_same(
        contract.continued(walk), path, "after deepcopy, training takes other steps: part of the state is lost"
    )


def group_lr(contract: Contract) -> None:
    spelt, subject = contract.subject.spelt, contract.subject
    if not spelt(lr=LR):
        raise skip("its constructor takes no lr" if "lr" not in subject.keywords else "lr is given")
    ((key, _),) = spelt(lr=LR).items()
    groups = [((0,), {key: LR}), ((1,), {key: OTHER_LR})]
    walk = refused_in_words(lambda: contract.start(groups=groups))
    path = walk.walk(BEFORE)
    starts = contract.parts.starts()
    for place, which in enumerate(("first", "second")):
        if all(np.array_equal(step[place], starts[place]) for step in path):
            raise Broken(f"the {which} parameter group is ignored: its parameters never move")
    if not contract.is_independent():
        return
    own = [contract.start([place], keywords=contract.keywords | {key: groups[place][1][key]}) for place in (0, 1)]
    expected = joined([one.walk(BEFORE) for one in own])
    if evidence := first_difference(path, expected, contract.same):
        first = joined([contract.start([place]).walk(BEFORE) for place in (0, 1)])
        is_first = first_difference(path, first, contract.same) is None
        raise Broken(
            "the second parameter group gets the lr of the first"
            if is_first
            else "lr of a parameter group is not obeyed",
            evidence,
        )


def group_options(contract: Contract) -> None:
    """Every other hyperparameter in the second group only, where the groups' parameters are independent."""
    if not contract.is_independent():
        raise skip("the parameters are not independent")
    group = getattr(contract.start().optimizer, "param_groups", [{}])[0]
    has, is_pair = contract.keywords, "betas" in group and "beta1" in contract.keywords  # a built-in name takes both
    others = {"weight_decay": DECAY, "momentum": 0.3, "beta1": 0.5, "beta2": 0.7, "eps": 0.1, "alpha": 0.5, "rho": 0.5}
    for name, value in others.items():
        own = contract.subject.spelt(**({"beta1": 0.8, "beta2": value} if name == "beta2" else {name: value}))
        if not own:
            continue
        in_group = {"betas": tuple({**has, **own}[beta] for beta in BETAS)} if is_pair and name in BETAS else own
        walk = refused_in_words(partial(contract.start, groups=[((0,), {}), ((1,), in_group)]))
        alone = [contract.start([0]), contract.start([1], keywords=contract.keywords | own)]
        path, expected = walk.walk(BEFORE), joined([one.walk(BEFORE) for one in alone])
        require_same(
            path, expected, f"{name} of the second parameter group has no effect, or another one", contract.same
        )


def scheduler(contract: Contract) -> None:
    walk = contract.start()
    if not isinstance(walk.optimizer, Optimizer):
        raise skip("it is no torch.optim.Optimizer, which schedulers ask for")
    if not contract.subject.spelt(lr=LR):
        raise skip("it takes no lr")
    schedule = refused_in_words(lambda: torch.optim.lr_scheduler.ExponentialLR(walk.optimizer, 0.5))
    path = []
    for _ in range(BEFORE):
        path += walk.walk(1)
        schedule.step()
    by_hand, expected = contract.start(), []
    for step in range(BEFORE):
        expected += by_hand.walk(1)
        by_hand.set_lr(LR * 0.5 ** (step + 1))
    require_same(path, expected, "a scheduler changes lr without effect", contract.same)


def none_gradients(contract: Contract) -> None:
    """One parameter has no gradient at some steps, the first among them."""
    absent, plain = (0, 3, 4), contract.parts.gradient()

    def gradient(t: int, xs: list[Array]) -> list[Any]:
        first, second = plain(t, xs)
        return [first, None if t in absent else second]

    walk, before = contract.start(gradient=gradient), contract.parts.starts()[1]
    path = []
    for step in range(BEFORE + AFTER):
        try:
            path += walk.walk(1)
        except Exception as failure:
            raise Broken(
                f"a parameter without a gradient breaks it: {last_line(failure)}", {"step": step + 1}
            ) from None
        after = path[-1][1]
        if step in absent and not np.array_equal(after, before) and contract.is_independent():
            finding = "a parameter without a gradient moves: None is not skipped"
            raise Broken(finding, {"step": step + 1, "found": shown(after.flat[0]), "expected": shown(before.flat[0])})
        before = after
    if not contract.is_independent():
        return
    require_same(
        [[one[0]] for one in path],
        contract.start([0]).walk(BEFORE + AFTER),
        "a parameter with gradients feels that another has none",
        contract.same,
    )
    present = [t for t in range(BEFORE + AFTER) if t not in absent]
    single = contract.parts.gradient([1])
    alone = contract.start([1], gradient=lambda t, xs: single(present[t], xs))
    finding = "steps without a gradient count, as if the state of the parameter had advanced"
    require_same([[path[t][1]] for t in present], alone.walk(len(present)), finding, contract.same, "warning")


def added_parameter(contract: Contract) -> None:
    walk = contract.start([0])
    if not hasattr(walk.optimizer, "add_param_group"):
        raise skip("it has no add_param_group()")
    walk.walk(BEFORE)
    late = torch.tensor(contract.parts.starts([1])[0], requires_grad=True, device=contract.subject.device)
    mark = {"use_muon": True} if contract.subject.convention.parameters == "groups" else {}
    refused_in_words(lambda: walk.optimizer.add_param_group({"params": contract.subject.presented([late]), **mark}))
    walk.xs, walk.gradient, walk.loss = [*walk.xs, late], contract.parts.gradient(), contract.parts.loss()
    start = contract.parts.starts([1])[0]
    try:
        path = walk.walk(AFTER)
    except AssertionError as failure:
        raise Broken(f"refused: {last_line(failure)}", state="refused") from None
    if np.array_equal(path[-1][1], start):
        raise Broken("a parameter that is added later never moves")
    if contract.is_independent():
        alone = contract.start([1])
        alone.t = BEFORE
        require_same(
            [[one[1]] for one in path],
            alone.walk(AFTER),
            "a parameter that is added later goes another way than one that was there from the start",
            contract.same,
            "warning",
        )
        first = contract.start([0]).walk(BEFORE + AFTER)[BEFORE:]
        require_same(
            [[one[0]] for one in path], first, "adding a parameter changes the way of the others", contract.same
        )


def closure(contract: Contract) -> None:
    walk = contract.start()
    parameters = [*inspect.signature(walk.optimizer.step).parameters.values()]
    if not parameters:
        raise Broken("refused: step() takes no closure", state="refused")
    several = contract.subject.convention.closure or contract.subject.looks_elsewhere
    path = []
    for step in range(1, BEFORE + 1):
        loss, calls = contract.parts.loss()(walk.t, walk.values()), walk.calls
        returned = walk.step(with_closure=True)
        path.append(walk.values())
        if walk.calls == calls:
            raise Broken("step(closure) does not evaluate the closure", {"step": step})
        if walk.calls != calls + 1 and not several:
            raise Broken(f"step(closure) evaluates the closure {walk.calls - calls} times", {"step": step})
        if walk.grad_was_off:
            raise Broken("step(closure) evaluates the closure without gradients: torch.enable_grad is missing")
        if returned is None:
            raise Broken("step(closure) does not return the loss", {"step": step})
        if not several and abs(float(returned) - loss) > SAME * abs(loss):
            evidence = {"step": step, "found": float(returned), "expected": loss}
            raise Broken("step(closure) returns another loss than that of the closure", evidence)
    if not several:
        require_same(path, contract.start().walk(BEFORE), "step(closure) takes another step than step()", contract.same)


def zero_grad(contract: Contract) -> None:
    walk = contract.start()
    if not hasattr(walk.optimizer, "zero_grad"):
        raise Broken("it has no zero_grad()")
    for keywords in ({}, {"set_to_none": False}):
        walk.set_gradients()
        try:
            walk.optimizer.zero_grad(**keywords)
        except TypeError:
            if keywords:
                continue
            raise
        if any(x.grad is not None and bool(x.grad.to_dense().count_nonzero()) for x in walk.xs):
            raise Broken("zero_grad() leaves gradients behind")


def implementation(kind: str) -> Callable[[Contract], None]:
    def agrees(contract: Contract) -> None:
        takes = contract.subject.takes
        if kind not in takes:
            raise skip(f"it takes no {kind}")
        plain = {"foreach": False} if "foreach" in takes and kind != "differentiable" else {}
        switches = [{}, *({key: True, **more} for key, more in SWITCHES.items() if key in takes)]
        for switch in switches:
            more = contract.subject.spelt(
                weight_decay=DECAY, **{key: one for key, one in switch.items() if key in takes}
            )
            more |= {key: one for key, one in switch.items() if key in takes and key not in contract.subject.keywords}
            keywords = contract.keywords | more
            others_off = {"foreach": False} if "foreach" in takes and kind == "differentiable" else {}
            walked = refused_in_words(partial(contract.path, keywords | others_off | {kind: True}))
            expected = contract.start(keywords=keywords | plain).walk(BEFORE)
            named = "".join(f", {key}" for key in switch if switch[key] is True)
            same = COUNTED if kind in ("differentiable", "capturable") else contract.same
            require_same(walked, expected, f"{kind}=True takes other steps than {kind}=False{named}", same)

    return agrees


def tensor_lr(contract: Contract) -> None:
    spelt = contract.subject.spelt(lr=LR)
    if not spelt:
        raise skip("it takes no lr")
    (key,) = spelt
    rate = torch.tensor(LR, dtype=torch.float64)
    path = refused_in_words(lambda: contract.start(keywords=contract.keywords | {key: rate}).walk(BEFORE))
    if float(rate) != LR:
        raise Broken("lr, given as a tensor, is changed in place", {"found": float(rate), "expected": LR})
    require_same(path, contract.start().walk(BEFORE), "lr as a tensor leads to other steps than as a number", 1e-6)


def mentions(contract: Contract, *words: str) -> bool:
    """Whether the code of a class speaks of something, so that it must do it right."""
    kind = type(contract.start().optimizer)
    for one in kind.__mro__:
        if one is not Optimizer and one is not object:
            try:
                if any(word in inspect.getsource(one).lower() for word in words):
                    return True
            except (OSError, TypeError):
                continue
    return kind.__module__.startswith("torch.optim")


def complex_parameters(contract: Contract) -> None:
    """Right is what torch.optim does, each part as a real number, or a rule that turns with the phase."""
    if contract.subject.convention.sparse:
        raise skip("gradients are sparse")
    shape = contract.parts.shapes[1]
    draw = np.random.default_rng(SEED)
    start = draw.normal(0, 1, shape) + 1j * draw.normal(0, 1, shape)
    wind = [draw.normal(0, 1, shape) + 1j * draw.normal(0, 1, shape) for _ in range(BEFORE)]
    turn = np.exp(0.7j)

    def walk(start: Array, gradient: Callable[[int, list[Array]], list[Any]], dtype: torch.dtype) -> Any:
        return Walk(contract.subject, [start], gradient, bowl, dtype, keywords=contract.keywords).walk(BEFORE)

    def bowl(t: int, xs: list[Array]) -> float:
        return float(np.sum(np.abs(xs[0]) ** 2)) / 4

    def of(factor: complex) -> Callable[[int, list[Array]], list[Any]]:
        gusts = [0 * gust if contract.parts.is_calm else gust for gust in wind]
        return lambda t, xs: [0.5 * xs[0] + factor * gusts[t]]

    path = refused_in_words(lambda: walk(start, of(1), torch.complex128))
    try:
        real = walk(
            np.stack([start.real, start.imag], -1),
            lambda t, xs: [np.stack([(g := of(1)(t, [xs[0][..., 0] + 1j * xs[0][..., 1]])[0]).real, g.imag], -1)],
            torch.float64,
        )
        evidence = first_difference(path, [[xs[0][..., 0] + 1j * xs[0][..., 1]] for xs in real], contract.same)
    except REFUSALS:
        evidence = {"step": 1}
    if evidence is None:
        return
    turned = walk(start * turn, of(turn), torch.complex128)
    if first_difference(turned, [[xs[0] * turn] for xs in path], contract.same) is not None:
        state = "failed" if mentions(contract, "complex", "view_as_real") else "warning"
        raise Broken("complex parameters are neither refused nor treated right", evidence, state)


def sparse_gradients(contract: Contract) -> None:
    if contract.subject.convention.sparse or contract.subject.convention.closure:
        raise skip("gradients are sparse already" if contract.subject.convention.sparse else "it takes a closure")
    keywords = contract.keywords | contract.subject.spelt(weight_decay=0.0)
    plain = contract.parts.gradient([1])

    def rows(t: int, xs: list[Array]) -> list[Any]:
        gradient = np.array(plain(t, xs)[0])
        gradient[t % 2 :: 2] = 0
        return [gradient]

    dense = contract.start([1], gradient=rows, keywords=keywords)
    sparse = contract.start([1], gradient=rows, keywords=keywords)
    expected = dense.walk(BEFORE)

    def walk() -> list[list[Array]]:
        path = []
        for _ in range(BEFORE):
            sparse.set_gradients()
            (x,) = sparse.xs
            x.grad = x.grad.to_sparse(1)  # type: ignore[union-attr]
            sparse.optimizer.step()
            sparse.t += 1
            path.append(sparse.values())
        return path

    path = refused_in_words(walk)
    state = "failed" if mentions(contract, "sparse") else "warning"
    require_same(
        path, expected, "sparse gradients are neither refused nor treated as dense ones are", contract.same, state
    )


def inputs(contract: Contract) -> None:
    walk = contract.start()
    for step in range(1, BEFORE + 1):
        walk.set_gradients()
        before = [x.grad.to_dense().clone() for x in walk.xs if x.grad is not None]
        places = [x.data_ptr() for x in walk.xs]
        closed = contract.subject.convention.closure
        walk.optimizer.step(walk.closure) if closed else walk.optimizer.step()
        walk.t += 1
        for x, grad in zip(walk.xs, before, strict=True):
            if not closed and x.grad is not None and not torch.equal(x.grad.to_dense(), grad):
                place = int((x.grad.to_dense() - grad).abs().argmax())
                found, expected = float(x.grad.to_dense().flatten()[place]), float(grad.flatten()[place])
                raise Broken("gradients are changed in place", {"step": step, "found": found, "expected": expected})
            if not x.requires_grad:
                raise Broken("parameters no longer require gradients after a step", {"step": step})
        if places != [x.data_ptr() for x in walk.xs]:
            raise Broken("parameters get a new storage instead of being changed in place", {"step": step}, "warning")


def gradient_kept(contract: Contract) -> None:
    if contract.subject.convention.sparse or contract.subject.convention.closure:
        raise skip("it takes sparse gradients or a closure")
    walk = contract.start()
    walk.reused = [None] * len(walk.xs)
    finding = "the state shares memory with the gradient: it must copy it"
    require_same(walk.walk(BEFORE), contract.start().walk(BEFORE), finding, contract.same)


def state_placement(contract: Contract) -> None:
    walk = contract.start()
    walk.walk(BEFORE)
    state = getattr(walk.optimizer, "state", None)
    for x in walk.xs:
        for name, value in (state[x] if isinstance(state, dict) and x in state else {}).items():
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if not isinstance(tensor, Tensor) or tensor.numel() == 1:
                    continue
                if tensor.is_floating_point() and torch.finfo(tensor.dtype).eps > torch.finfo(x.dtype).eps:
                    kinds = (str(one).removeprefix("torch.") for one in (tensor.dtype, x.dtype))
                    raise Broken("the state {!r} is {}, the parameter {}".format(name, *kinds))
                if tensor.device != x.device:
                    raise Broken(f"the state {name!r} lies on {tensor.device}, the parameter on {x.device}")


def keywords(contract: Contract) -> None:
    optimizer = contract.start().optimizer
    group = getattr(optimizer, "param_groups", [{}])[0]
    for key, value in contract.keywords.items():
        held = group.get(key, value)
        if isinstance(held, int | float) and isinstance(value, int | float) and held != value:
            raise Broken(f"{key} is given as {value:g} and kept as {held:g}", {"found": held, "expected": value})


CHECKS: dict[str, Callable[[Contract], None]] = {
    "keywords": keywords,
    "deterministic": deterministic,
    "independent parameters": independent,
    "state_dict": state_dict,
    "pickle": pickled,
    "deepcopy": deep_copied,
    "lr of parameter groups": group_lr,
    "options of parameter groups": group_options,
    "scheduler": scheduler,
    "None gradients": none_gradients,
    "added parameter": added_parameter,
    "closure": closure,
    "zero_grad": zero_grad,
    **{kind: implementation(kind) for kind in IMPLEMENTATIONS},
    "tensor lr": tensor_lr,
    "complex parameters": complex_parameters,
    "sparse gradients": sparse_gradients,
    "inputs": inputs,
    "gradient memory": gradient_kept,
    "state": state_placement,
}
