"""The words every experiment speaks: settings in, rows out, one result."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bs6207.errors import way_out

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

MOST_SHOWN = 100  # letters of a value that is refused
FACTS = "bs6207"  # the key in a safetensors file's metadata under which JSON says how to build the network again

Row: TypeAlias = Mapping[str, Any]
State: TypeAlias = Mapping[str, Any]  # plain values, arrays and tensors


def setting(
    default: Any,
    description: str,
    *,
    panel: str = "Settings",
    metavar: str = "",
    positional: bool = False,
    **limits: Any,
) -> Any:
    """A field of a settings model: its help, its limits (`gt`, `ge`, ...), its place and look on the help page."""
    look: dict[str, Any] = {"panel": panel, "metavar": metavar, "positional": positional}
    return Field(default, description=description, json_schema_extra=look, **limits)


class Words(BaseModel):
    """What a command can be told: each with its default, help, unit and range, here and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Options(Words):
    """What a command that computes can be told."""

    device: Literal["auto", "cpu", "cuda", "mps"] = setting(
        "auto", "Where tensors live; auto is cuda where there is one.", panel="Run"
    )


def address(text: str) -> str:
    """Accepts the address of a scheduler, as `dask scheduler` prints it, where Dask is installed."""
    if not re.fullmatch(r"(tcp|tls)://(\[[0-9A-Fa-f:.%]+\]|[^\s/:\[\]]+):\d{1,5}", text):
        raise ValueError(f"{text!r} is no address; write tcp://HOST:PORT, as dask scheduler prints it")
    if find_spec("distributed") is None:
        raise ValueError('this needs the dask extra; run pip install "bs6207[dask]"')
    return text


SchedulerAddress: TypeAlias = Annotated[str, AfterValidator(address)]


class Settings(Options):
    """The settings of one experiment; those that do not change its result are excluded from its record."""

    seed: int = setting(0, "Seed of every random number in the run.", panel="Run", ge=0, lt=2**31)
    jobs: int | None = setting(
        None, "Processes that share the work; one per core if not given.", panel="Run", ge=1, le=1024, exclude=True
    )
    scheduler: SchedulerAddress | None = setting(
        None,
        "A Dask scheduler whose workers share the work instead, tcp://HOST:PORT; --jobs then draw the figures. Needs "
        "the extra dask.",
        panel="Run",
        metavar="ADDRESS",
        exclude=True,
    )
    fresh: bool = setting(
        False, "Begin anew: what an interrupted run has put aside moves to the history.", panel="Run", exclude=True
    )


def complaint(failure: ValidationError) -> str:
    """What is wrong with the first value at fault, in words."""
    first = failure.errors()[0]
    if first["type"] == "too_short":
        return "needs at least one value"
    message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return message if first["type"] == "value_error" else f"{message}, not {shorten(first['input'])}"


def shorten(value: Any) -> str:
    """A value as Python writes it, or the beginning of it."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def known(noun: str, choices: Collection[str]) -> AfterValidator:
    """Accepts the names in `choices`; anything else is met with the nearest of them."""

    def check(name: str) -> str:
        if name not in choices:
            raise ValueError(f"no {noun} {name!r}; {way_out(name, choices)}")
        return name

    return AfterValidator(check)


def distinct(values: list) -> list:
    """Refuses a list that names something twice: it would be trained twice and reported once."""
    for place, value in enumerate(values):
        if value in values[:place]:
            raise ValueError(f"{value} is given twice; give each value once")
    return values


class Storable:
    """A dataclass that outlives the process it was made in: nothing else is read back from a file."""


@dataclass(frozen=True)
class Table:
    """Rows that share their columns; written as CSV."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Weights(Storable):
    """A trained network: its tensors by name, and what is needed to build it again, written beside them."""

    tensors: Mapping[str, "Tensor"]
    facts: Mapping[str, Any]


Drawing: TypeAlias = Callable[[], "Figure"]  # a function of the module level with all its arguments


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    Attributes:
        metrics: what scripts read; plain dicts, lists, numbers, strings and None.
        headline: the table people read, and `remarks`, the sentences below it.
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


class Steps(Protocol):
    """Where a piece of an experiment reports while it works."""

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        """One step is done.

        Args:
            doing: of what, in a few words.
            kind: steps of one kind take about as long.
            seconds: how long it took, if not all the time since the step before; 0 if that was before an interruption.
        """

    def tell(self, doing: str) -> None:
        """What a long step is at, in a few words."""

    def record(self, row: Row) -> None:
        """Keep one row of history, at once and for good."""

    def note(self, sentence: str) -> None:
        """Tell the user something that changes how the result is read."""


class PieceSteps(Steps, Protocol):
    """Where one piece reports, and puts aside how far it is, to go on from there if it is interrupted."""

    def keep(self, state: Callable[[], State]) -> None:
        """Put aside how far this piece is, in place of what was put aside before; `state` is asked when it is time."""

    def kept(self) -> State | None:
        """How far this piece was when it was interrupted, None for a new one; its rows and steps are reported again."""


class Progress(Steps, Protocol):
    """Where an experiment reports while it works."""

    def expect(self, steps: int, kind: str = "") -> None:
        """Announce `steps` further steps of a kind."""


Key = TypeVar("Key")
Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")
Work: TypeAlias = Callable[[Piece, PieceSteps], Outcome]


@dataclass(frozen=True)
class Lost:
    """A piece that was given up, because every process that worked on it died."""

    reason: str


class Deal(Protocol):
    """A way to get independent pieces of work done."""

    def __call__(
        self,
        work: Work[Piece, Outcome],
        pieces: Mapping[Key, Piece],
        progress: Progress,
        given: str = "",
        meanwhile: Callable[[], object] | None = None,
    ) -> dict[Key, Outcome | Lost]:
        """The outcomes of all pieces, in their order.

        Args:
            pieces: by a key that is theirs alone in this run: a name, or a tuple of names and numbers.
            given: what the outcomes depend on beside the settings, such as the checksum of the data; what was put
                aside under another one is not used.
            meanwhile: what this process gets ready for later, where others do the pieces.
        """


class InTurn:
    """Steps of a piece that is done here and now, and keeps nothing."""

    def __init__(self, progress: Steps):
        self.step, self.tell, self.record, self.note = progress.step, progress.tell, progress.record, progress.note

    def keep(self, state: Callable[[], State]) -> None:
        """Nothing will go on from there."""

    def kept(self) -> None:
        """Nothing was interrupted."""


def in_turn(
    work: Work[Piece, Outcome],
    pieces: Mapping[Key, Piece],
    progress: Progress,
    given: str = "",
    meanwhile: Callable[[], object] | None = None,
) -> dict[Key, Outcome | Lost]:
    """The outcomes of all pieces, one after the other, here."""
    return {key: work(piece, InTurn(progress)) for key, piece in pieces.items()}


AnySettings = TypeVar("AnySettings", bound=Settings)
Experiment: TypeAlias = Callable[[AnySettings, Progress, Deal], Result]
