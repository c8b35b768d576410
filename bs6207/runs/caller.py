"""The process of a caller from Python, which is the same after a call as before."""

import logging
import multiprocessing
import random
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

CALLS = threading.RLock()  # one call at a time: random states, threads and warnings belong to the process


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run the block as in a fresh process, whatever the caller has set, and restore all that it has set.

    A second thread waits until the first one's block has ended, so that neither changes the other's result.
    """
    with CALLS, warnings.catch_warnings(), ExitStack() as stack:
        path, levels = sys.path.copy(), levels_of_loggers()
        method = multiprocessing.get_start_method(allow_none=True)  # joblib, once imported, settles it
        python_state, flushed = random.getstate(), sys.float_info.min / 2 == 0
        import numpy as np
        import torch

        numpy_state, threads = np.random.get_state(), torch.get_num_threads()
        dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
        gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(torch.random.fork_rng(gpus))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        torch.set_flush_denormal(False)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(flushed)
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(precision)
            np.random.set_state(numpy_state)
            random.setstate(python_state)
            sys.path[:] = path
            multiprocessing.set_start_method(method, force=True)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def levels_of_loggers() -> dict[str, int]:
    loggers = logging.root.manager.loggerDict
    return {name: logger.level for name, logger in [*loggers.items()] if isinstance(logger, logging.Logger)}
