"""Descents of every optimizer in the table, of classes written here to be difficult, and of a whole foreign package."""

import math
import sys
import warnings

import pytest

from bs6207.bump.adapter import Convention, descend
from bs6207.bump.landscape import Triangle
from bs6207.bump.optimizers import make_adapter
from bs6207.bump.settings import BumpSettings, is_foreign
from bs6207.errors import SettingsError
from bs6207.training.optimizers import OPTIMIZERS

ENDLESS = Triangle(1.0, math.inf)

DIFFICULT = """
import warnings
import torch
from torch.optim import Adam, Optimizer

class Plain(Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})
        [self.x] = self.param_groups[0]["params"]
        self.lr = lr

    @torch.no_grad()
    def step(self, closure=None):
        self.x.sub_(self.lr * self.change(self.x.grad))

    def change(self, grad):
        return grad

class Outer:
    class Inner(Plain):
        pass

class Closure(Plain):
    def step(self, closure):
        closure()
        super().step()

class Polyak(Plain):
    def step(self, closure):
        self.loss = closure()
        super().step()

    def change(self, grad):
        return self.loss * grad / (self.lr * grad**2)

class Ahead(Plain):
    @torch.no_grad()
    def step(self, closure):
        here = self.x.clone()
        closure()
        self.x.sub_(0.5 * self.x.grad)
        closure()
        self.x.copy_(here - self.lr * self.x.grad)

class Vector(Plain):
    def change(self, grad):
        return grad[:1]

class Matrix(Plain):
    def __init__(self, params, lr):
        super().__init__(params, lr)
        if self.x.ndim != 2:
            raise ValueError("only matrices")

class Sparse(Plain):
    def change(self, grad):
        return grad.coalesce().to_dense()

class Groups(Plain):
    def __init__(self, params, lr):
        assert all(group["use_muon"] for group in params)
        super().__init__(params, lr)

class Named(Plain):
    def __init__(self, params, lr):
        super().__init__([parameter for name, parameter in params if name == "x"], lr)

class Train(Plain):
    def train(self):
        self.is_training = True

    def change(self, grad):
        return grad if self.is_training else None

class SingleState(Plain):
    def change(self, grad):
        self.mean = grad.float() if not self.state else 0.9 * self.mean + 0.1 * grad.float()
        return self.mean.double()

class SingleOnly(Plain):
    def change(self, grad):
        return torch.lerp(torch.zeros_like(grad, dtype=torch.float32), grad, 0.5)

class HalfWithoutState(Plain):
    def change(self, grad):
        return grad.bfloat16().double()

class Counter(Plain):
    def change(self, grad):
        self.count = getattr(self, "count", torch.zeros(())) + 1  # float32, as torch's own
        return grad

class Broken(Plain):
    def __init__(self, params, lr):
        raise RuntimeError("a long story\\nthe moon is not full\\n")

class BrokenSilently(Plain):
    def __init__(self, params, lr):
        raise RuntimeError

class Explodes(Plain):
    def change(self, grad):
        self.count = getattr(self, "count", 0) + 1
        return grad if self.count < 4 else grad * float("nan")

class Chatty(Plain):
    def change(self, grad):
        print("look at me")
        warnings.warn("and at me")
        return grad

class Noisy(Plain):
    def change(self, grad):
        return grad * (1 + torch.rand_like(grad))

class Keeps(Plain):
    def change(self, grad):
        both = grad + 0.5 * getattr(self, "last", torch.zeros_like(grad))
        self.last = grad
        return both

class Overwrites(Plain):
    def change(self, grad):
        return grad.mul_(0.5)

class NoRate(Optimizer):
    def __init__(self, params):
        super().__init__(params, {})

    def step(self, closure=None):
        pass

class Three(Adam):
    def __init__(self, params, betas=(0.8, 0.7, 0.6), **more):
        super().__init__(params, betas=betas[:2], **more)

class Open(Optimizer):
    def __init__(self, params, **options):
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["params"][0].sub_(group["lr"] * group["params"][0].grad)

class Model(Plain):
    def __init__(self, model, lr):
        super().__init__(model.parameters(), lr)

class Hessian(Plain):
    @torch.enable_grad()
    def change(self, grad):
        return torch.autograd.grad(grad, self.x)[0]

def paint(colour):
    pass

class Careless(Plain):
    def __init__(self, params, lr):
        paint()

class Needy(Plain):
    def __init__(self, params, lr, total_steps):
        super().__init__(params, lr)

def function(params, **options):
    return Plain(params, **options)

def shelf(params, lr):
    return [params]

number = 3
"""


@pytest.fixture
def difficult(tmp_path, monkeypatch):
    """The folder that holds `difficult.py`, as the current one."""
    (tmp_path / "difficult.py").write_text(DIFFICULT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield tmp_path
    for name in ("difficult", "careless", "quits"):
        sys.modules.pop(name, None)


def found(name, extra=None, **given):
    return make_adapter(
        name, BumpSettings(optimizer=[name], **given, set=[f"{key}={value!r}" for key, value in (extra or {}).items()])
    )


def walk(name, steps=50, landscape=ENDLESS, extra=None, **given):
    return descend(found(name, extra, **given), landscape, steps, "cpu")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_the_table_moves(name):
    path = walk(name)
    assert len(path) == 51
    assert path[0] == 0 < path[1]


def test_special_conventions_are_found_by_trying():
    special = {name: found(name).convention for name in OPTIMIZERS if found(name).convention != Convention()}
    assert special == {
        "muon": Convention(shape=(1, 1)),
        "sparse-adam": Convention(sparse=True),
        "lbfgs": Convention(closure=True),
    }


def test_precision_and_looking_elsewhere_of_the_table():
    coarse = {name: found(name).precision for name in OPTIMIZERS if found(name).precision != "float64"}
    assert coarse == {"nadam": "float32", "asgd": "float32", "muon": "bfloat16"}  # mu_product, eta, and what it says
    assert [name for name in OPTIMIZERS if found(name).looks_elsewhere] == ["lbfgs"]


def test_torchs_own_adam_by_its_import_path_is_adam():
    assert walk("torch.optim:Adam") == walk("adam", eps=1e-8)
    assert walk("torch.optim:Adam", beta1=0.5, eps=0.0) == walk("adam", beta1=0.5)
    assert walk("torch.optim:SGD", extra={"nesterov": True, "momentum": 0.9}) == walk("nesterov")


@pytest.mark.parametrize(
    ("name", "convention"),
    [
        ("Plain", Convention()),
        ("Outer.Inner", Convention()),
        ("Counter", Convention()),
        ("Train", Convention()),
        ("function", Convention()),
        ("Open", Convention()),
        ("Closure", Convention(closure=True)),
        ("Vector", Convention(shape=(1,))),
        ("Matrix", Convention(shape=(1, 1))),
        ("Sparse", Convention(sparse=True)),
        ("Groups", Convention(parameters="groups")),
        ("Named", Convention(parameters="named")),
    ],
)
def test_a_difficult_class_that_is_gradient_descent_moves_as_gd(difficult, name, convention):
    adapter = found(f"difficult:{name}")
    assert (adapter.convention, adapter.precision, adapter.looks_elsewhere) == (convention, "float64", False)
    assert adapter.hyperparameters == {"lr": 0.3}
    assert descend(adapter, ENDLESS, 50, "cpu") == walk("gd")


@pytest.mark.parametrize(
    ("name", "precision"), [("SingleState", "float32"), ("SingleOnly", "float32"), ("HalfWithoutState", "bfloat16")]
)
def test_coarse_numbers_inside_are_reported(difficult, name, precision):
    assert found(f"difficult:{name}").precision == precision
    assert found("difficult:SingleOnly").convention.dtype == "float32"


def test_an_optimizer_that_looks_ahead_is_recognized(difficult):
    assert found("difficult:Ahead").looks_elsewhere


def test_a_closure_returns_the_loss(difficult):
    assert walk("difficult:Polyak", 3) == [0, 1, 1, 1]  # all the way down to loss 0 in one step of loss / slope


def test_gradients_may_be_kept_and_overwritten(difficult):
    assert walk("difficult:Keeps", 5) == pytest.approx([0, 0.3, 0.75, 1.2, 1.05, 0.6])
    assert walk("difficult:Overwrites") == walk("gd", lr=0.15)


def test_a_path_ends_before_the_first_position_that_is_not_finite(difficult):
    assert walk("difficult:Explodes") == pytest.approx([0, 0.3, 0.6, 0.9])


def test_one_that_never_moves_and_takes_no_rate_stands(difficult):
    assert found("difficult:NoRate").hyperparameters == {}
    assert walk("difficult:NoRate", 5) == [0.0] * 6


def test_foreign_prints_and_warnings_are_kept_away(difficult, capsys):
    (difficult / "careless.py").write_text(
        "import warnings; from difficult import Chatty; print('hello'); warnings.warn('hello')"
    )
    with warnings.catch_warnings(record=True) as caught:
        assert walk("careless:Chatty") == walk("gd")
    assert capsys.readouterr().out == ""
    assert not caught


def test_a_stochastic_path_repeats_and_is_the_same_over_any_bump_up_to_its_crest(difficult):
    path = walk("difficult:Noisy")
    assert path == walk("difficult:Noisy")
    assert path != walk("difficult:Noisy", seed=1)
    crossing = next(step for step, x in enumerate(path) if x >= 1.2)
    assert path[: crossing + 1] == walk("difficult:Noisy", landscape=Triangle(1.0, 0.2))[: crossing + 1]


def test_settings_reach_a_foreign_class_where_it_takes_them(difficult):
    given = {"lr": 0.1, "beta1": 0.5, "alpha": 0.3, "weight_decay": 0.2}
    assert found("difficult:Three", **given).hyperparameters == {
        "lr": 0.1,
        "betas": (0.5, 0.7, 0.6),
        "weight_decay": 0.2,
    }
    assert found("torch.optim:RMSprop", **given).hyperparameters == {"lr": 0.1, "alpha": 0.3, "weight_decay": 0.2}
    assert found("difficult:Open", {"lr": 0.2}, alpha=0.3).hyperparameters == {"lr": 0.2}
    assert found("adam", {"lr": 0.2, "amsgrad": True}).hyperparameters["lr"] == 0.2


@pytest.mark.parametrize(
    ("name", "extra", "sentence"),
    [
        ("nowhere:Adam", {}, "no module 'nowhere'; install it, or run in the folder it is in"),
        ("torch.nowhere.optim:Adam", {}, "no module 'torch.nowhere'; install it, or run in the folder it is in"),
        ("careless:Adam", {}, "careless:Adam: importing careless failed: No module named 'nowhere'"),
        ("quits:Adam", {}, "quits:Adam: importing quits failed: not today"),
        ("torch.optim:Adm", {}, "no 'Adm' in torch.optim; did you mean Adam?"),
        ("math:Adam", {}, "no 'Adam' in math; name a class that has a step method"),
        ("difficult:number", {}, "difficult:number is of type int; name a class with a step method"),
        ("difficult:number.x", {}, "no 'x' in 3; name a class that has a step method"),
        ("math:hypot", {}, "math:hypot is of type builtin_function_or_method; name a class with a step method"),
        (
            "difficult:shelf",
            {},
            "difficult:shelf cannot be used: it makes a list, which has no step(); name an optimizer",
        ),
        ("difficult:", {}, "'difficult:' names no class; write package.module:Class"),
        (":Adam", {}, "':Adam' names no class; write package.module:Class"),
        ("difficult:Open", {"colour": 1}, "difficult:Open takes no 'colour'; it takes none"),
        ("difficult:Plain", {"lrr": 1}, "difficult:Plain takes no 'lrr'; did you mean lr?"),
        ("difficult:Three", {"amsgrd": 1}, "difficult:Three takes no 'amsgrd'; did you mean amsgrad?"),
        ("adam", {"amsgrd": 1}, "adam takes no 'amsgrd'; did you mean amsgrad?"),
        ("difficult:NoRate", {"lr": 1}, "difficult:NoRate takes no 'lr'; it takes none"),
        ("gd", {"nestrov": 1}, "gd takes no 'nestrov'; did you mean nesterov?"),
        ("difficult:Broken", {}, "difficult:Broken cannot be used: the moon is not full"),
        ("difficult:BrokenSilently", {}, "difficult:BrokenSilently cannot be used: RuntimeError"),
        ("difficult:Model", {}, "difficult:Model cannot be used: it needs the whole model, not its parameters"),
        (
            "difficult:Hessian",
            {},
            "difficult:Hessian cannot be used: it differentiates the gradient (a Hessian), "
            "and here each slope is a plain number",
        ),
        (
            "difficult:Careless",
            {},
            "difficult:Careless cannot be used: paint() missing 1 required positional argument: 'colour'",
        ),
        ("difficult:Needy", {}, "difficult:Needy cannot be used: it needs 'total_steps'; add --set NAME=VALUE"),
        ("sparse-adam", {"eps": 0.0}, "sparse-adam cannot be used: Invalid epsilon value: 0.0"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(difficult, name, extra, sentence):
    (difficult / "careless.py").write_text("import nowhere")
    (difficult / "quits.py").write_text("raise SystemExit('not today')")
    with pytest.raises(SettingsError) as caught:
        found(name, extra)
    assert str(caught.value) == sentence
    assert caught.value.exit_code == 2


def test_a_file_that_fails_is_read_anew_once_it_is_mended(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("raise OSError('broken')")
    with pytest.raises(SettingsError, match="broken"):
        make_adapter(f"{file}:Mine", BumpSettings())
    file.write_text("from torch.optim import SGD as Mine")
    assert descend(make_adapter(f"{file}:Mine", BumpSettings(lr=0.3)), Triangle(1.0, 0.4), 2, "cpu") == [0.0, 0.3, 0.6]


def test_a_name_with_a_colon_is_foreign():
    assert is_foreign("torch.optim:Adam")
    assert not any(is_foreign(name) for name in OPTIMIZERS)


REFUSED = {  # of pytorch_optimizer: what the sentence must say
    "AdaHessian": "Hessian",
    "AdaLOMO": "whole model",
    "AdamMini": "whole model",
    "BSAM": "'num_data'; add --set",
    "DistributedMuon": "several processes",
    "LOMO": "whole model",
    "Ranger21": "'num_iterations'; add --set",
    "SophiaH": "Hessian",
}


def test_at_least_ninety_optimizers_of_a_foreign_package_work_unchanged():
    import pytorch_optimizer as package

    names = {package.load_optimizer(key).__name__ for key in package.get_supported_optimizers()}
    walked, refused = [], {}
    for name in sorted(names):
        try:
            path = walk(f"pytorch_optimizer:{name}", 20)
        except SettingsError as failure:
            refused[name] = str(failure)
        else:
            if any(path):
                walked.append(name)
    print(f"{len(walked)} of {len(names)} optimizers walk; refused:", *refused.values(), sep="\n")
    assert len(walked) >= 90
    for name, words in REFUSED.items():
        assert words in refused[name]
    assert not any("\n" in sentence for sentence in refused.values())


def test_what_a_foreign_optimizer_misses_can_be_set():
    assert len(walk("pytorch_optimizer:Ranger21", extra={"num_iterations": 1000})) == 51
    assert found("pytorch_optimizer:BSAM", {"num_data": 100}).looks_elsewhere
