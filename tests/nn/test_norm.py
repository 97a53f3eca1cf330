import pytest
import torch
from torch.testing import assert_close

from mamba_mender.nn import RMSNorm


def test_known_values():
    norm = RMSNorm(2, eps=0.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 10.0]))
    assert_close(norm(torch.tensor([[3.0, 4.0]])), torch.tensor([[3.0, 40.0]]) / 12.5**0.5)


def test_stays_exact_in_double():
    x = torch.randn(3, 8, dtype=torch.float64)
    assert_close(RMSNorm(8).double()(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt(), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_float32_for_half_precision(dtype):
    norm = RMSNorm(4).to(dtype)
    out = norm(torch.full((1, 4), 300.0, dtype=dtype))  # its square is beyond float16
    assert out.dtype == dtype
    assert_close(out.float(), torch.ones(1, 4))


def test_a_float32_stream_enters_a_half_precision_layer():
    assert RMSNorm(4).half()(torch.ones(1, 4)).dtype == torch.float16


def test_gradients_to_second_order():
    norm = RMSNorm(3).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(norm, x)
    torch.autograd.gradgradcheck(norm, x)
