"""Resumable epochs, and the learning rate over the steps of a training."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Generator

from bs6207.errors import DivergenceError
from bs6207.runs.progress import TaskProgress


class ResumableEpochs:
    """The epochs of a training that resumes from its checkpoint: iterating yields the numbers of those left.

    A checkpoint is saved when the next epoch is requested, after the caller has appended the row of the last to `rows`.

    Args:
        count: of all epochs.
        parts: objects with a `state_dict`, and torch Generators, that the training changes in place.
        state: other values, arrays and tensors that change between epochs, before the first one.
    """

    def __init__(
        self, count: int, progress: TaskProgress | None, parts: Mapping[str, Any], state: Mapping[str, Any]
    ) -> None:
        self.count, self.progress, self.parts = count, progress, parts
        self.state, self.rows = dict(state), list[Any]()
        if progress and (saved := progress.load_checkpoint()):
            for name, part in parts.items():
                part.set_state(saved[name]) if isinstance(part, Generator) else part.load_state_dict(saved[name])
            self.state, self.rows = saved["state"], saved["rows"]

    def __iter__(self) -> Iterator[int]:
        for epoch in range(len(self.rows) + 1, self.count + 1):
            yield epoch
            if self.progress:
                self.progress.save_checkpoint(self.snapshot)

    def snapshot(self) -> dict[str, Any]:
        states = {
            name: part.get_state() if isinstance(part, Generator) else part.state_dict()
            for name, part in self.parts.items()
        }
        return {**states, "state": self.state, "rows": self.rows}


def warm_up_then_decay(step: int, steps: int, warm_up: float) -> float:
    """Factor of the learning rate at `step` of `steps`: a linear rise over a share `warm_up` of them, a fall to 0."""
    return min((step + 1) / max(warm_up * steps, 1), (1 - step / steps) / (1 - warm_up))


def require_finite(loss: float, epoch: int, lr: float, before: str) -> None:
    """Raise DivergenceError if an epoch's mean loss is not a number; `before`: an earlier loss, in words, if any."""
    if loss != loss:
        raise DivergenceError(
            f"the loss is not a number in epoch {epoch}{before and f', after {before}'}; try a smaller --lr than {lr:g}"
        )
