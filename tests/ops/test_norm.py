import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender.ops import norm as module
from mamba_mender.ops.norm import rms_norm


@pytest.fixture
def calls(monkeypatch):
    """Count the rows that go to the kernel, where it is built."""
    seen = []
    monkeypatch.setattr(module, "BUILT", True)
    monkeypatch.setattr(
        module, "norm_forward", lambda x, w, eps: seen.append(x.shape) or F.rms_norm(x, w.shape, w, eps)
    )
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_go_to_the_kernel(calls, dtype):
    x, weight = torch.randn(2, 3, 5, dtype=dtype), torch.randn(5, dtype=dtype)
    assert_close(rms_norm(x, weight, 1e-5), weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    assert calls == [x.shape]


def test_half_precision_does_not(calls):
    assert rms_norm(torch.randn(3, 5).half(), torch.ones(5).half(), 1e-5).dtype == torch.float16
    assert calls == []


def test_a_compiled_graph_keeps_torchs_own(calls):
    torch.compiler.reset()
    x, weight = torch.randn(3, 5), torch.randn(5)
    found = torch.compile(rms_norm, fullgraph=True, backend="eager")(x, weight, 1e-5)
    assert_close(found, F.rms_norm(x, (5,), weight, 1e-5))
    assert calls == []


def test_without_the_kernel_nothing_goes_there(calls, monkeypatch):
    monkeypatch.setattr(module, "BUILT", False)
    rms_norm(torch.randn(3, 5), torch.ones(5), 1e-5)
    assert calls == []
