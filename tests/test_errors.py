"""Failures of the system in words that name the way out."""

import errno
import os
import tempfile

import numpy as np
import pytest
import torch

from bs6207.errors import in_a_sentence, memory_shortage

FULL = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((2**40,), np.dtype(float)),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4398046511104 bytes."),
    RuntimeError("std::bad_alloc"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
]
FULL_GPU = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)"),
]
OTHERS = [
    (PermissionError(13, "Permission denied", "/a/b"), "cannot use /a/b: Permission denied; see that it is there"),
    (ValueError("no"), "ValueError: no; run again with --debug for where it happened"),
    (RuntimeError("the memory of a fish"), "RuntimeError: the memory of a fish; run again with --debug"),
]


@pytest.mark.parametrize("failure", FULL, ids=repr)
def test_an_allocation_that_is_refused_is_reported_with_what_to_ask_for_less_of(failure):
    said = "the memory was full at l1; close other programs, try fewer --jobs, or ask for less at a time: "
    assert str(memory_shortage(failure, "l1")).startswith(said)
    assert in_a_sentence(failure).startswith("the memory was full; close other programs")


@pytest.mark.parametrize("failure", FULL_GPU, ids=repr)
def test_one_on_a_gpu_is_reported_as_one(failure):
    assert in_a_sentence(failure) == "the GPU's memory was full; try fewer --jobs, or --device cpu"


@pytest.mark.parametrize(("failure", "words"), OTHERS)
def test_other_failures_of_the_system_name_their_file_or_variable(failure, words):
    assert memory_shortage(failure) is None
    assert words in in_a_sentence(failure)


@pytest.mark.parametrize("words", ["No usable temporary directory found in ['/tmp']", "kein Verzeichnis"])
def test_without_a_folder_for_temporary_files_the_remedy_is_tmpdir_however_the_failure_is_worded(monkeypatch, words):
    def fail():
        raise FileNotFoundError(2, words)

    assert "TMPDIR" not in in_a_sentence(OSError(2, words))
    monkeypatch.setattr(tempfile, "gettempdir", fail)
    sentence = "no folder for temporary files can be written; set TMPDIR to a folder that can be written"
    assert in_a_sentence(OSError(2, words)) == sentence
