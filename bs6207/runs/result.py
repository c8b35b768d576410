"""What an experiment returns: tables, trained weights, and the result that holds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bs6207.runs.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

METADATA = "bs6207"  # the key in a safetensors file's metadata under which JSON says how to build the network again
Row: TypeAlias = Mapping[str, Any]


class Checkpointable:
    """Base of the dataclasses that may be loaded from a checkpoint."""


@dataclass(frozen=True)
class Table:
    """Rows that share their columns; written as CSV."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Weights(Checkpointable):
    """A trained network: its tensors by name, and what is needed to build it again, written beside them."""

    tensors: Mapping[str, "Tensor"]
    facts: Mapping[str, Any]


Drawing: TypeAlias = Callable[[], "Figure"]  # a function of the module level with all its arguments


class Links(NamedTuple):
    """A new or empty folder to be filled with links."""

    folder: Path
    files: Mapping[Path, Path]  # by name within the folder, the user's file


@dataclass(frozen=True)
class Result:
    """The result of an experiment."""

    settings: Settings  # as they were used, with every `auto` resolved
    metrics: dict[str, Any]  # for scripts: plain dicts, lists, numbers, strings and None
    headline: Table  # is printed, with the remarks below it
    remarks: Sequence[str] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)  # by file name, without its ending
    figures: Mapping[str, Drawing] = field(default_factory=dict)  # likewise; drawn when written, several at once
    weights: Mapping[str, Weights] = field(default_factory=dict)  # likewise
    files: Mapping[str, bytes] = field(default_factory=dict)  # what else is to be written, by whole file name
    links: Links | None = None  # made once the run is published
    failures: Sequence[str] = ()  # a sentence for each part that failed while others did not; the exit code is then 1
