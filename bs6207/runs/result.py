"""What an experiment returns: tables, trained weights, and the result that holds them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from bs6207.runs.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

METADATA = "bs6207"  # the key in a safetensors file's metadata under which JSON says how to build the network again
Row: TypeAlias = Mapping[str, Any]
State: TypeAlias = Mapping[str, Any]  # plain values, arrays and tensors


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


@dataclass(frozen=True)
class Result:
    """The result of an experiment.

    Attributes:
        metrics: for scripts; plain dicts, lists, numbers, strings and None.
        headline: the table that is printed, and `remarks`, the sentences below it.
        settings: as they were used, with every `auto` resolved.
        tables, weights: by file name, without its ending.
        figures: how to draw them, by file name; they are drawn when they are written, several at once.
        files: whatever else is to be written, by whole file name.
        failures: a sentence for each part that failed while others did not; they make the exit code 1.
    """

    settings: Settings
    metrics: dict[str, Any]
    headline: Table
    remarks: Sequence[str] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Drawing] = field(default_factory=dict)
    weights: Mapping[str, Weights] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    failures: Sequence[str] = ()
