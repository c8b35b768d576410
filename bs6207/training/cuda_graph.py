"""A training step for a CUDA device, recorded once as a graph of kernels and replayed from then on."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps that are taken one kernel after the other before the recording, in which libraries set up


class CudaGraphStep:
    """A step that is launched at once: its hundred kernels take less time than Python needs to ask for each of them.

    What it reads and writes must stay where it is in memory, and it must not look at the value of a tensor.

    Args:
        step: takes tensors of the same shapes every time, and numbers, which reach it as tensors.
    """

    def __init__(self, step: Callable[..., None], device: torch.device):
        self.step, self.device, self.steps_taken = step, device, 0
        self.inputs: list[Tensor] = []
        self.graph = torch.cuda.CUDAGraph()
        self.stream = torch.cuda.Stream(device)  # what has run on the default stream cannot be recorded

    def __call__(self, *values: Tensor | float) -> None:
        """Take one step."""
        if not self.inputs:
            self.inputs = [torch.zeros_like(torch.as_tensor(value, device=self.device)) for value in values]
        for held, value in zip(self.inputs, values, strict=True):
            held.copy_(value) if isinstance(value, Tensor) else held.fill_(value)
        if self.steps_taken < WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self.stream):
                self.step(*self.inputs)
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
        else:
            if self.steps_taken == WARM_UP:
                with torch.cuda.graph(self.graph, stream=self.stream):  # takes down, and does not compute
                    self.step(*self.inputs)
            self.graph.replay()
        self.steps_taken += 1
