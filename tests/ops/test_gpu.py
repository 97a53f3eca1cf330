"""What Triton's compiler makes of the kernels, which its interpreter cannot tell; it needs no GPU."""

import json
import subprocess
import sys

import pytest

from mamba_mender.ops import gpu

COMPILE = """
import json, sys
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from mamba_mender.ops import gpu, gpu_scan

class Driver:
    get_current_device = get_current_stream = staticmethod(lambda *_: 0)
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 90, 32))

def compile_only(name, programs, arguments, tile):
    kernel = getattr(gpu.kernels(), name)
    compiled = kernel.warmup(*arguments, *tile, grid=(programs,), num_warps=gpu.warps(tile), enable_fp_fusion=True)
    found.append((name, len(compiled.asm["cubin"])))

driver.set_active(Driver())
gpu.launch, found = compile_only, []
torch.manual_seed(0)
dtype, groups, constant, optional, orders, rows = json.loads(sys.argv[1])
make = lambda *shape: torch.ones(shape, dtype=getattr(torch, dtype), requires_grad=True)
B = make(64, 16) if constant else make(2, groups, 16, 36)
channels = 64 if len(orders) == 1 else 64 // groups
inputs = [make(2, channels, 36), make(2, 64, 36), make(64, 16), B, B]
z = optional and len(orders) == 1
inputs += [make(64), make(2, 64, 36) if z else None, make(64), make(2, 64, 16)] if optional else [None] * 4
y, last = gpu_scan.OPS.run(tuple(inputs), optional, orders, rows)
given = [t for t in inputs if t is not None]
first = torch.autograd.grad(y.sum() + last.sum(), given, create_graph=True)
torch.autograd.grad(sum(t.sum() for t in first), given)
print(json.dumps(found))
"""
CASES = {
    "float32": ("float32", 1, False, True, [0], 1),
    "bfloat16, constant matrices, nothing optional": ("bfloat16", 1, True, False, [1], 1),
    "float16, a grid in four orders": ("float16", 4, False, True, [0, 1, 2, 3], 6),
    "float64": ("float64", 2, False, True, [0], 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_kernels_compile_for_a_gpu(triton_device, case, tmp_path, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", COMPILE, json.dumps(case)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    compiled = json.loads(ran.stdout)
    assert [name for name, _ in compiled] == ["scan_forward", "scan_backward"] * 2
    assert all(size > 1000 for _, size in compiled)


def test_a_tile_is_as_wide_as_it_need_be():
    assert gpu.tile_shape(1, 1) == (1, 1)
    assert gpu.tile_shape(33, 17) == (32, 32)
    assert gpu.tile_shape(5, 0) == (8, 1)
    assert [gpu.warps(tile) for tile in ((1, 1), (32, 16), (32, 64), (32, 4096))] == [1, 1, 4, 16]


@pytest.mark.parametrize(("value", "told"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_knows_whether_triton_interprets(monkeypatch, value, told):
    monkeypatch.setenv("TRITON_INTERPRET", value)
    assert gpu.is_interpreted() == told
