"""The axes of a sweep: some values of some settings, as they are written for every command.

KEY=A,B,C                 these values
KEY=LOW:HIGH:COUNT        COUNT values with the same difference, both ends included
KEY=LOW:HIGH:COUNT:log    with the same ratio
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Annotated, Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BeforeValidator, TypeAdapter, ValidationError, model_validator

from bs6207.errors import suggest
from bs6207.runs.result import Checkpointable
from bs6207.runs.settings import Settings, complaint, setting

MOST_POINTS = 10_000
MOST_VALUES = 4096  # on one axis
FIXED = ("device", "sweep")  # of the settings that are recorded, those that no sweep goes over
DIGITS = 12  # of values with the same ratio: 0.01 between 0.001 and 0.1, not 0.010000000000000002
WHOLE = 1e-9  # of a number; one this near to a whole one is meant to be it
GRAMMAR = "KEY=A,B,C or KEY=LOW:HIGH:COUNT[:log], such as lr=0.01:1:8:log"


@dataclass(frozen=True)
class Axis(Checkpointable):
    """One setting and the values it takes."""

    name: str
    values: tuple[Any, ...]
    spacing: Literal["list", "linear", "log"]

    @property
    def count(self) -> int:
        """How many values."""
        return len(self.values)


def read_axes(texts: Sequence[str], kinds: Mapping[str, Any]) -> list[Axis]:
    """The axes that `texts` write.

    Args:
        kinds: the types of the settings that can be swept, by their names.

    Raises:
        ValueError: one cannot be read, or a setting or a value stands there twice; the message says what to write.
    """
    found: dict[str, Axis] = {}
    for text in texts:
        key, equals, written = text.partition("=")
        name = key.replace("-", "_")
        if not equals or not written.strip(","):
            raise ValueError(f"{text!r} is no axis; write {GRAMMAR}")
        if name not in kinds:
            raise ValueError(f"{name!r} cannot be swept; {suggest(name, kinds)}")
        if name in found:
            raise ValueError(f"{name} is swept twice; give all its values at once")
        found[name] = axis = read_axis(name, written, kinds[name])
        if len(set(axis.values)) < axis.count:
            raise ValueError(f"{name} has a value twice; give each value once")
    return list(found.values())


def read_axis(name: str, written: str, kind: Any) -> Axis:
    """The axis of a setting, as written behind its name; see `read_axes`."""
    numbers = [part for part in (kind, *get_args(kind)) if part in (int, float)]
    if ":" in written and numbers:
        return spaced(name, written, numbers[0])
    texts = [part for part in written.split(",") if part]
    try:
        values = [TypeAdapter[Any](kind).validate_strings(part) for part in texts]
    except ValidationError as failure:
        raise ValueError(f"{name} {complaint(failure)}") from None
    are_plain = all(isinstance(value, str | int | float) for value in values)  # a range of blurs is read by its model
    return Axis(name, tuple(values if are_plain else texts), "list")


def spaced(name: str, written: str, number: type) -> Axis:
    """The axis that LOW:HIGH:COUNT or LOW:HIGH:COUNT:log stands for."""
    text = f"{name}={written}"
    low_text, high_text, count_text, *rest = (*written.split(":"), "", "")
    if written.count(":") < 2 or [part.lower() for part in rest if part] not in ([], ["log"]) or written.endswith(":"):
        raise ValueError(f"{text!r} is no axis; write {GRAMMAR}")
    try:
        low, high, count = float(low_text), float(high_text), int(count_text)
    except ValueError:
        raise ValueError(f"{text!r}: write numbers for LOW and HIGH, a whole one for COUNT") from None
    is_log = bool(rest[0])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{text!r}: LOW must be less than HIGH, and both finite")
    if is_log and low <= 0:
        raise ValueError(f"{text!r}: LOW must be above 0 with log")
    if not 2 <= count <= MOST_VALUES:
        raise ValueError(f"{text!r}: COUNT must be from 2 to {MOST_VALUES}")
    places = range(1, count - 1)
    if is_log:
        between = [float(f"{low * (high / low) ** (place / (count - 1)):.{DIGITS}g}") for place in places]
    else:
        between = [low + (high - low) / (count - 1) * place for place in places]
    values = [low, *between, high]
    if number is int:
        if any(abs(value - round(value)) > WHOLE * abs(value) for value in values):
            raise ValueError(f"{text!r} falls between whole numbers; list them, as in {name}=2,4,8")
        values = [round(value) for value in values]
    return Axis(name, tuple(values), "log" if is_log else "linear")


def as_texts(given: Any) -> Any:
    """The table of a file, KEY = [A, B] or KEY = "LOW:HIGH:COUNT", as on the command line; anything else as it is."""
    if not isinstance(given, dict):
        return given
    if not given:
        raise ValueError("the table is empty; list the values of a setting, as in lr = [0.01, 0.02]")
    for key, values in given.items():
        if not isinstance(values, list | str) or not values:
            raise ValueError(f"{key} must be a list of values, as in lr = [0.01, 0.02]")
    return [
        f"{key}={values if isinstance(values, str) else ','.join(map(as_text, values))}"
        for key, values in given.items()
    ]


def as_text(value: Any) -> str:
    """A value as it is written on the command line.

    Raises:
        ValueError: it cannot be.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, dict | list) or "," in text:
        raise ValueError(f"{text} cannot be a value of a sweep; give numbers and words")
    return text


Sweep = Annotated[list[str], BeforeValidator(as_texts)]


class SweptSettings(Settings):
    """Settings that can be swept over."""

    sweep: Sweep = setting(
        [],
        "Run once for every combination of these values instead: lr=0.001:0.1:5:log batch_size=256,512. In a file, the "
        "table [COMMAND.sweep] with a list of values to each setting.",
        panel="Sweep",
        metavar="KEY=A,B|LOW:HIGH:COUNT[:log]...",
    )

    @model_validator(mode="after")
    def sweeps_over_settings(self) -> Self:
        """Refuses a sweep that leads to settings which are refused by themselves."""
        points(self)
        return self


AnySwept = TypeVar("AnySwept", bound=SweptSettings)


def axes(settings: SweptSettings) -> dict[str, list[Any]]:
    """The values of every setting that is swept over; of one that takes a list, each by itself.

    Raises:
        ValueError: the sweep cannot be read; the message says what to write instead.
    """
    kinds = {
        name: get_args(info.annotation)[0] if get_origin(info.annotation) is list else info.annotation or str
        for name, info in type(settings).model_fields.items()
        if not info.exclude and name not in FIXED
    }
    try:
        found = {axis.name: list(axis.values) for axis in read_axes(settings.sweep, kinds)}
    except ValueError as failure:
        raise ValueError(f"--sweep: {failure}") from None
    if (count := prod(map(len, found.values()))) > MOST_POINTS:
        raise ValueError(f"--sweep: {count:,} combinations are too many; {MOST_POINTS:,} are the most")
    return found


def points(settings: AnySwept) -> dict[tuple[Any, ...], AnySwept]:
    """The settings of every combination, by the values of the axes; none without a sweep.

    Raises:
        ValueError: the sweep cannot be read, or settings are refused; the message names the first.
    """
    found = axes(settings)
    if not found:
        return {}
    plain = settings.model_dump(exclude={"sweep"})
    are_lists = {name for name in found if isinstance(plain[name], list)}

    def at(values: Sequence[Any]) -> dict[str, Any]:
        return {name: [value] if name in are_lists else value for name, value in zip(found, values, strict=True)}

    try:
        every = {values: type(settings).model_validate({**plain, **at(values)}) for values in product(*found.values())}
    except ValidationError as failure:
        place = next(iter(failure.errors()[0]["loc"]), "")
        raise ValueError(f"--sweep: {place} {complaint(failure)}".replace("  ", " ")) from None
    for one in every.values():
        one.model_fields_set.intersection_update((*settings.model_fields_set, *found))
    return every
