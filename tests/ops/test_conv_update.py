"""The convolution of what comes next: piece by piece it is the whole, on every backend, instruction set and dtype."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.library import opcheck
from torch.testing import assert_close

from mamba_mender.ops import causal_conv1d, causal_conv1d_update, kernels

BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}


def draw(batch=2, channels=5, length=3, width=4, past=None, *, bias=True, dtype=torch.float32, seed=0):
    """Draw the arguments of a step; length=0 leaves the axis out."""
    random = torch.Generator().manual_seed(seed)
    shapes = {
        "x": (batch, channels, length) if length else (batch, channels),
        "conv_state": (batch, channels, width - 1 if past is None else past),
        "weight": (channels, width),
    }
    shapes |= {"bias": (channels,)} if bias else {}
    return {name: torch.randn(shape, generator=random).to(dtype) for name, shape in shapes.items()}


def ran(step, backend, activation="silu"):
    """Run a step on copies with the same strides; return the output and the new state."""
    state = step["conv_state"].clone(memory_format=torch.preserve_format)
    y = causal_conv1d_update(**step | {"conv_state": state}, activation=activation, backend=backend)
    return y, state


def relative(found, expected):
    return ((found.double() - expected.double()).norm() / (expected.double().norm() + 1e-30)).item()


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 5], [9], [2, 1, 3, 3]], ids=str)
def test_pieces_are_the_whole(ladder, kernel, width, pieces, dtype):
    for channels, bias, activation, spare in [(1, True, "silu", 0), (33, False, None, 1), (64, True, "silu", 5)]:
        inputs = {name: t.to(dtype) for name, t in ladder.conv_inputs(2, channels, 9, width, bias=bias).items()}
        double = {name: tensor.double() for name, tensor in inputs.items()}
        expected = causal_conv1d(**double, activation=activation, backend="reference")
        state, found = torch.zeros(2, channels, width - 1 + spare, dtype=dtype), []
        for x in inputs["x"].split(pieces, dim=-1):
            found.append(
                causal_conv1d_update(x, state, inputs["weight"], inputs.get("bias"), activation, backend=kernel)
            )
        assert {out.dtype for out in found} == {dtype}
        assert relative(torch.cat(found, -1), expected) < BOUNDS[dtype]
        seen = torch.cat([torch.zeros(2, channels, width - 1 + spare, dtype=dtype), inputs["x"]], -1)
        assert torch.equal(state, seen[..., seen.shape[-1] - state.shape[-1] :])


def test_agrees_with_the_reference(kernel):
    for channels, length, width, spare in itertools.product((1, 7, 70), (0, 1, 2, 11), (1, 4, 5), (0, 1, 4)):
        step = draw(2, channels, length, width, width - 1 + spare, dtype=torch.float64)
        assert_close(ran(step, kernel), ran(step, "reference"), rtol=1e-12, atol=1e-12)


def test_one_step_may_leave_its_axis_out(backend):
    step = draw(length=1)
    short = step | {"x": step["x"][..., 0]}
    (y, state), (short_y, short_state) = ran(step, backend), ran(short, backend)
    assert short_y.shape == (2, 5)
    assert torch.equal(y[..., 0], short_y)
    assert torch.equal(state, short_state)


def test_a_step_made_by_hand(backend):
    state = torch.tensor([[[5.0, 1.0, 2.0]]])
    y = causal_conv1d_update(
        torch.tensor([[3.0]]), state, torch.tensor([[1.0, 10.0, 100.0]]), torch.tensor([1000.0]), backend=backend
    )
    assert_close(y, torch.tensor([[1321.0]]))
    assert torch.equal(state, torch.tensor([[[1.0, 2.0, 3.0]]]))


def test_each_tensor_may_have_a_dtype_of_its_own(kernel):
    for x, state, weight in itertools.product(BOUNDS, repeat=3):
        step = draw(channels=37, past=4)
        step |= {"x": step["x"].to(x), "conv_state": step["conv_state"].to(state), "weight": step["weight"].to(weight)}
        (y, after), (right, right_after) = ran(step, kernel), ran(step, "reference")
        assert (y.dtype, after.dtype) == (x, state)
        assert relative(y, right) < BOUNDS[x if x.itemsize < 8 else torch.promote_types(state, torch.float32)] * 2
        assert torch.equal(after, right_after)


@pytest.mark.parametrize("length", [0, 1, 6])
@pytest.mark.parametrize("name", ["x", "conv_state", "weight", "bias"])
def test_takes_views_of_any_strides(kernel, name, length):
    step = draw(3, 18, length, dtype=torch.float64)
    dense = ran(step, "reference")
    wide = torch.full([2 * size for size in step[name].shape], torch.nan, dtype=torch.float64)
    view = wide[tuple(slice(None, None, 2) for _ in step[name].shape)].copy_(step[name])
    step[name] = view
    y = causal_conv1d_update(**step, activation="silu", backend=kernel)
    assert_close((y, step["conv_state"]), dense, rtol=1e-12, atol=1e-12)
    assert wide.isnan().sum() == wide.numel() - view.numel()  # what lies between is left alone


def test_x_and_the_state_may_be_channel_last(kernel):
    step = draw(2, 37, 5, dtype=torch.float64)
    dense = ran(step, "reference")
    step |= {name: step[name].mT.contiguous().mT for name in ("x", "conv_state")}
    assert_close(ran(step, kernel), dense, rtol=1e-12, atol=1e-12)


def test_only_the_state_is_changed_and_autograd_is_told(backend):
    step = draw()
    before, version = {name: tensor.clone() for name, tensor in step.items()}, step["conv_state"]._version
    causal_conv1d_update(**step, backend=backend)
    assert step["conv_state"]._version > version
    assert not torch.equal(step["conv_state"], before.pop("conv_state"))
    assert all(torch.equal(step[name], tensor) for name, tensor in before.items())


@given(batch=st.integers(1, 4), channels=st.integers(1, 70), length=st.integers(0, 5))
def test_rows_and_channels_are_independent(backend, batch, channels, length):
    step = draw(batch, channels, length)
    whole, after = ran(step, backend)
    rows, part = slice(batch // 2, batch), slice(channels // 2, channels)
    cut = {name: tensor[part] if name in ("weight", "bias") else tensor[rows, part] for name, tensor in step.items()}
    assert_close(ran(cut, backend), (whole[rows, part], after[rows, part]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["x", "conv_state", "weight", "bias"])
@pytest.mark.parametrize("length", [0, 6])
def test_nan_and_infinity_come_out_where_they_come_out_of_the_reference(kernel, name, value, length):
    step = draw(2, 37, length)
    step[name].view(-1)[step[name].numel() // 2] = value
    (y, state), (right, right_state) = ran(step, kernel, None), ran(step, "reference", None)
    assert not right.isfinite().all()
    assert_close(y, right, equal_nan=True)
    assert_close(state, right_state, rtol=0, atol=0, equal_nan=True)


def test_the_number_of_threads_changes_no_bit(ladder, kernel):
    step = draw(3, 1000, 16)
    found = ladder.by_threads(lambda: ran(step, kernel))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_an_empty_batch_has_an_empty_result(backend):
    y, _ = ran(draw(batch=0), backend)
    assert y.shape == (0, 5, 3)


WRONG = {
    "the weights are off by a thousandth": lambda run: lambda x, s, weight, *rest: run(x, s, weight * 1.001, *rest),
    "the bias is ignored": lambda run: lambda x, s, weight, bias, silu: run(x, s, weight, None, silu),
    "the state is ignored": lambda run: lambda x, s, *rest: run(x, s.zero_(), *rest),
    "the state stays": lambda run: lambda x, s, *rest: run(x, s.clone(), *rest),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_caught(ladder, monkeypatch, name):
    monkeypatch.setitem(kernels.CONV_UPDATE, "cpu", WRONG[name](kernels.CONV_UPDATE["cpu"]))
    with pytest.raises(AssertionError):
        test_pieces_are_the_whole(ladder, "cpu", 4, [4, 5], torch.float32)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("length", [0, 3])
def test_opcheck(bias, length):
    step = draw(length=length, bias=bias)
    opcheck(torch.ops.mamba_mender.conv_update.default, (*step.values(), *([] if bias else [None]), True))


def test_compiles_whole():
    def surrounded(x, conv_state, weight, bias):
        return causal_conv1d_update(x.sin(), conv_state, weight, bias, "silu") * 2

    torch.compiler.reset()
    step = draw(length=0)
    mine, theirs = (step | {"conv_state": step["conv_state"].clone()} for _ in range(2))
    whole = torch.compile(surrounded, fullgraph=True, backend="aot_eager")
    assert_close(whole(**mine), surrounded(**theirs))
    assert_close(mine["conv_state"], theirs["conv_state"])
    assert not torch.equal(mine["conv_state"], step["conv_state"])


BAD = {
    "channels": (lambda s: {"weight": s["weight"][:2]}, r"weight has channels=2 .*channels=5"),
    "bias": (lambda s: {"bias": s["bias"][:2]}, r"bias has channels=2"),
    "axes": (lambda s: {"x": s["x"][0, 0]}, r"x must be \(batch, channels, length\), got shape \(3,\)"),
    "batch": (lambda s: {"conv_state": s["conv_state"][:1]}, r"conv_state has batch=1"),
    "short state": (lambda s: {"conv_state": s["conv_state"][..., 1:]}, r"state_len=2, but a width of 4 needs at .* 3"),
    "shared state": (lambda s: {"conv_state": s["conv_state"][:1].expand(2, 5, 3)}, r"its elements share memory"),
    "zero length": (lambda s: {"x": s["x"][..., :0]}, r"needs a length and a width above 0"),
    "zero width": (lambda s: {"weight": s["weight"][:, :0]}, r"needs a length and a width above 0"),
    "activation": (lambda s: {"activation": "relu"}, r"activation must be None or 'silu', got 'relu'"),
    "quarters": (
        lambda s: {"x": s["x"].to(torch.float8_e5m2)},
        r"tensors must be float32, float64, bfloat16 or float16, got \['torch.float8_e5m2'\]; cast them",
    ),
    "whole numbers": (lambda s: {"x": s["x"].long()}, r"must be real floating point, got .*torch.int64"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD.keys())
def test_refuses_what_does_not_fit_also_after_what_did(backend, spoil, message):
    step = draw()
    causal_conv1d_update(**step, backend=backend)
    before = step["conv_state"].clone()
    with pytest.raises(ValueError, match="causal_conv1d_update: .*" + message):
        causal_conv1d_update(**step | spoil(step), backend=backend)
    assert torch.equal(step["conv_state"], before)


def test_has_no_gradient_and_says_so(backend):
    step = draw()
    step["weight"].requires_grad_()
    with pytest.raises(RuntimeError, match=r"causal_conv1d_update: has no gradient, .* torch.no_grad\(\)"):
        causal_conv1d_update(**step, backend=backend)
    with torch.no_grad():
        assert not causal_conv1d_update(**step, backend=backend).requires_grad
