"""What PyTorch asks of its own optimizers: checks that compare an optimizer with itself, whatever its rule."""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from bs6207.bump.adapter import last_line
from bs6207.bump.conformance import gradient_checks
from bs6207.bump.conformance.contract import (
    AFTER,
    BEFORE,
    COUNTED,
    DECAY,
    IMPLEMENTATIONS,
    LR,
    OTHER_LR,
    SWITCHES,
    Broken,
    Contract,
    first_difference,
    joined,
    refused_in_words,
    require_same,
    skip,
)
from bs6207.bump.conformance.subject import Walk
from bs6207.bump.settings import BETAS

OTHER_OPTIONS = {  # than those that the checks probe with
    **{"weight_decay": DECAY, "momentum": 0.3, "beta1": 0.5, "beta2": 0.7, "eps": 0.1, "alpha": 0.5, "rho": 0.5}
}


def deterministic(contract: Contract) -> None:
    path, again = (contract.start().walk(BEFORE) for _ in range(2))
    require_same(again, path, "two runs with the same seed differ")
    walk = contract.start()
    torch.manual_seed(1)
    require_same(walk.walk(BEFORE), path, "the steps are random: they depend on the seed", state="warning")


def instances(contract: Contract) -> None:
    """Two optimizers at work by turns, of the same class with other hyperparameters."""
    alone, walk = contract.start().walk(BEFORE), contract.start()
    other = contract.start(keywords=contract.keywords | contract.subject.spelt(lr=OTHER_LR, **OTHER_OPTIONS))
    path = []
    torch.manual_seed(0)
    for _ in range(BEFORE):
        path += walk.walk(1)
        with torch.random.fork_rng():
            other.walk(1)
    require_same(path, alone, "a second optimizer of this class changes the way of the first", contract.same)


def generator(contract: Contract) -> None:
    if contract.subject.convention.parameters != "list":
        raise skip("it takes named parameters or groups")
    walk = contract.start()
    walk.optimizer = contract.subject.construct(iter(walk.xs), contract.keywords)
    finding = "parameters that come from a generator, as model.parameters() does, take other steps than those of a list"
    require_same(walk.walk(BEFORE), contract.start().walk(BEFORE), finding, contract.same)


def independent(contract: Contract) -> None:
    if not contract.is_independent():
        raise Broken("the path of a parameter depends on the other parameters", state="warning")


def state_dict(contract: Contract) -> None:
    walk = contract.start()
    walk.walk(BEFORE)
    if not hasattr(walk.optimizer, "state_dict"):
        raise Broken("it has no state_dict()")
    positions, saved = walk.values(), copy.deepcopy(walk.optimizer.state_dict())
    path, undisturbed = contract.continued(walk), contract.start()
    undisturbed.walk(BEFORE)
    require_same(path, contract.continued(undisturbed), "training goes another way after a call of state_dict()")
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
    for name, own, in_group in other_options(contract):
        walk = refused_in_words(partial(contract.start, groups=[((0,), {}), ((1,), in_group)]))
        alone = [contract.start([0]), contract.start([1], keywords=contract.keywords | own)]
        path, expected = walk.walk(BEFORE), joined([one.walk(BEFORE) for one in alone])
        require_same(
            path, expected, f"{name} of the second parameter group has no effect, or another one", contract.same
        )


def other_options(contract: Contract) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Hyperparameters but lr, each with another value as keywords of the constructor and of a group."""
    group = getattr(contract.start().optimizer, "param_groups", [{}])[0]
    has, is_pair = contract.keywords, "betas" in group and "beta1" in contract.keywords  # a built-in name takes both
    for name, value in OTHER_OPTIONS.items():
        own = contract.subject.spelt(**({"beta1": 0.8, "beta2": value} if name == "beta2" else {name: value}))
        if own:
            in_group = {"betas": tuple({**has, **own}[beta] for beta in BETAS)} if is_pair and name in BETAS else own
            yield name, own, in_group


def options_between_steps(contract: Contract) -> None:
    """A change of any other hyperparameter that has an effect from the start has one between steps."""
    unchanged = contract.start().walk(BEFORE + AFTER)
    for name, own, in_group in other_options(contract):
        walk = contract.start()
        groups = getattr(walk.optimizer, "param_groups", [{}])
        from_start = contract.start(keywords=contract.keywords | own).walk(BEFORE + AFTER)
        if not in_group.keys() <= groups[0].keys() or first_difference(from_start, unchanged) is None:
            continue
        path = walk.walk(BEFORE)
        for group in groups:
            group.update(in_group)
        if first_difference(path + walk.walk(AFTER), unchanged) is None:
            raise Broken(f"a change of {name} between steps has no effect: it is cached", {"step": BEFORE + 1})


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
            walked = refused_in_words(partial(contract.path_of_groups, keywords | others_off | {kind: True}))
            expected = contract.path_of_groups(keywords | plain)
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
    "instances": instances,
    "generator": generator,
    "independent parameters": independent,
    "state_dict": state_dict,
    "pickle": pickled,
    "deepcopy": deep_copied,
    "lr of parameter groups": group_lr,
    "options of parameter groups": group_options,
    "options between steps": options_between_steps,
    "scheduler": scheduler,
    "None gradients": gradient_checks.none_gradients,
    "zero gradients": gradient_checks.zero_gradients,
    "added parameter": added_parameter,
    "closure": gradient_checks.closure,
    "zero_grad": gradient_checks.zero_grad,
    **{kind: implementation(kind) for kind in IMPLEMENTATIONS},
    "tensor lr": tensor_lr,
    "complex parameters": gradient_checks.complex_parameters,
    "sparse gradients": gradient_checks.sparse_gradients,
    "inputs": gradient_checks.inputs,
    "memory layout": gradient_checks.memory_layout,
    "gradient memory": gradient_checks.gradient_kept,
    "state": state_placement,
}
