"""The process of a caller from Python, which is the same after a call as before."""

import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

CALLS = threading.RLock()  # one call at a time: random states, threads and warnings belong to the process


@contextmanager
def same_random_state() -> Iterator[None]:
    """Restore the state of Python's random numbers, some of which rich draws when it is imported."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold ctrl-C back until the block has ended: a library whose import is broken off cannot be imported again.

    A handler of the caller's own, or of the command, remains.
    """
    held: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    if is_default := is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        if is_default:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if held:
        raise KeyboardInterrupt


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run the block as in a fresh process, whatever the caller has set, and restore all that it has set.

    A second thread waits until the first one's block has ended, so that neither changes the other's result.
    """
    import logging
    import multiprocessing

    with CALLS, warnings.catch_warnings(), same_random_state(), ExitStack() as stack:
        loggers = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
        path, levels = sys.path.copy(), [(logger, logger.level) for logger in loggers]
        method = multiprocessing.get_start_method(allow_none=True)  # joblib, once imported, settles it
        flushed = sys.float_info.min / 2 == 0
        with uninterrupted():
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
            sys.path[:] = path
            multiprocessing.set_start_method(method, force=True)
            for logger, level in levels:
                logger.setLevel(level)
