"""A training as it stands, to be put aside and gone on with."""

from typing import Any

from bs6207.experiment import State


class Snapshot:
    """All that a training changes as it goes: networks, optimizers, schedules and random numbers, by name."""

    def __init__(self, **parts: Any):
        self.parts = parts

    def state(self, rest: State) -> State:
        """As it is now, with what else is to be put aside."""
        parts = {
            name: part.get_state() if is_generator(part) else part.state_dict() for name, part in self.parts.items()
        }
        return {**parts, **rest}

    def restore(self, state: State) -> None:
        """Be again as it was."""
        for name, part in self.parts.items():
            part.set_state(state[name]) if is_generator(part) else part.load_state_dict(state[name])


def is_generator(part: Any) -> bool:
    """Whether this is a stream of random numbers, which torch lets one look into by other names."""
    return hasattr(part, "get_state")
