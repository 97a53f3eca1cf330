"""The recurrence that the reference is made of, against a loop that autograd differentiates itself."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.ops import linear_scan


def loop(a, b, initial=None):
    h, steps = torch.zeros_like(b[..., 0]) if initial is None else initial, []
    for factor, term in zip(a.unbind(-1), b.unbind(-1), strict=True):
        h = factor * h + term
        steps.append(h)
    return torch.stack(steps, dim=-1)


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(1,), (5,), (2, 3, 4)], ids=str)
def test_agrees_with_a_loop_to_third_order(ladder, shape):
    inputs = {"a": draw(*shape), "b": draw(*shape), "initial": draw(*shape[:-1])}
    found, expected = (ladder.derivatives(op, inputs, order=3) for op in (linear_scan, loop))
    ladder.assert_agree(found, expected, (1e-13, 1e-13, 1e-13))


def test_gradcheck_to_second_order():
    tensors = tuple(t.requires_grad_() for t in (draw(2, 4), draw(2, 4), draw(2)))
    assert torch.autograd.gradcheck(linear_scan, tensors)
    assert torch.autograd.gradgradcheck(linear_scan, tensors)


def test_starts_from_zero_if_not_told():
    a, b = draw(2, 4), draw(2, 4)
    assert_close(linear_scan(a, b), linear_scan(a, b, torch.zeros(2, dtype=torch.float64)))


@given(cut=st.integers(1, 8))
def test_two_halves_make_a_whole(cut):
    a, b = draw(3, 9), draw(3, 9)
    left = linear_scan(a[:, :cut], b[:, :cut])
    right = linear_scan(a[:, cut:], b[:, cut:], left[:, -1])
    assert_close(torch.cat([left, right], dim=1), linear_scan(a, b))


def test_complex_numbers_turn():
    a = torch.full((4,), 1j, dtype=torch.complex128)
    h = linear_scan(a, torch.zeros_like(a), torch.tensor(1 + 0j, dtype=torch.complex128))
    assert_close(h, torch.tensor([1j, -1, -1j, 1], dtype=torch.complex128))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 4), (2, 3)), r"a and b must have one shape, got \(2, 4\) and \(2, 3\)"),
        (((2, 0), (2, 0)), r"needs a last axis of at least one step, got shape \(2, 0\)"),
        (((), ()), r"needs a last axis"),
        (((2, 4), (2, 4), (3,)), r"initial has axis0=3"),
    ],
)
def test_refuses_what_does_not_fit(shapes, message):
    with pytest.raises(ValueError, match="linear_scan: .*" + message):
        linear_scan(*(torch.zeros(shape) for shape in shapes))
