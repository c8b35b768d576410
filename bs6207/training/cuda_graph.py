"""A training step on a CUDA device, recorded once as a graph of kernels and then replayed."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps before the recording, in which libraries set up


class CudaGraphStep:
    """Launches all kernels of a step at once; one by one, Python takes longer to launch them than they run.

    The step reads and writes the same memory every time, and never the value of a tensor on the host; it takes tensors
    of fixed shapes, and numbers, which reach it as tensors.
    """

    def __init__(self, step: Callable[..., None], device: torch.device):
        self.step, self.device, self.steps_taken = step, device, 0
        self.inputs: list[Tensor] = []
        self.graph = torch.cuda.CUDAGraph()
        self.stream = torch.cuda.Stream(device)  # the default stream cannot be recorded

    def __call__(self, *values: Tensor | float) -> None:
        if not self.inputs:
            self.inputs = [torch.zeros_like(torch.as_tensor(value, device=self.device)) for value in values]
        for static, value in zip(self.inputs, values, strict=True):
            static.copy_(value) if isinstance(value, Tensor) else static.fill_(value)
        if self.steps_taken < WARM_UP:
            self.stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self.stream):
                self.step(*self.inputs)
            torch.cuda.current_stream(self.device).wait_stream(self.stream)
        else:
            if self.steps_taken == WARM_UP:
                with torch.cuda.graph(self.graph, stream=self.stream):  # records, and does not compute
                    self.step(*self.inputs)
            self.graph.replay()
        self.steps_taken += 1
