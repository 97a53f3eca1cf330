"""What each kind of fault makes of the entries it hits."""

from typing import Any

import torch
from torch import Tensor

# Where the exponent lies in a float: its lowest bit and its number of bits; the mantissa is below it, the sign above.
EXPONENTS = {torch.float64: (52, 11), torch.float32: (23, 8), torch.float16: (10, 5), torch.bfloat16: (7, 8)}
BITS = ("any", "sign", "exponent", "mantissa")
WHOLES = {8: torch.int64, 4: torch.int32, 2: torch.int16}


def bit_range(dtype: torch.dtype, bits: str) -> tuple[int, int]:
    """Tell which bits of a dtype are meant, from the first to the one after the last.

    Raises:
        ValueError: the dtype is not a float that is known here.

    Example:
        >>> bit_range(torch.float32, "exponent"), bit_range(torch.bfloat16, "any")
        ((23, 31), (0, 16))
    """
    if dtype not in EXPONENTS:
        raise ValueError(f"state_fault: the state is {dtype}; bits are flipped in {[str(d) for d in EXPONENTS]}.")
    low, count = EXPONENTS[dtype]
    high = low + count
    return {"any": (0, high + 1), "sign": (high, high + 1), "exponent": (low, high), "mantissa": (0, low)}[bits]


def flip_bit(value: Tensor, bit: Tensor) -> Tensor:
    """Flip one bit of each number, as a fault of the memory does; NaN and infinity may come out.

    The gradient is that of the map with this bit flipped, where that is finite: -1 times it for the sign, 2 to some
    power for the exponent, 1 for the mantissa; otherwise 0.

    Args:
        value: floats, any shape.
        bit: number of the bit, 0 for the last of the mantissa, int64, same shape.

    Example:
        >>> flip_bit(torch.tensor([1.0, 1.0]), torch.tensor([31, 23])).tolist()
        [-1.0, 0.5]
    """
    return _FlipBit.apply(value, bit)  # pyright: ignore[reportReturnType]


class _FlipBit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, bit: Tensor) -> Tensor:
        whole = WHOLES[value.dtype.itemsize]
        flipped = (value.contiguous().view(whole) ^ torch.ones_like(bit, dtype=whole) << bit.to(whole)).view(
            value.dtype
        )
        slope = torch.where(bit < EXPONENTS[value.dtype][0], 1.0, flipped.double() / value.double()).to(value.dtype)
        ctx.save_for_backward(torch.where(flipped.isfinite() & slope.isfinite(), slope, 0.0))
        return flipped

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None


def draw_amounts(kind: str, bits: str, dtype: torch.dtype, count: int, draws: torch.Generator) -> Tensor:
    """Draw what a kind of fault needs for each hit entry: a bit, a normal number, or nothing, (count)."""
    if kind == "bit_flip":
        return torch.randint(*bit_range(dtype, bits), (count,), generator=draws)
    return torch.randn(count, generator=draws) if kind == "gaussian" else torch.empty(count)


def disturb(value: Tensor, hit: Tensor, amounts: Tensor, *, kind: str, held: float = 0.0, sigma: float = 1.0) -> Tensor:
    """Put a fault on the entries that are hit; the others stay bit for bit.

    Args:
        value: a state, (batch, ...).
        hit: which entries, bool, same shape.
        amounts: what :func:`draw_amounts` drew for the hit entries, row by row.
        kind: "bit_flip", "nan", "inf", "stuck", "zero" or "gaussian".
        held: what "stuck" entries are held at.
        sigma: size of "gaussian", in standard deviations of the sample's own state.

    Example:
        >>> disturb(torch.ones(1, 2), torch.tensor([[True, False]]), torch.empty(1), kind="zero").tolist()
        [[0.0, 1.0]]
    """
    selected = value[hit]
    constants = {"nan": float("nan"), "inf": float("inf"), "zero": 0.0, "stuck": held}
    if kind in constants:
        changed = torch.full_like(selected, constants[kind])
    elif kind == "bit_flip":
        changed = flip_bit(selected, amounts)
    else:
        flat = value.detach().flatten(1).to(torch.promote_types(value.dtype, torch.float32))
        scale = flat.std(1, correction=0).reshape(-1, *[1] * (value.dim() - 1)).expand(value.shape)[hit]
        changed = selected + (sigma * amounts.to(scale) * scale).to(value.dtype)
    return value.masked_scatter(hit, changed)
