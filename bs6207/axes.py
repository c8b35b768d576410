"""The axes of a sweep over an experiment: some values of some of its settings."""

from itertools import product
from math import prod
from typing import Annotated, Any, Self, TypeVar, get_origin

from pydantic import BeforeValidator, TypeAdapter, ValidationError, model_validator

from bs6207.errors import way_out
from bs6207.experiment import Settings, complaint, setting

MOST_POINTS = 10_000
FIXED = ("device", "sweep")  # of the settings that are recorded, those that no sweep goes over


def as_texts(given: Any) -> Any:
    """The table of a file, KEY = [A, B], as on the command line, KEY=A,B; anything else as it is."""
    if not isinstance(given, dict):
        return given
    if not given:
        raise ValueError("the table is empty; list the values of a setting, as in lr = [0.01, 0.02]")
    for key, values in given.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{key} must be a list of values, as in lr = [0.01, 0.02]")
    return [f"{key}={','.join(map(as_text, values))}" for key, values in given.items()]


def as_text(value: Any) -> str:
    """A value as it is written on the command line.

    Raises:
        ValueError: it cannot be.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, dict | list) or "," in text:
        raise ValueError(f"{text} cannot be a value of a sweep; give numbers and words")
    return text


class SweptSettings(Settings):
    """Settings that can be swept over."""

    sweep: Annotated[list[str], BeforeValidator(as_texts)] = setting(
        [],
        "Run once for every combination of these values instead: lr=0.01,0.02 batch_size=256,512. In a file, the table "
        "[COMMAND.sweep] with a list of values to each setting.",
        panel="Sweep",
        metavar="KEY=A,B...",
    )

    @model_validator(mode="after")
    def sweeps_over_settings(self) -> Self:
        """Refuses a sweep that leads to settings which are refused by themselves."""
        points(self)
        return self


AnySwept = TypeVar("AnySwept", bound=SweptSettings)


def axes(settings: SweptSettings) -> dict[str, list[Any]]:
    """The values of every setting that is swept over.

    Raises:
        ValueError: the sweep cannot be read; the message says what to write instead.
    """
    fields = {
        name: info
        for name, info in type(settings).model_fields.items()
        if not info.exclude and name not in FIXED and get_origin(info.annotation) is not list
    }
    found: dict[str, list[Any]] = {}
    for text in settings.sweep:
        key, equals, listed = text.partition("=")
        name, texts = key.replace("-", "_"), [part for part in listed.split(",") if part]
        if not equals or not texts:
            raise ValueError(f"--sweep: {text!r} is no axis; write KEY=A,B, such as lr=0.01,0.02")
        if name not in fields:
            raise ValueError(f"--sweep: {name!r} cannot be swept; {way_out(name, fields)}")
        if name in found:
            raise ValueError(f"--sweep: {name} is swept twice; give all its values at once")
        try:
            found[name] = [TypeAdapter[Any](fields[name].annotation or str).validate_strings(part) for part in texts]
        except ValidationError as failure:
            raise ValueError(f"--sweep: {name} {complaint(failure)}") from None
        if len(set(found[name])) < len(texts):
            raise ValueError(f"--sweep: {name} has a value twice; give each value once")
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
    try:
        every = {
            values: type(settings).model_validate({**plain, **dict(zip(found, values, strict=True))})
            for values in product(*found.values())
        }
    except ValidationError as failure:
        place = next(iter(failure.errors()[0]["loc"]), "")
        raise ValueError(f"--sweep: {place} {complaint(failure)}".replace("  ", " ")) from None
    for one in every.values():
        one.model_fields_set.intersection_update((*settings.model_fields_set, *found))
    return every
