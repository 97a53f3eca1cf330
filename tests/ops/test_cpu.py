"""How tensors reach the extension, and with which instruction set and threads it runs."""

import subprocess
import sys

import pytest
import torch

from mamba_mender.ops import cpu, scan_memory


def test_an_instruction_set_is_forced_and_put_back():
    best = cpu.instruction_set()
    with cpu.force_instruction_set("baseline"):
        assert cpu.instruction_set() == "baseline"
        with pytest.raises(KeyError), cpu.force_instruction_set(best):
            raise KeyError
        assert cpu.instruction_set() == "baseline"
    assert cpu.instruction_set() == best


def test_a_missing_instruction_set_is_refused():
    message = r"'neon512' cannot run here; there are \[.*'baseline'\]"
    with pytest.raises(RuntimeError, match=message), cpu.force_instruction_set("neon512"):
        pass


def test_what_the_processor_lacks_is_named(monkeypatch):
    assert sorted([*cpu.instruction_sets(), *cpu.lacking_instruction_sets()]) == sorted(cpu.KNOWN)
    monkeypatch.setattr(cpu, "instruction_sets", lambda: ["baseline"])
    assert cpu.lacking_instruction_sets() == ["avx512", "avx2"]


def test_small_work_stays_on_one_thread():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert (cpu.threads_for(100), cpu.threads_for(1_000_000)) == (1, 3)
    finally:
        torch.set_num_threads(before)


def test_addresses_are_the_tensors_own():
    tensor = torch.zeros(2, 3, 4).mT
    assert cpu.address(tensor) == (tensor.data_ptr(), 12, 4, 1, 4, 0)
    assert cpu.address(tensor, groups=2) == (tensor.data_ptr(), 12, 2, 1, 4, 0)
    assert cpu.address(tensor.bfloat16(), groups=2, shared=True)[1:] == (12, 0, 1, 4, 1)
    output = cpu.channel_last(tensor, 2, 3, 4, dtype=torch.float16)
    assert cpu.output_address(output) == (output.data_ptr(), 12, 3, 3, 2)


def test_python_and_the_extension_agree_on_the_chunk():
    assert cpu.extension().CHUNK == scan_memory.CHUNK


def test_the_extension_shares_torchs_threads():
    """One OpenMP runtime in a process that holds torch and us: a second pool would fight the first for the cores.

    In a process of its own: what other tests import (scikit-learn, pandas' relatives) brings runtimes too.
    """
    code = """
from mamba_mender.ops import cpu
cpu.extension()
print(*{line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line or "libiomp" in line})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) <= 1, done.stdout
