"""Classes and functions of the user's or a third party's, by their names, and what they may be given."""

import ast
import importlib
import inspect
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

from bs6207.bump.descent import quiet
from bs6207.errors import SettingsError, way_out


def load(name: str) -> Callable[..., Any]:
    """Import what `package.module:Class` or `file.py:Class` names, from the current folder first.

    Raises:
        SettingsError: there is no such module or file, it fails, or it has no such class.
    """
    place, _, dotted = name.rpartition(":")
    is_file = place.endswith(".py")
    if not all(part.isidentifier() for part in (*(() if is_file else place.split(".")), *dotted.split("."))):
        raise SettingsError(f"{name!r} names no class; write package.module:Class")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # for good: optimizers may import more when they step
    try:
        with quiet():
            found: Any = module_of(Path(place)) if is_file else importlib.import_module(place)
    except ModuleNotFoundError as failure:
        if is_file or not f"{place}.".startswith(f"{failure.name}."):
            raise SettingsError(f"{name}: importing {place} failed: {last_line(failure)}") from failure
        raise SettingsError(f"no module {failure.name!r}; install it, or run in the folder it is in") from None
    except SettingsError:
        raise
    except (Exception, SystemExit) as failure:
        raise SettingsError(f"{name}: importing {place} failed: {last_line(failure)}") from failure
    for attribute in dotted.split("."):
        optimizers = [known for known in dir(found) if hasattr(getattr(found, known, None), "step")]
        hint = way_out(attribute, optimizers) if optimizers else "name a class that has a step method"
        if not hasattr(found, attribute):
            raise SettingsError(f"no {attribute!r} in {getattr(found, '__name__', found)}; {hint}")
        found = getattr(found, attribute)
    try:
        inspect.signature(found)
    except (TypeError, ValueError):  # no callable, or one that does not say what it takes
        raise SettingsError(f"{name} is of type {type(found).__name__}; name a class with a step method") from None
    return found


def module_of(file: Path) -> ModuleType:
    """The module in a file, which is imported once; what lies beside it can be imported by it.

    Raises:
        SettingsError: there is no such file.
    """
    file = file.expanduser().resolve()
    if not file.is_file():
        raise SettingsError(f"there is no file {file}; give its path from the current folder on")
    if (name := str(file)) not in sys.modules:
        if (folder := str(file.parent)) not in sys.path:
            sys.path.append(folder)
        sys.modules[name] = module = ModuleType(name)
        module.__file__ = name
        try:
            exec(compile(file.read_bytes(), name, "exec"), vars(module))
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def keywords(target: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """What may be passed beside the parameters, through every `**kwargs` that hands on to a base class.

    And whether anything else may: a `**kwargs` with nothing but torch's own base class behind it takes anything. One
    with another class behind it is taken to hand on all it gets, because many swallow a misspelt keyword in silence.
    """
    constructors: list[Callable[..., Any]] = [target]
    if inspect.isclass(target):
        constructors = [vars(base)["__init__"] for base in target.__mro__ if "__init__" in vars(base)]
        constructors = [one for one in constructors if one is not object.__init__ and not is_base(one)]
    taken: dict[str, inspect.Parameter] = {}
    for constructor in constructors:
        parameters = list(signature(constructor).parameters.values())
        beside = parameters[2:] if inspect.isclass(target) else parameters[1:]
        named = {one.name: one for one in beside if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        taken = named | taken  # the nearest class decides on a default
        if not any(one.kind is one.VAR_KEYWORD for one in beside):
            return taken, False
    return taken, bool(constructors)


def is_base(constructor: Callable[..., Any]) -> bool:
    """Whether a constructor takes parameters and their defaults, as torch's own base class and those made after it."""
    return [*inspect.signature(constructor).parameters][2:] == ["defaults"]


def signature(constructor: Callable[..., Any]) -> inspect.Signature:
    """What a constructor takes, with annotations that were written as texts read, if they can be."""
    try:
        return inspect.signature(constructor, eval_str=True)
    except Exception:  # they may name what is imported for type checkers only
        return inspect.signature(constructor)


@cache
def words_of(code: Callable[..., Any]) -> frozenset[str] | None:
    """Every text in the source of a class or function, as which it could look up a keyword; None without source."""
    try:
        nodes = ast.walk(ast.parse(dedent(inspect.getsource(code))))
    except (OSError, TypeError, SyntaxError):
        return None
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def last_line(failure: BaseException) -> str:
    """The last line of an error's message, or its kind where it has none."""
    lines = str(failure).strip().splitlines()
    return lines[-1] if lines else type(failure).__name__
