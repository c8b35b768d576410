"""Losses of the user's own: a formula in x and h, read without eval, or a torch function of x and h.

A formula is evaluated on pairs (value, slope), so its slope is exact (forward-mode differentiation). Pairs compare as
tuples do, by value and then by slope, which compares numbers just to the right of x. So `where(x <= 1, ...)`, `abs`,
`min` and `max` have the slope of the right-hand side at a kink, as all landscapes here.
"""

import ast
import inspect
import math
import operator
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from bs6207.bump.landscape import START, Own, Unbounded, find_bumps
from bs6207.errors import SettingsError, suggest
from bs6207.runs.settings import shorten

LONGEST, DEEPEST = 1000, 100  # letters of a formula; operations inside one another
EXAMPLE = "-x + 2*h*exp(-((x-1-h)/h)**2)"
HIGHEST = 1000.0  # height up to which a bump is followed to where it can be seen
MOST_SHOWN = 40  # letters of the part of a formula that is refused
TRIED = (0.005, 0.05, 0.5, 1.0)  # of the tallest bump: heights at which a loss is checked before anything is written

Pair = tuple[float, float]  # a value, and its change per unit of x to the right
Number = float | Callable[[float], Pair]  # one that depends on x is a function of it
Condition = bool | Callable[[float], bool]
NOTHING = (math.nan, math.nan)


def chain(function: Callable[[float], float], change: Callable[[float, float], float]) -> Callable[[Pair], Pair]:
    """A function of a number on pairs; `change` is its derivative, of the argument and the function's value."""

    def of_pair(pair: Pair) -> Pair:
        value = function(pair[0])
        return value, change(pair[0], value) * pair[1]

    return of_pair


def power(base: Pair, exponent: Pair) -> Pair:
    (u, du), (v, dv) = base, exponent
    value = math.pow(u, v)  # which is never complex, as ** can be
    slope = 0.0 if v == 0 or du == 0 else v * math.pow(u, v - 1) * du
    return value, slope if dv == 0 else slope + value * math.log(u) * dv


def quotient(numerator: Pair, divisor: Pair) -> Pair:
    (u, du), (v, dv) = numerator, divisor
    return u / v, (du - u / v * dv) / v


OPERATIONS: dict[type[ast.AST], Callable[..., Pair]] = {
    ast.UAdd: lambda a: a,
    ast.USub: lambda a: (-a[0], -a[1]),
    ast.Add: lambda a, b: (a[0] + b[0], a[1] + b[1]),
    ast.Sub: lambda a, b: (a[0] - b[0], a[1] - b[1]),
    ast.Mult: lambda a, b: (a[0] * b[0], a[1] * b[0] + a[0] * b[1]),
    ast.Div: quotient,
    ast.Pow: power,
}
FUNCTIONS: dict[str, Callable[..., Pair]] = {  # of one number, but for min and max
    "abs": lambda a: (-a[0], -a[1]) if a < (0.0, 0.0) else a,
    "min": min,
    "max": max,
    "exp": chain(math.exp, lambda u, value: value),
    "log": chain(math.log, lambda u, value: 1 / u),
    "sqrt": chain(math.sqrt, lambda u, value: 0.5 / value),
    "sin": chain(math.sin, lambda u, value: math.cos(u)),
    "cos": chain(math.cos, lambda u, value: -math.sin(u)),
    "tan": chain(math.tan, lambda u, value: 1 + value * value),
    "sinh": chain(math.sinh, lambda u, value: math.cosh(u)),
    "cosh": chain(math.cosh, lambda u, value: math.sinh(u)),
    "tanh": chain(math.tanh, lambda u, value: 1 - value * value),
    "atan": chain(math.atan, lambda u, value: 1 / (1 + u * u)),
    "erf": chain(math.erf, lambda u, value: 2 / math.sqrt(math.pi) * math.exp(-u * u)),
}
ARGUMENTS = {  # fewest and most, and what they are; all others take one number
    "where": (3, 3, "a comparison and two numbers"),
    **dict.fromkeys(("min", "max"), (2, LONGEST, "two numbers or more")),
}
COMPARISONS: dict[type[ast.AST], Callable[[Pair, Pair], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
JUNCTIONS: dict[type[ast.AST], Callable[[Sequence[bool]], bool]] = {
    ast.And: all,
    ast.BitAnd: all,
    ast.Or: any,
    ast.BitOr: any,
}
NAMES = ("x", "h", "pi")
CALLED = ("where", *FUNCTIONS)
ALLOWED = (
    f"a formula has numbers, {', '.join(NAMES)}, + - * / **, comparisons, if-else, and the functions "
    f"{', '.join(CALLED)}"
)
KINDS: dict[type[ast.AST], str] = {
    ast.Attribute: "an attribute",
    ast.Subscript: "a subscript",
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred expression",
    ast.JoinedStr: "a string",
    ast.Tuple: "a tuple",
    ast.List: "a list",
    ast.Dict: "a dict",
    ast.Set: "a set",
    ast.ListComp: "a loop",
    ast.GeneratorExp: "a loop",
    ast.SetComp: "a loop",
    ast.DictComp: "a loop",
}


def formula_error(node: ast.AST, why: str = "") -> ValueError:
    """The error about a part of a formula; `why` follows its text."""
    source = ast.unparse(node)
    part = source if len(source) <= MOST_SHOWN else f"{source[:MOST_SHOWN]}..."
    if isinstance(node, ast.Attribute) and node.attr in (*CALLED, "pi"):
        why = f"is an attribute; write {node.attr}"
    kind = KINDS.get(type(node), "no part of a formula")
    return ValueError(f"{part} {why}" if why else f"{part} is {kind}; {ALLOWED}")


@cache
def parse(text: str) -> ast.expr:
    """The tree of a formula in which all is allowed; a ValueError says in a sentence what is not."""
    if len(text) > LONGEST:
        raise ValueError(f"a formula has at most {LONGEST} letters, not {len(text)}; give a file.py:function")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that a number is called
            tree = ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as failure:
        why = getattr(failure, "msg", None) or "it cannot be read"
        raise ValueError(f"{shorten(text)} is no formula ({why}); write one such as {EXAMPLE}") from None
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1  # type: ignore[misc]
        if depth > DEEPEST:
            raise ValueError(f"a formula has at most {DEEPEST} operations inside one another; write it more flatly")
    number(tree, math.nan)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Call | ast.Constant) and not variables(node):
            value = number(node, math.nan)
            if isinstance(value, float) and not math.isfinite(value):
                raise formula_error(node, "is not a finite real number; write one that is")
    if "h" not in variables(tree):
        raise ValueError(f"the formula has no h, the height whose limit is sought; write one such as {EXAMPLE}")
    return tree


def variables(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} & {"x", "h"}


def number(node: ast.AST, h: float) -> Number:
    """A part of a formula as a function of x, at a height; parts without x are computed here, once."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        try:
            return float(node.value)
        except OverflowError:
            return math.inf
    if isinstance(node, ast.Name) and node.id in NAMES:
        return {"h": h, "pi": math.pi}[node.id] if node.id != "x" else lambda x: (x, 1.0)
    if isinstance(node, ast.UnaryOp | ast.BinOp) and type(node.op) in OPERATIONS:
        parts = [node.operand] if isinstance(node, ast.UnaryOp) else [node.left, node.right]
        return apply(OPERATIONS[type(node.op)], [number(part, h) for part in parts])
    if isinstance(node, ast.IfExp):
        return choose(condition(node.test, h), number(node.body, h), number(node.orelse, h))
    if isinstance(node, ast.Call):
        return called(node, h)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        raise formula_error(node, "has a ^, which is no power; write **")
    if is_condition(node):
        return choose(condition(node, h), 1.0, 0.0)
    if isinstance(node, ast.Name):
        raise formula_error(node, f"is no name of a formula; {suggest(node.id, (*NAMES, *CALLED))}")
    raise formula_error(node)


def called(node: ast.Call, h: float) -> Number:
    """A call of a function."""
    if not isinstance(node.func, ast.Name):
        raise formula_error(node.func)
    name = node.func.id
    if name not in CALLED:
        raise formula_error(node.func, f"is no function of a formula; {suggest(name, CALLED)}")
    if node.keywords:
        raise formula_error(node, "has a keyword; leave out its name")
    fewest, most, takes = ARGUMENTS.get(name, (1, 1, "one number"))
    if not fewest <= len(node.args) <= most:
        raise formula_error(node, f"has {len(node.args)} arguments; {name} takes {takes}")
    if name == "where":
        test, yes, no = node.args
        return choose(condition(test, h), number(yes, h), number(no, h))
    return apply(FUNCTIONS[name], [number(part, h) for part in node.args])


def is_condition(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Compare | ast.BoolOp)
        or (isinstance(node, ast.BinOp) and type(node.op) in JUNCTIONS)
        or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert))
    )


def condition(node: ast.AST, h: float) -> Callable[[float], bool]:
    """Whether a comparison, or several of them, are true just to the right of x."""
    if isinstance(node, ast.Compare) and all(type(op) in COMPARISONS for op in node.ops):
        sides = [as_pairs(number(part, h)) for part in (node.left, *node.comparators)]
        tests = [*zip([COMPARISONS[type(op)] for op in node.ops], sides, sides[1:], strict=False)]
        if len(tests) == 1:
            ((compare, left, right),) = tests
            return lambda x: compare(left(x), right(x))
        return lambda x: all(compare(left(x), right(x)) for compare, left, right in tests)
    if isinstance(node, ast.BoolOp) or (isinstance(node, ast.BinOp) and type(node.op) in JUNCTIONS):
        parts = node.values if isinstance(node, ast.BoolOp) else [node.left, node.right]
        conditions, join = [condition(part, h) for part in parts], JUNCTIONS[type(node.op)]
        return lambda x: join([holds(x) for holds in conditions])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        holds = condition(node.operand, h)
        return lambda x: not holds(x)
    if not isinstance(node, ast.Compare):
        number(node, h)
    raise formula_error(node, "is no comparison of numbers; write one, such as x < 1")


def choose(test: Callable[[float], bool], yes: Number, no: Number) -> Number:
    of_yes, of_no = as_pairs(yes), as_pairs(no)
    return lambda x: of_yes(x) if test(x) else of_no(x)


def as_pairs(value: Number) -> Callable[[float], Pair]:
    if not isinstance(value, float):
        return value
    pair = (value, 0.0)
    return lambda x: pair


def apply(operation: Callable[..., Pair], values: Sequence[Number]) -> Number:
    """An operation on numbers, done at once if none depends on x; NaN where it has no finite real result."""
    if all(isinstance(value, float) for value in values):
        try:
            return operation(*((value, 0.0) for value in values))[0]
        except (ArithmeticError, ValueError):
            return math.nan
    pairs = [as_pairs(value) for value in values]
    if len(pairs) == 1:
        (only,) = pairs
        return lambda x: operation(only(x))
    if len(pairs) == 2:
        first, second = pairs
        return lambda x: operation(first(x), second(x))
    return lambda x: operation(*(pair(x) for pair in pairs))


class Loss:
    """A loss of the user's own at one height; called with x, it returns the loss and its slope, NaN where it has none.

    It is pickled as the text that it was given as.
    """

    def __init__(self, text: str, height: float):
        self.text, self.height = text, height = text, float(height)
        self.pair_at = function_at(text, height) if is_function(text) else as_pairs(number(parse(text), height))

    def __call__(self, x: float) -> Pair:
        try:
            return self.pair_at(x)
        except SettingsError:  # which is a ValueError, too
            raise
        except (ArithmeticError, ValueError):
            return NOTHING

    def __reduce__(self) -> tuple[Any, ...]:
        return Loss, (self.text, self.height)


def is_function(text: str) -> bool:
    """Whether a landscape is given as package.module:function or file.py:function."""
    place, colon, dotted = text.rpartition(":")
    words = [*dotted.split("."), *(() if place.endswith(".py") else place.split("."))]
    return bool(colon) and all(word.isidentifier() for word in words)


def function_at(name: str, height: float) -> Callable[[float], Pair]:
    """A torch function of x and h at a height, with its slope by autograd.

    The slope is taken at the next float above x, so that at a kink it is that of the right-hand side.
    """
    import torch

    from bs6207.bump.adapter import NOWHERE, last_line, load

    function = load(name, "function")
    try:
        inspect.signature(function).bind(0.0, height)
    except TypeError:
        raise SettingsError(f"{name} cannot be called with two numbers; name a function of x and h") from None
    h = torch.tensor(height, dtype=torch.float64)

    def pair_at(x: float) -> Pair:
        here = torch.tensor(math.nextafter(x, math.inf), dtype=torch.float64, requires_grad=True)
        try:
            with redirect_stdout(NOWHERE), torch.enable_grad():
                loss = function(here, h)
                if not (isinstance(loss, torch.Tensor) and loss.numel() == 1 and loss.is_floating_point()):
                    raise TypeError(f"it returns {shorten(loss)}, no tensor with one real number")
                slope = torch.autograd.grad(loss.sum(), here)[0].item() if loss.requires_grad else 0.0
        except Exception as failure:
            raise SettingsError(f"{name} fails at x = {x:g}, h = {height:g}: {last_line(failure)}") from failure
        return loss.item(), slope

    return pair_at


def own_landscape(text: str, height: float) -> Own:
    """The landscape of a formula or function at a height; a SettingsError where nothing can be escaped.

    Where the loss only falls, because the bump is too low for its decline, the crest is what a path must pass in its
    place: the point that the upper half of the height raises most.
    """
    return find_own(text, height, Path.cwd())


@lru_cache(maxsize=4096)
def find_own(text: str, height: float, folder: Path) -> Own:
    """`own_landscape`, with files in the folder."""
    loss, half = Loss(text, height), Loss(text, height / 2)

    def raised(x: float) -> Pair:
        (value, slope), (value_of_half, slope_of_half) = loss(x), half(x)
        return value - value_of_half, slope - slope_of_half

    try:
        bump, near = find_bumps(loss), None
        if bump is None and (taller := find_taller(text, height, folder)):
            near = 2 * taller.foot - taller.kinks[-1], 2 * taller.kinks[-1] - taller.foot
            bump = find_bumps(loss, near)
    except Unbounded as failure:
        raise SettingsError(f"at h = {height:g} {failure}") from None
    if bump is None:
        with suppress(Unbounded):
            bump = find_bumps(raised, near)
        if bump is None:
            raise SettingsError(f"at h = {height:g} the loss only falls, so there is nothing to escape")
        bump = Own(loss, bump.crest, bump.crest, bump.crest, bumps=0)
    return bump


def find_taller(text: str, height: float, folder: Path) -> Own | None:
    """The bump at twice the height, or None: it shows where to look for a narrow one."""
    if height < HIGHEST:
        with suppress(SettingsError):
            if (taller := find_own(text, 2 * height, folder)).bumps:
                return taller
    return None


def require_bumps(text: str, height: float, tallest: float) -> None:
    """Raises a SettingsError unless the loss has bumps that a descent meets, at that height and up to `tallest`."""
    try:
        own = own_landscape(text, height)
        tried = [own_landscape(text, tallest * part) for part in TRIED]
    except SettingsError as failure:
        raise SettingsError(f"--landscape: {failure}") from failure
    if (slope := own.slope(START)) >= 0:
        raise SettingsError(
            f"--landscape: at h = {height:g} the loss does not fall at x = {START:g}, where every descent starts: its "
            f"slope is {slope:g}; shift it, turn it around, or give another --height"
        )
    if not tried[-1].bumps:
        raise SettingsError(f"--landscape: the loss only falls, even at h = {tallest:g}; raise --tallest, or its bump")
