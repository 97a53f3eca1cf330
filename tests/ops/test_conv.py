"""What a caller of the convolution may count on, whichever backend runs."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.ops import causal_conv1d


def test_known_values(backend):
    x, weight = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[1.0, 10.0, 100.0]])
    causal = causal_conv1d(x, weight, backend=backend)
    assert_close(causal, torch.tensor([[[100.0, 210.0, 321.0]]]))
    centred = causal_conv1d(x, weight, symmetric=True, backend=backend)
    assert_close(centred, torch.tensor([[[210.0, 321.0, 32.0]]]))
    reverse = causal_conv1d(x, weight, torch.tensor([1.0]), reverse=True, backend=backend)
    assert_close(reverse, torch.tensor([[[124.0, 231.0, 301.0]]]))
    assert_close(causal_conv1d(x, weight, activation="silu", backend=backend), F.silu(causal))


@given(cut=st.integers(1, 39), width=st.integers(1, 7), reverse=st.booleans())
def test_nothing_ahead_is_seen(ladder, backend, cut, width, reverse):
    inputs = ladder.conv_inputs(length=40, width=width)
    seen, ahead = (slice(cut, None), slice(None, cut)) if reverse else (slice(None, cut), slice(cut, None))
    before = causal_conv1d(**inputs, reverse=reverse, backend=backend)
    inputs["x"][..., ahead] = torch.nan
    after = causal_conv1d(**inputs, reverse=reverse, backend=backend)
    assert_close(after[..., seen], before[..., seen])


@given(width=st.integers(1, 7), symmetric=st.booleans())
def test_reverse_is_flip_convolve_flip(ladder, backend, width, symmetric):
    inputs = ladder.conv_inputs(length=40, width=width)
    settings = {"activation": "silu", "symmetric": symmetric, "backend": backend}
    expected = causal_conv1d(**inputs | {"x": inputs["x"].flip(-1)}, **settings).flip(-1)
    assert_close(causal_conv1d(**inputs, reverse=True, **settings), expected)


@given(step=st.integers(0, 20))
def test_a_shifted_input_gives_a_shifted_output(ladder, backend, step):
    inputs = ladder.conv_inputs(length=40) | {"bias": None}
    shifted = F.pad(inputs["x"], (step, 0))[..., :40]
    expected = F.pad(causal_conv1d(**inputs, backend=backend), (step, 0))[..., :40]
    assert_close(causal_conv1d(**inputs | {"x": shifted}, backend=backend), expected)


def test_rows_of_a_batch_and_channels_are_independent(ladder, backend):
    inputs = ladder.conv_inputs(batch=3, channels=5)
    whole = causal_conv1d(**inputs, backend=backend)
    part = causal_conv1d(inputs["x"][1:2, 2:4], inputs["weight"][2:4], inputs["bias"][2:4], backend=backend)
    assert_close(part, whole[1:2, 2:4])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_convolved_in_float32(ladder, backend, dtype):
    inputs = {name: tensor.to(dtype).requires_grad_() for name, tensor in ladder.conv_inputs().items()}
    wide = {name: tensor.detach().float() for name, tensor in inputs.items()}
    y = causal_conv1d(**inputs, activation="silu", backend=backend)
    assert_close(y, causal_conv1d(**wide, activation="silu", backend=backend).to(dtype))
    y.sum().backward()
    assert all(tensor.grad.dtype == dtype and tensor.grad.isfinite().all() for tensor in inputs.values())


def test_an_empty_batch_has_an_empty_result(ladder, backend):
    inputs = {name: tensor.requires_grad_() for name, tensor in ladder.conv_inputs(batch=0).items()}
    y = causal_conv1d(**inputs, backend=backend)
    assert y.shape == (0, 3, 7)
    assert all(not gradient.any() for gradient in torch.autograd.grad(y.sum(), list(inputs.values())))


BAD = {
    "channels of weight": (lambda x: {"weight": x["weight"][:2]}, r"weight has channels=2 .*channels=3"),
    "bias": (lambda x: {"bias": x["bias"][:2]}, r"bias has channels=2"),
    "axes": (lambda x: {"x": x["x"][0]}, r"x must be \(batch, channels, length\), got shape \(3, 7\)"),
    "zero length": (lambda x: {"x": x["x"][..., :0]}, r"needs a length and a width above 0"),
    "zero width": (lambda x: {"weight": x["weight"][:, :0]}, r"needs a length and a width above 0"),
    "activation": (lambda x: {"activation": "relu"}, r"activation must be None or 'silu', got 'relu'"),
    "whole numbers": (lambda x: {"x": x["x"].long()}, r"must be real floating point, got .*torch.int64"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD.keys())
def test_refuses_what_does_not_fit(ladder, backend, spoil, message):
    inputs = ladder.conv_inputs()
    with pytest.raises(ValueError, match="causal_conv1d: .*" + message):
        causal_conv1d(**inputs | spoil(inputs), backend=backend)
