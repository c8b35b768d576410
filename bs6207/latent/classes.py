"""What the labels of a data set stand for, and what to call one."""

from collections.abc import Sequence

from bs6207.data.images import DataSet

DIGITS = tuple("0123456789")


def class_names(data: DataSet) -> tuple[str, ...]:
    """The name of every class, by label; empty where the images have no labels."""
    return () if data.test.labels is None else data.classes


def noun(names: Sequence[str]) -> str:
    """What one of the classes is called; also the name of its column."""
    return "digit" if tuple(names) == DIGITS else "class"


def clipped(name: str, most: int = 14) -> str:
    """A name that fits beside a figure."""
    return name if len(name) <= most else name[: most - 1] + "…"
