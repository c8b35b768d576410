"""What an optimizer is given: each flag and each keyword of --set is used or refused, and nothing is given twice.

A hyperparameter has the name of its flag here. A constructor may spell it in another way (`SPELLINGS`).
"""

import ast
import collections.abc
import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from bs6207.errors import SettingsError
from bs6207.runs.settings import shorten

BETAS = ("beta1", "beta2")
OWN = ("momentum", "dampening", *BETAS, "alpha", "rho", "eps", "weight_decay")  # left out, they are the optimizer's own
SPELLINGS = {  # of a hyperparameter, the first that a constructor takes; `betas` holds both
    "lr": ("lr", "learning_rate", "step_size", "stepsize"),
    "momentum": ("momentum", "beta"),
    "beta1": ("beta1", "beta_1", "b1", "betas"),
    "beta2": ("beta2", "beta_2", "b2", "betas"),
    "eps": ("eps", "epsilon"),
    "weight_decay": ("weight_decay", "wd"),
}
FIELDS = ("lr", *OWN)
WORDS = {"true": "True", "false": "False", "none": "None", "null": "None", "inf": "1e999", "infinity": "1e999"}
WORD = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
CALLED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    tuple: "a list such as (0.9, 0.99)",
    list: "a list such as [0.9, 0.99]",
    str: "a word",
    NoneType: "none",
}

HUGE = 2**1000  # no float holds larger ones


def parse_set(texts: Sequence[str]) -> dict[str, str]:
    """The texts of KEY=VALUE by their keys.

    Raises:
        ValueError: a text is not of this form, or a key is given twice; the message says what to write instead.
    """
    keywords: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise ValueError(f"{text!r} is not KEY=VALUE, as in nesterov=True")
        if key in keywords:
            raise ValueError(f"{key} is given twice; give each keyword once")
        keywords[key] = value
    return keywords


def read_value(keyword: str, text: str, parameter: inspect.Parameter | None) -> Any:
    """What a text means as the value of a keyword: a value of the type of its default, or of its annotation.

    Args:
        parameter: of the constructor; None for what goes into its **kwargs, where any type may be right.

    Raises:
        SettingsError: it is of another type.
    """
    kinds = kinds_of(parameter)
    value = literal(text)
    if isinstance(value, tuple | list) and kinds & {tuple, list} and parameter is not None:
        if (items := items_like(value, parameter.default)) is not None:
            return tuple(items) if isinstance(parameter.default, tuple) or list not in kinds else items
    elif not kinds or type(value) in kinds:
        return value
    elif type(value) is int and float in kinds and abs(value) < HUGE:
        return float(value)
    elif type(value) is int and bool in kinds and value in (0, 1):
        return bool(value)
    elif type(value) is float and int in kinds and value.is_integer():
        return int(value)
    if str in kinds:
        return text
    wanted = " or ".join(CALLED[kind] for kind in CALLED if kind in kinds and not (kind is int and float in kinds))
    raise SettingsError(f"--set {keyword} must be {wanted}, not {shorten(text)}")


def literal(text: str) -> Any:
    """A Python literal, in which true, false, none, null and inf may be written in any case; or the text itself."""
    for spelt in (text, WORD.sub(lambda word: WORDS[word[0].lower()], text)):
        with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return ast.literal_eval(spelt.strip())
    return text


def kinds_of(parameter: inspect.Parameter | None) -> set[type]:
    """The types of `CALLED` that a value may have; none if nothing is known."""
    if parameter is None:
        return set()
    default = type(parameter.default)
    is_known = default in CALLED and default is not NoneType
    kinds = set(parts(parameter.annotation)) & CALLED.keys()
    if kinds - {NoneType}:
        return kinds | {default} if is_known else kinds
    if not is_known:
        return set()
    return {default} if default is bool else {default, NoneType} | ({float} if default is int else set())


def parts(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from parts(part)
    elif origin is Literal:
        yield from map(type, get_args(annotation))
    elif origin in (collections.abc.Sequence, collections.abc.Iterable):
        yield from (tuple, list)
    else:
        yield origin or annotation


def items_like(values: Sequence[Any], default: Any) -> list[Any] | None:
    """Values with whole numbers as floats where the default has floats; None if they are of other types."""
    kinds = {type(item) for item in default} if isinstance(default, tuple | list) else set()
    if kinds & {int, float}:
        kinds |= {int, float}
    if kinds and any(type(value) not in kinds for value in values):
        return None
    return [float(value) if type(value) is int and float in kinds else value for value in values]


def spelled(field: str, takes: Collection[str]) -> str | None:
    """The keyword by which a constructor takes a hyperparameter; None if it takes it by none."""
    return next((keyword for keyword in SPELLINGS.get(field, (field,)) if keyword in takes), None)


def fields_of(keyword: str, takes: Collection[str]) -> list[str]:
    """The hyperparameters that a keyword of a constructor holds."""
    fields = [field for field in FIELDS if spelled(field, takes) == keyword]
    return list(BETAS) if keyword == "betas" else fields


def require_once(name: str, flags: Iterable[str], keywords: Iterable[str], takes: Collection[str]) -> None:
    """Raises a SettingsError about the first hyperparameter of optimizer `name` that is given twice.

    Args:
        flags: the hyperparameters given by flags or by --sweep, and `keywords`, those of --set.
        takes: the keywords of the constructor.
    """
    given = set(flags)
    for keyword in keywords:
        for field in fields_of(keyword, takes):
            if field in given:
                raise SettingsError(f"--set {keyword} gives {name} its {field} a second time; give it once")
            given.add(field)


def named(values: Mapping[str, Any], takes: Collection[str]) -> dict[str, Any]:
    """Keywords and their values, those that hold a hyperparameter under the name of its flag too.

    A pair of betas stands there as beta1 and beta2 only.
    """
    shown: dict[str, Any] = {}
    for keyword, value in values.items():
        fields = fields_of(keyword, takes)
        is_pair = keyword == "betas" and isinstance(value, list) and len(value) >= len(BETAS)
        shown |= dict(zip(fields, value, strict=False)) if is_pair else dict.fromkeys(fields, value)
        if not fields or not (is_pair and len(value) == len(BETAS)):
            shown[keyword] = value
    return shown
