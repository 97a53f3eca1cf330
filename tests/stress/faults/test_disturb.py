"""Flipped bits against Python's own view of a float; what is not hit stays bit for bit."""

import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.stress.faults.disturb import BITS, EXPONENTS, WHOLES, bit_range, disturb, draw_amounts, flip_bit
from mamba_mender.stress.faults.state_fault import KINDS

DTYPES = list(EXPONENTS)


def bits_of(values):
    """The bits of each number as a Python whole number."""
    size = values.dtype.itemsize
    return [n % (1 << 8 * size) for n in values.view(WHOLES[size]).tolist()]


@given(st.floats(width=32), st.integers(0, 31))
def test_is_the_flip_that_python_makes(number, bit):
    (whole,) = struct.unpack("<I", struct.pack("<f", number))
    expected = struct.pack("<I", whole ^ (1 << bit))
    found = flip_bit(torch.tensor([number]), torch.tensor([bit]))
    assert bits_of(found) == [struct.unpack("<I", expected)[0]]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_exactly_one_bit_of_the_named_ones_flips(dtype, bits):
    value = torch.randn(4000).to(dtype)
    value[:3] = torch.tensor([0.0, -0.0, 1e-42])
    drawn = draw_amounts("bit_flip", bits, dtype, len(value), torch.Generator().manual_seed(0))
    flipped = flip_bit(value, drawn)
    changed = [a ^ b for a, b in zip(bits_of(value), bits_of(flipped), strict=True)]
    assert {n.bit_count() for n in changed} == {1}
    assert {n.bit_length() - 1 for n in changed} == set(range(*bit_range(dtype, bits)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_parts_of_a_float_are_where_they_should_be(dtype):
    def flipped(value, bits, i):
        low, high = bit_range(dtype, bits)
        return flip_bit(torch.tensor([value], dtype=dtype), torch.tensor([range(low, high)[i]])).item()

    assert flipped(1.5, "sign", 0) == -1.5
    assert flipped(1.0, "exponent", 0) == 0.5
    assert flipped(1.0, "exponent", -1) == float("inf")
    assert flipped(1.0, "mantissa", -1) == 1.5
    assert bit_range(dtype, "any") == (0, 8 * dtype.itemsize)


def test_the_gradient_is_that_of_the_flipped_number():
    value = torch.tensor([1.5, 1.5, 1.5, 1.5, 0.0], dtype=torch.float64, requires_grad=True)
    bit = torch.tensor([63, 52, 51, 62, 60])  # the last two come out as 1.5 * 2^-1024, beyond float64, and from nought
    (grad,) = torch.autograd.grad(flip_bit(value, bit).sum(), value)
    assert grad.tolist() == [-1.0, 0.5, 1.0, 0.0, 0.0]
    plain = torch.tensor([1.5, 1.3, 1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: flip_bit(v, bit[:3]), plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_hit_stays_and_what_is_hit_is_as_said(kind, dtype):
    value, hit = torch.randn(3, 5, 4).to(dtype), torch.rand(3, 5, 4) < 0.3
    amounts = draw_amounts(kind, "any", dtype, int(hit.sum()), torch.Generator().manual_seed(0))
    changed = disturb(value, hit, amounts, kind=kind, held=1.25)
    assert changed.dtype == dtype
    assert torch.equal(changed[~hit], value[~hit])
    constants = {"nan": float("nan"), "inf": float("inf"), "zero": 0.0, "stuck": 1.25}
    if kind in constants:
        torch.testing.assert_close(changed[hit], torch.full_like(value[hit], constants[kind]), equal_nan=True)
    else:
        assert bits_of(changed[hit]) != bits_of(value[hit])


def test_gaussian_is_in_units_of_each_sample():
    value = torch.randn(2, 200, 50) * torch.tensor([1.0, 100.0])[:, None, None]
    hit = torch.ones_like(value, dtype=torch.bool)
    amounts = draw_amounts("gaussian", "any", torch.float32, hit.sum(), torch.Generator().manual_seed(0))
    added = disturb(value, hit, amounts, kind="gaussian", sigma=0.5) - value
    assert added[0].std().item() == pytest.approx(0.5, rel=0.03)
    assert added[1].std().item() == pytest.approx(50, rel=0.03)
    assert torch.equal(disturb(value, hit, amounts, kind="gaussian", sigma=0.0), value)


@pytest.mark.parametrize(
    ("kind", "at_hit"), [("nan", 0.0), ("inf", 0.0), ("zero", 0.0), ("stuck", 0.0), ("gaussian", 1.0)]
)
def test_gradients_pass_where_nothing_is_hit_and_through_noise(kind, at_hit):
    value = torch.randn(2, 4, 3, requires_grad=True)
    hit = torch.rand(2, 4, 3) < 0.5
    amounts = draw_amounts(kind, "any", value.dtype, int(hit.sum()), torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(disturb(value, hit, amounts, kind=kind).nan_to_num(0, 0, 0).sum(), value)
    assert torch.equal(grad, torch.where(hit, at_hit, 1.0))


def test_refuses_a_state_that_is_no_float():
    with pytest.raises(ValueError, match=r"state is torch.int32; bits are flipped in \['torch.float64'"):
        bit_range(torch.int32, "any")
