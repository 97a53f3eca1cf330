"""Dual numbers in Triton: pairs of a value and a slope, so that one kernel serves two orders of derivative.

A slope of None is known to be zero when the kernel is compiled, and costs nothing.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def plus(x, y):
    """Add two duals."""
    value = x[0] + y[0]
    if x[1] is None:
        return value, y[1]
    elif y[1] is None:
        return value, x[1]
    else:
        return value, x[1] + y[1]


@triton.jit
def times(x, y):
    """Multiply two duals by the product rule."""
    value = x[0] * y[0]
    if x[1] is None:
        if y[1] is None:
            return value, None
        else:
            return value, x[0] * y[1]
    elif y[1] is None:
        return value, x[1] * y[0]
    else:
        return value, x[1] * y[0] + x[0] * y[1]


@triton.jit
def scaled(x, factor):
    """Multiply a dual by a plain number."""
    if x[1] is None:
        return x[0] * factor, None
    else:
        return x[0] * factor, x[1] * factor


@triton.jit
def complement(x):
    """Subtract a dual from one."""
    if x[1] is None:
        return 1.0 - x[0], None
    else:
        return 1.0 - x[0], -x[1]


@triton.jit
def exp2(x):
    """Raise two to a dual."""
    value = tl.exp2(x[0])
    if x[1] is None:
        return value, None
    else:
        return value, value * x[1] * LN_2


@triton.jit
def sigmoid(x):
    """Squash a dual into (0, 1)."""
    value = 1.0 / (1.0 + tl.exp2(x[0] * -LOG2_E))
    if x[1] is None:
        return value, None
    else:
        return value, value * (1.0 - value) * x[1]


@triton.jit
def softplus(x):
    """Take log(1 + exp(x)) of a dual, to the last digits also where it is tiny."""
    value = tl.maximum(x[0], 0.0) + _log1p(tl.exp2(tl.abs(x[0]) * -LOG2_E))
    if x[1] is None:
        return value, None
    else:
        return value, sigmoid(x)[0] * x[1]


@triton.jit
def _log1p(x):
    """Take log(1 + x) for x in [0, 1], as 2 atanh(x / (2 + x)): the processor's logarithm is too coarse near one."""
    ORDER: tl.constexpr = 17 if x.dtype == tl.float64 else 8
    ratio = x / (2.0 + x)  # at most 1/3, so that each further term is a ninth of the one before
    square = ratio * ratio
    series = tl.zeros_like(x) + 1.0 / (2 * ORDER + 1)
    for k in tl.static_range(ORDER):
        series = series * square + 1.0 / (2 * (ORDER - k) - 1)
    return 2.0 * ratio * series


@triton.jit
def total(x, axis: tl.constexpr):
    """Sum a dual along an axis."""
    if x[1] is None:
        return tl.sum(x[0], axis=axis), None
    else:
        return tl.sum(x[0], axis=axis), tl.sum(x[1], axis=axis)


@triton.jit
def spread(x, axis: tl.constexpr):
    """Give a dual one more axis, of size one."""
    if x[1] is None:
        return tl.expand_dims(x[0], axis), None
    else:
        return tl.expand_dims(x[0], axis), tl.expand_dims(x[1], axis)
