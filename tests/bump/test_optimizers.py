"""What an optimizer is given, by flags, --set and --sweep, is used or refused, and the record is what it has."""

import inspect
import math
import sys
from types import ModuleType
from typing import Literal

import pytest
import torch
from conftest import Watched

from bs6207.bump import experiment
from bs6207.bump.adapter import descend, read_value
from bs6207.bump.optimizers import Probe, make_adapter, plain, source_checksum
from bs6207.bump.search import study
from bs6207.bump.settings import BumpSettings, parse_set
from bs6207.errors import SettingsError
from bs6207.runs.files import to_csv
from bs6207.runs.progress import map_serially
from bs6207.runs.result import Result, Table

MINE = """
import torch
from torch.optim import SGD, Adam, Optimizer


class Step(Optimizer):
    def __init__(self, params, learning_rate=0.01, epsilon=0.0, wd=0.0, beta=0.0):
        super().__init__(params, {"learning_rate": learning_rate, "wd": wd, "beta": beta})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for x in group["params"]:
                x -= group["learning_rate"] * (x.grad + group["wd"] * x)


class Halves(SGD):
    def __init__(self, params, lr=0.1, nesterov=False, momentum=0.0):
        super().__init__(params, lr / 2, momentum, nesterov=nesterov)


class Swallows(Optimizer):
    def __init__(self, params, lr=0.1, **options):
        super().__init__(params, {"lr": lr, "momentum": 0.0, **options})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert group["momentum"] == 0
            for x in group["params"]:
                x -= group["lr"] * x.grad


class Both(Adam):
    def __init__(self, params, lr=0.1, beta1=None, beta2=None, betas=(0.9, 0.999)):
        super().__init__(params, lr, betas=(beta1 or betas[0], beta2 or betas[1]), eps=0.0)


class Sharp(Optimizer):
    def __init__(self, params, base_optimizer, **options):
        self.base = base_optimizer(params, **options)
        super().__init__(params, self.base.defaults)
        self.param_groups = self.base.param_groups

    def step(self, closure=None):
        self.base.step()


class Ahead:
    def __init__(self, optimizer, k=5):
        self.optimizer, self.param_groups = optimizer, optimizer.param_groups

    def step(self):
        self.optimizer.step()


class NoRate:
    def __init__(self, params):
        [self.x] = params

    def step(self):
        self.x.data -= 0.2 * self.x.grad


def forwards(params, **options):
    return SGD(params, **options)


def ahead(params, lr):
    return Ahead(SGD(params, lr))
"""


@pytest.fixture
def mine(main, tmp_path):
    """`main`, in a folder that holds `mine.py`."""
    (tmp_path / "mine.py").write_text(MINE)
    yield main
    for name in ("mine", str(tmp_path / "mine.py")):
        sys.modules.pop(name, None)


@pytest.fixture
def adapter(mine, monkeypatch):
    """`adapter(line)`: the only optimizer of `bump --optimizer LINE`, once the line has been checked."""
    read = []

    def end_at_once(settings, progress, map_tasks):
        read.append(settings)
        return Result(settings, {}, Table((), ()))

    monkeypatch.setattr(experiment, "run", end_at_once)

    def get(line):
        done = mine("bump", "--optimizer", *line.split())
        assert done.returncode == 0, done.stderr
        (name,) = read[-1].names
        return make_adapter(name, read[-1])

    return get


def parameter(default=inspect.Parameter.empty, annotation=inspect.Parameter.empty):
    return inspect.Parameter("it", inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@pytest.mark.parametrize(
    ("text", "default", "annotation", "value"),
    [
        ("false", False, bool, False),
        ("FALSE", True, ..., False),
        ("0", True, bool, False),
        ("1", None, bool | None, True),
        ("none", None, bool | None, None),
        ("Null", 0.1, ..., None),
        ("1", 1e-3, float, 1.0),
        ("1", 1e-3, ..., 1.0),
        ("0.5", 0, ..., 0.5),
        ("3.0", 10, int, 3),
        ("-inf", 0.1, float, -math.inf),
        ("[1, .5]", (0.9, 0.999), ..., (1.0, 0.5)),
        ("0.5,0.9", (0.9, 0.999), ..., (0.5, 0.9)),
        ("(none, 1)", (None, 1e-3), ..., (None, 1.0)),
        ("(1,2)", [3, 4], ..., [1, 2]),
        ("fast", "slow", ..., "fast"),
        ("none", "slow", str, "none"),
        ("none", None, str | None, None),
        ("1", "slow", ..., "1"),
        ("'fast'", None, ..., "fast"),
        ("fast", "slow", Literal["slow", "fast"], "fast"),
        ("fast", None, ..., "fast"),
        ("False", ..., ..., False),
        ("a=b", ..., ..., "a=b"),
        ("", ..., ..., ""),
    ],
)
def test_a_value_has_the_type_of_its_default(text, default, annotation, value):
    given = {key: one for key, one in (("default", default), ("annotation", annotation)) if one is not ...}
    read = read_value("it", text, parameter(**given))
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "default", "annotation", "words"),
    [
        ("maybe", False, ..., "--set it must be true or false, not 'maybe'"),
        ("2", False, bool, "true or false"),
        ("none", False, ..., "true or false"),
        ("off", None, bool | None, "true or false or none"),
        ("nan", 0.1, ..., "a number"),
        ("true", 0.1, float, "a number, not 'true'"),
        ("1_0x", 0.1, float, "a number"),
        ("9" * 4000, 0.1, float, "a number"),
        ("2.5", 10, int, "a whole number"),
        ("inf", 10, int, "a whole number"),
        ("none", 10, int, "a whole number"),
        ("0.9", (0.9, 0.999), ..., "a list such as (0.9, 0.99)"),
        ("(true, 0.9)", (0.9, 0.999), ..., "a list"),
        ("(nan, 0.9)", (0.9, 0.999), ..., "a list"),
    ],
)
def test_a_value_of_another_type_is_refused(text, default, annotation, words):
    given = {key: one for key, one in (("default", default), ("annotation", annotation)) if one is not ...}
    with pytest.raises(SettingsError) as refused:
        read_value("it", text, parameter(**given))
    assert words in str(refused.value)


def test_set_is_read_by_keyword():
    assert parse_set(["nesterov=True", "path=a=b", "empty="]) == {"nesterov": "True", "path": "a=b", "empty": ""}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["nesterov"], "is not KEY=VALUE"),
        (["=1"], "is not KEY=VALUE"),
        (["weight-decay=1"], "is not KEY=VALUE"),
        (["a=1", "a=2"], "a is given twice"),
    ],
)
def test_set_refuses_what_it_cannot_read(texts, words):
    with pytest.raises(ValueError, match=words):
        parse_set(texts)


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("adam --set betas=(0.5,0.9)", "adam --beta1 0.5 --beta2 0.9"),
        ("adam --set betas=[0.5,0.9] lr=0.2", "adam --beta1 0.5 --beta2 0.9 --lr 0.2"),
        ("adam --set beta1=0.5 --beta2 0.9", "adam --beta1 0.5 --beta2 0.9"),
        ("momentum --set momentum=0.5", "momentum --momentum 0.5"),
        ("gd --set momentum=0 nesterov=false", "gd"),
        ("adam --set amsgrad=FALSE foreach=none", "adam"),
        ("torch.optim:Adam --set betas=(0.5,0.9) eps=0", "adam --beta1 0.5 --beta2 0.9"),
        ("torch.optim:Adam --beta1 0.5 --beta2 0.9 --eps 0", "adam --beta1 0.5 --beta2 0.9"),
        ("mine:Step", "gd"),
        ("mine:Step --lr 0.2", "gd --lr 0.2"),
        ("mine:Step --set learning_rate=0.2", "gd --lr 0.2"),
        ("mine:Step --weight-decay 0.01", "gd --weight-decay 0.01"),
        ("mine:Both --beta1 0.5", "adam --beta1 0.5"),
        ("mine:Both --set beta1=0.5", "adam --beta1 0.5"),
        ("mine:Both --set betas=(0.5,0.999)", "adam --beta1 0.5"),
        ("mine:forwards --set momentum=0.9", "momentum"),
        ("mine:Swallows --set momentum=0", "gd"),
        ("mine:Sharp --set base_optimizer=torch.optim:SGD momentum=0.9", "momentum"),
        ("mine:Sharp --set base_optimizer=torch.optim.SGD", "gd"),
        ("mine:ahead", "gd"),
        ("mine.py:Step", "gd"),
        ("./mine.py:Step --lr 0.2", "gd --lr 0.2"),
        ("mine.Step", "gd"),
        ("torch.optim.SGD", "gd"),
        ("adamW", "adamw"),
        ("Rmsprop_Centered", "rmsprop-centered"),
    ],
)
def test_what_is_given_is_used_and_shown(adapter, given, same):
    one, other = map(adapter, (given, same))
    assert descend(one, Probe(), 60, "cpu") == pytest.approx(descend(other, Probe(), 60, "cpu"), abs=1e-12)
    assert {key: one.has.get(key, 0.0) for key in other.has} == other.has


TWICE = "a second time; give it once"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("adam --lr 0.3 --set lr=0.1", f"--set lr gives adam its lr {TWICE}"),
        ("adam --beta1 0.5 --set betas=(0.9,0.98)", f"--set betas gives adam its beta1 {TWICE}"),
        ("torch.optim:Adam --beta1 0.5 --set betas=(0.9,0.98)", TWICE),
        ("adam --set beta1=0.5 betas=(0.9,0.98)", TWICE),
        ("mine:Both --set beta1=0.5 betas=(0.9,0.98)", TWICE),
        ("mine:Step --lr 0.3 --set learning_rate=0.1", f"--set learning_rate gives mine:Step its lr {TWICE}"),
        ("momentum --momentum 0.9 --set momentum=0.5", TWICE),
        ("adamw --weight-decay 0.1 --set weight_decay=0.2", TWICE),
        (
            "adam --set betas=(0.9,0.98) --sweep beta1=0:0.9:2 lr=0.1:0.2:2",
            f"--sweep: --set betas gives adam its beta1 {TWICE}",
        ),
        ("mine:Step --set learning_rate=0.1 --sweep lr=0.1:0.2:2 distance=1:2:2", TWICE),
        ("nesterov --set nesterov=false", "nesterov sets nesterov by itself"),
        ("amsgrad --set amsgrad=false", "amsgrad sets amsgrad by itself"),
        ("gd --set nesterov=maybe", "--set nesterov must be true or false, not 'maybe'"),
        ("adam --set foreach=off", "--set foreach must be true or false or none, not 'off'"),
        ("adam --set eps=nan", "--set eps must be a number, not 'nan'"),
        ("adam --set weight_decay=none", "--set weight_decay must be a number"),
        ("adam --set lr=inf", "--set lr should be a finite number"),
        ("adam --set beta1=1", "--set beta1 should be less than 1"),
        ("adam --set betas=(0.9,)", "--set betas must be two numbers"),
        ("adam --set learning_rate=0.1", "adam takes no 'learning_rate'; did you mean lr?"),
        ("mine:Step --set lr=0.1", "mine:Step takes no 'lr'; did you mean learning_rate?"),
        ("mine:Swallows --set momentun=0.5", "mine:Swallows takes no 'momentun'"),
        ("mine:NoRate --lr 0.1", "--lr: none of mine:NoRate has it"),
        ("mine:forwards --set momentun=0.5", "unexpected keyword argument 'momentun'"),
        ("mine:Ahead", "mine:Ahead is made of another optimizer; write a function into a file, def make(params, lr)"),
        ("mine:Sharp", "it needs 'base_optimizer'; add --set base_optimizer=package.module:Class"),
        ("mine:Sharp --set base_optimizer=torch.optim:Nosuch", "no 'Nosuch' in torch.optim"),
        ("nosuch.py:Step", "there is no file"),
        ("mine.py", "mine.py is a file; name the class in it, as in mine.py:Class"),
        ("SGD", "did you mean torch.optim:SGD?"),
        ("torch.optim:adam", "did you mean Adam?"),
        ("torch.optim.Adm", "no 'Adm' in torch.optim; did you mean Adam?"),
        ("torch.optim.Adam torch.optim:Adam", "torch.optim:Adam is given twice"),
    ],
)
def test_what_cannot_be_used_is_refused(mine, tmp_path, line, words):
    done = mine("bump", "--optimizer", *line.split())
    assert done.returncode == 2, done.stdout
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"mine.py", "__pycache__"}


@pytest.mark.usefixtures("mine")
def test_a_run_reports_the_hyperparameters_of_its_optimizers():
    mine = ["mine:Halves", "mine:Step", "mine:NoRate"]
    settings = BumpSettings(optimizer=mine, lr=0.5, weight_decay=0.01, steps=20)
    result = experiment.run(settings, Watched(), map_serially)
    assert "mine:Halves has lr 0.25." in result.remarks
    assert "mine:Halves: given lr 0.5, it has 0.25." in result.remarks
    assert "--lr 0.5 does not reach mine:NoRate: no such keyword." in result.remarks
    assert "--weight-decay 0.01 does not reach mine:Halves and mine:NoRate: no such keyword." in result.remarks
    assert to_csv(result.tables["hyperparameters"]).splitlines() == [
        "optimizer,hyperparameter,value",
        "mine:Halves,lr,0.25",
        *(f"mine:Step,{key},0.5" for key in ("lr", "learning_rate")),
        *(f"mine:Step,{key},0.01" for key in ("weight_decay", "wd")),
    ]


def test_the_record_of_keywords_of_set_is_read_again(main, tmp_path, adapter):
    assert adapter("mine:Step --set learning_rate=0.2").has["lr"] == 0.2
    assert main("bump", "--config", "outputs/bump/config.toml", "--out", "again").returncode == 0


@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_a_diagram_is_of_what_is_set(optimizer):
    axes = {"sweep": ["lr=0.2:0.3:2", "distance=1:1.2:2"], "steps": 40, "optimizer": [optimizer]}
    both = (BumpSettings(set=["betas=(0.5,0.9)"], **axes), BumpSettings(beta1=0.5, beta2=0.9, **axes))
    tasks = [experiment.Task("diagram", optimizer, settings, (0, 2)) for settings in both]
    one, other = (experiment.run_task(task, Watched()).h_max for task in tasks)
    assert one.tolist() == other.tolist()


def test_proofs_are_of_what_is_set_and_none_is_claimed_for_other_keywords():
    def found(name, **given):
        settings = BumpSettings(optimizer=[name], steps=400, **given)
        return study(make_adapter(name, settings), settings).metrics

    assert found("adam", set=["betas=(0.5,0.9)"])["certificate"] == found("adam", beta1=0.5, beta2=0.9)["certificate"]
    nesterov = found("gd", set=["momentum=0.9", "nesterov=true"])
    assert nesterov["certificate"] == {"kind": "steps", "steps": 400, "reason": "no proof covers momentum"}
    assert nesterov["h_max"] == found("nesterov")["h_max"]


def test_an_optimizer_without_a_file_is_known_by_its_code(monkeypatch):
    def checksum(step):
        module = ModuleType("notebook")
        exec(f"import torch\nclass Mine(torch.optim.SGD):\n    def step(self, closure=None): {step}", vars(module))
        monkeypatch.setitem(sys.modules, "notebook", module)
        return source_checksum(BumpSettings(optimizer=["notebook:Mine"]))

    assert checksum("return 1") == checksum("return 1")
    assert checksum("return 1") != checksum("return 2")
    assert checksum("return self.a") != checksum("return self.b")


def test_what_json_cannot_hold_is_named_by_its_class():
    assert plain({"lr": torch.tensor(0.5), 3: (1, [None, True])}) == {"lr": 0.5, "3": [1, [None, True]]}
    assert (plain(torch.zeros(2)), plain(math)) == ("Tensor", "module")
