"""What trainings ask of the machine."""

import ctypes
import subprocess
import sys

import pytest

HAS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")

STEPS = """
from resource import RUSAGE_SELF, getrusage
import torch
from bs6207.training.devices import keep_memory

keep_memory()
for _ in range(10):
    tensors = [torch.ones(400_000) for _ in range(20)]
    del tensors
    print(getrusage(RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(not HAS_GLIBC, reason="needs glibc: no other C library is told what to keep")
def test_what_tensors_leave_is_kept_for_the_next_ones():
    told = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True).stdout
    pages = [int(line) for line in told.split()]
    assert pages[-1] - pages[4] < 500  # that had to be asked for anew; 8,000 in every step if nothing is kept
