"""What a caller of the scan may count on, whichever backend runs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.ops import selective_scan

SEQUENCES = ("u", "delta", "B", "C", "z")


def scan(inputs, backend, **settings):
    return selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend, **settings)


def test_known_values(backend):
    one = torch.ones(1, 1, 3, dtype=torch.float64)
    A = torch.log(torch.tensor([[0.5]], dtype=torch.float64))
    y, last = selective_scan(one, one, A, one, one, return_last_state=True, backend=backend)
    assert_close(y, torch.tensor([[[1.0, 1.5, 1.75]]], dtype=torch.float64))
    assert_close(last, torch.tensor([[[1.75]]], dtype=torch.float64))
    y = selective_scan(one, one, A, one, one, D=2 * one[0, 0, :1], z=0 * one, backend=backend)
    assert_close(y, 0 * one)


def test_returns_y_alone_unless_asked(backend, ladder):
    inputs = ladder.scan_inputs()
    y, _ = scan(inputs, backend)
    assert_close(selective_scan(**inputs, delta_softplus=True, backend=backend), y)


def test_y_comes_channel_last_from_the_kernel(ladder):
    y, _ = scan(ladder.scan_inputs(layout="channel-first"), "cpu")
    assert y.mT.is_contiguous()


@given(cut=st.integers(1, 69), constant=st.sampled_from(["", "B", "BC"]), reverse=st.booleans())
def test_two_halves_make_a_whole(ladder, backend, cut, constant, reverse):
    inputs = ladder.scan_inputs(length=70, constant=constant)
    whole, last = scan(inputs, backend, reverse=reverse)
    parts, order = [slice(None, cut), slice(cut, None)], [1, 0] if reverse else [0, 1]
    ys, state = [None, None], inputs["initial_state"]
    for i in order:
        piece = {name: t[..., parts[i]] if name in SEQUENCES and t.dim() > 2 else t for name, t in inputs.items()}
        ys[i], state = scan(piece | {"initial_state": state}, backend, reverse=reverse)
    assert_close(torch.cat(ys, dim=-1), whole)
    assert_close(state, last)


@given(cut=st.integers(1, 39), name=st.sampled_from(SEQUENCES), reverse=st.booleans())
def test_nothing_ahead_is_seen(ladder, backend, cut, name, reverse):
    inputs = ladder.scan_inputs(length=40)
    seen, ahead = (slice(cut, None), slice(None, cut)) if reverse else (slice(None, cut), slice(cut, None))
    before, _ = scan(inputs, backend, reverse=reverse)
    inputs[name][..., ahead] = torch.nan
    after, _ = scan(inputs, backend, reverse=reverse)
    assert torch.equal(after[..., seen], before[..., seen])


@given(row=st.integers(0, 2))
def test_rows_of_a_batch_are_independent(ladder, backend, row):
    inputs = ladder.scan_inputs(batch=3)
    whole = scan(inputs, backend)
    shared = ("A", "D", "delta_bias")
    alone = scan({name: t if name in shared else t[row : row + 1] for name, t in inputs.items()}, backend)
    for found, expected in zip(alone, whole, strict=True):
        assert_close(found, expected[row : row + 1])


@given(constant=st.sampled_from(["", "B", "C"]), length=st.sampled_from([1, 32, 45]))
def test_reverse_is_flip_scan_flip(ladder, backend, constant, length):
    inputs = ladder.scan_inputs(length=length, constant=constant)
    flipped = {name: t.flip(-1) if name in SEQUENCES and t.dim() > 2 else t for name, t in inputs.items()}
    y, last = scan(flipped, backend)
    assert_close(scan(inputs, backend, reverse=True), (y.flip(-1), last))


@given(groups=st.sampled_from([1, 2, 3, 6]))
def test_groups_are_repeated_matrices(ladder, backend, groups):
    inputs = ladder.scan_inputs(channels=6, groups=groups)
    repeated = {name: inputs[name].repeat_interleave(6 // groups, dim=1) for name in ("B", "C")}
    assert_close(scan(inputs | repeated, backend), scan(inputs, backend))


def test_a_constant_matrix_is_one_that_does_not_change(ladder, backend):
    inputs = ladder.scan_inputs(channels=3, constant="BC")
    spread = {name: inputs[name][None, :, :, None].expand(2, 3, 4, 7) for name in ("B", "C")}
    assert_close(scan(inputs | spread, backend), scan(inputs, backend))


@given(scale=st.floats(-3, 3))
def test_is_linear_in_u_and_the_initial_state(ladder, backend, scale):
    one, other = ladder.scan_inputs(seed=0), ladder.scan_inputs(seed=1)
    mixed = one | {name: one[name] + scale * other[name] for name in ("u", "initial_state")}
    other = one | {name: other[name] for name in ("u", "initial_state")}
    for found, left, right in zip(scan(mixed, backend), scan(one, backend), scan(other, backend), strict=True):
        assert_close(found, left + scale * right)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_scanned_in_float32(ladder, backend, dtype):
    inputs = {name: tensor.to(dtype).requires_grad_() for name, tensor in ladder.scan_inputs(length=40).items()}
    wide = {name: tensor.detach().float().requires_grad_() for name, tensor in inputs.items()}
    (y, last), (expected, expected_last) = scan(inputs, backend), scan(wide, backend)
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    assert_close(y, expected.to(dtype))
    assert_close(last, expected_last)
    y.sum().backward()
    expected.sum().backward()
    for name, tensor in inputs.items():
        assert tensor.grad.dtype == dtype
        assert_close(tensor.grad, wide[name].grad.to(dtype), msg=name)


def test_parameters_in_float32_beside_an_input_in_bfloat16(ladder, backend):
    inputs = {name: tensor.float() for name, tensor in ladder.scan_inputs().items()}
    mixed = inputs | {name: inputs[name].bfloat16() for name in SEQUENCES}
    y, last = scan(mixed, backend)
    assert (y.dtype, last.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize(("batch", "channels"), [(0, 3), (2, 0)])
def test_empty_batches_have_empty_results(ladder, backend, batch, channels):
    inputs = ladder.scan_inputs(batch, channels)
    y, last = scan({name: tensor.requires_grad_() for name, tensor in inputs.items()}, backend)
    assert (y.shape, last.shape) == ((batch, channels, 7), (batch, channels, 4))
    gradients = torch.autograd.grad(y.sum() + last.sum(), list(inputs.values()))
    assert all(not gradient.any() for gradient in gradients)


BAD = {
    "length of B": (lambda x: {"B": x["B"][..., :6]}, r"B has length=6 in shape \(2, 1, 4, 6\).*length=7"),
    "state of C": (lambda x: {"C": x["C"][:, :, :3]}, r"C has state=3 .*state=4"),
    "channels of A": (lambda x: {"A": x["A"][:2]}, r"A has channels=2 .*channels=3"),
    "channels of D": (lambda x: {"D": x["D"][:2]}, r"D has channels=2"),
    "batch of z": (lambda x: {"z": x["z"][:1]}, r"z has batch=1"),
    "axes of u": (lambda x: {"u": x["u"][0]}, r"u must be \(batch, channels, length\), got shape \(3, 7\)"),
    "initial state": (lambda x: {"initial_state": x["initial_state"].mT}, r"initial_state has channels=4"),
    "groups": (lambda x: {"B": x["B"].expand(2, 2, 4, 7)}, r"B has 2 groups, but they must divide the 3 channels"),
    "zero length": (
        lambda x: {name: x[name][..., :0] for name in SEQUENCES},
        r"length is 0, there is nothing to scan",
    ),
    "complex A": (lambda x: {"A": x["A"] * 1j}, r"A is torch.complex128, but only a real A is supported"),
    "complex u": (lambda x: {"u": x["u"] * 1j}, r"must be real floating point, got .*torch.complex128"),
    "numbers of eight bits": (
        lambda x: {"u": x["u"].to(torch.float8_e4m3fn)},
        r"must be float32, float64, bfloat16 or float16, got .*float8_e4m3fn.*; cast them",
    ),
    "whole numbers": (lambda x: {"u": x["u"].long()}, r"must be real floating point, got .*torch.int64"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD.keys())
def test_refuses_what_does_not_fit(ladder, backend, spoil, message):
    inputs = ladder.scan_inputs()
    with pytest.raises(ValueError, match="selective_scan: .*" + message):
        scan(inputs | spoil(inputs), backend)
