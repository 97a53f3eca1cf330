"""How tensors reach the extension, and with which instruction set and threads it runs."""

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
    """One OpenMP runtime in the process: a second pool would fight the first for the cores."""
    cpu.extension()
    with open("/proc/self/maps") as maps:
        paths = {line.split()[-1] for line in maps if "libgomp" in line or "libiomp" in line}
    ours = {path for path in paths if "scikit_learn" not in path}  # which brings one for itself
    assert len(ours) <= 1, ours
