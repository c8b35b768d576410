"""How an experiment reports while it works, and how it hands out tasks: the protocols, and the serial case."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from bs6207.runs.result import Result, Row, State
from bs6207.runs.settings import Settings


class Steps(Protocol):
    """Where a piece of an experiment reports while it works."""

    def step(self, doing: str, kind: str = "", seconds: float | None = None) -> None:
        """One step is done.

        Args:
            doing: of what, in a few words.
            kind: steps of one kind take about as long.
            seconds: how long it took, if not all the time since the step before; 0 if that was before an interruption.
        """

    def status(self, doing: str) -> None:
        """What a long step is at, in a few words."""

    def record(self, row: Row) -> None:
        """Keep one row of history, at once and for good."""

    def warn(self, sentence: str) -> None:
        """Tell the user something that changes how the result is read."""


class TaskProgress(Steps, Protocol):
    """Where one piece reports, and puts aside how far it is, to go on from there if it is interrupted."""

    def save_checkpoint(self, state: Callable[[], State]) -> None:
        """Put aside how far this piece is, in place of what was put aside before; `state` is asked when it is time."""

    def load_checkpoint(self) -> State | None:
        """How far this piece was when it was interrupted, None for a new one; its rows and steps are reported again."""


class Progress(Steps, Protocol):
    """Where an experiment reports while it works."""

    def expect(self, steps: int, kind: str = "") -> None:
        """Announce `steps` further steps of a kind."""


Key = TypeVar("Key")
Piece = TypeVar("Piece")
Outcome = TypeVar("Outcome")
Work: TypeAlias = Callable[[Piece, TaskProgress], Outcome]


@dataclass(frozen=True)
class FailedTask:
    """A piece that was given up, because every process that worked on it died."""

    reason: str


class MapTasks(Protocol):
    """A way to get independent pieces of work done."""

    def __call__(
        self,
        work: Work[Piece, Outcome],
        pieces: Mapping[Key, Piece],
        progress: Progress,
        given: str = "",
        meanwhile: Callable[[], object] | None = None,
    ) -> dict[Key, Outcome | FailedTask]:
        """The outcomes of all pieces, in their order.

        Args:
            pieces: by a key that is theirs alone in this run: a name, or a tuple of names and numbers.
            given: what the outcomes depend on beside the settings, such as the checksum of the data; what was put
                aside under another one is not used.
            meanwhile: what this process gets ready for later, where others do the pieces.
        """


class SerialProgress:
    """Steps of a piece that is done here and now, and keeps nothing."""

    def __init__(self, progress: Steps):
        self.step, self.status, self.record, self.warn = progress.step, progress.status, progress.record, progress.warn

    def save_checkpoint(self, state: Callable[[], State]) -> None:
        """Nothing will go on from there."""

    def load_checkpoint(self) -> None:
        """Nothing was interrupted."""


def map_serially(
    work: Work[Piece, Outcome],
    pieces: Mapping[Key, Piece],
    progress: Progress,
    given: str = "",
    meanwhile: Callable[[], object] | None = None,
) -> dict[Key, Outcome | FailedTask]:
    """The outcomes of all pieces, one after the other, here."""
    return {key: work(piece, SerialProgress(progress)) for key, piece in pieces.items()}


AnySettings = TypeVar("AnySettings", bound=Settings)
Experiment: TypeAlias = Callable[[AnySettings, Progress, MapTasks], Result]
