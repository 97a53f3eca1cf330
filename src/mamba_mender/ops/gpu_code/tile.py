"""What the two passes of the Triton scan share: where a tile lies, what it reads, how its state goes on."""

import triton
import triton.language as tl

from mamba_mender.ops.gpu_code.dual import LOG2_E, exp2, plus, scaled, softplus, spread, times


@triton.jit
def tile(sizes, orders, GRID: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_N: tl.constexpr):
    """Say which tile this program has: its number, batch row, group, channels, states, their masks, and its order."""
    groups, width, _, state = sizes
    blocks = tl.cdiv(width, BLOCK_C)
    program = tl.program_id(0)
    group = program // blocks % groups
    c = (program % blocks * BLOCK_C + tl.arange(0, BLOCK_C)).to(tl.int64)
    n = tl.arange(0, BLOCK_N).to(tl.int64)
    live = c < width
    batch = (program // (blocks * groups)).to(tl.int64)
    order = orders
    if GRID:
        order = (orders >> (2 * group)) & 3
    return program.to(tl.int64), batch, group.to(tl.int64), c, n, live, (n < state)[:, None] & live[None, :], order


@triton.jit
def position(step, length, order, columns, GRID: tl.constexpr):
    """Find the position that a step visits: by rows (order 0), by columns (2), or either from the end (1, 3)."""
    step = tl.cast(step, tl.int64)
    p = tl.where(order % 2 == 1, length - 1 - step, step)
    if GRID:
        rows = length // columns
        p = tl.where(order >= 2, p % rows * columns + p // rows, p)
    return p


@triton.jit
def placed(inputs, here, sizes, CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr, WORK: tl.constexpr):
    """Point at this tile's part of each sequence, and load its part of all that stays the same."""
    u, delta, A, B, C, D, z, bias, initial = inputs
    _, batch, group, c, n, live, both, _ = here
    channel = group * sizes[1] + c
    across = state_offsets(here, sizes, 0)
    A = scaled(load(A, across, both, WORK), LOG2_E)
    # What may be None is assigned in tuples: by itself, Triton's compiler loses it.
    D, bias, initial = (
        load(D, channel, live, WORK),
        load(bias, channel, live, WORK),
        load(initial, state_offsets(here, sizes, batch), both, WORK),
    )
    u, delta, z = places(u, batch, group, c), places(delta, batch, group, c), places(z, batch, group, c)
    B = load(B, across, both, WORK) if CONSTANT_B else places(B, batch, group, n)
    C = load(C, across, both, WORK) if CONSTANT_C else places(C, batch, group, n)
    return u, delta, A, B, C, D, z, bias, initial


@triton.jit
def place(source, batch, group, row):
    """Point at rows of a sequence: where their first position lies, and how far it is to the next."""
    if source is None:
        return source
    else:
        pointer, by_batch, by_group, by_row, by_time = source
        return pointer + (batch * by_batch + group * by_group) + row * by_row, by_time


@triton.jit
def places(pair, batch, group, row):
    """Point at rows of a sequence and of its slope."""
    if pair is None:
        return pair
    else:
        return place(pair[0], batch, group, row), place(pair[1], batch, group, row)


@triton.jit
def read(spots, p, mask, WORK: tl.constexpr):
    """Read one position of a sequence and of its slope."""
    value = tl.load(spots[0][0] + p * spots[0][1], mask=mask, other=0.0).to(WORK)
    if spots[1] is None:
        return value, None
    else:
        return value, tl.load(spots[1][0] + p * spots[1][1], mask=mask, other=0.0).to(WORK)


@triton.jit
def matrix(known, p, alive, CONSTANT: tl.constexpr, WORK: tl.constexpr):
    """Give B or C at a position: read it, (state, 1), or take the one there is, (state, channels)."""
    if CONSTANT:
        return known
    else:
        return spread(read(known, p, alive, WORK), 1)


@triton.jit
def load(pair, offsets, mask, WORK: tl.constexpr):
    """Load a part of a dense tensor and of its slope."""
    if pair is None:
        return pair
    else:
        value = tl.load(pair[0] + offsets, mask=mask, other=0.0).to(WORK)
        if pair[1] is None:
            return value, None
        else:
            return value, tl.load(pair[1] + offsets, mask=mask, other=0.0).to(WORK)


@triton.jit
def read_both(pair, offsets, mask):
    """Load a state and its slope."""
    value = tl.load(pair[0] + offsets, mask=mask, other=0.0)
    if pair[1] is None:
        return value, None
    else:
        return value, tl.load(pair[1] + offsets, mask=mask, other=0.0)


@triton.jit
def write_both(pair, offsets, x, mask):
    """Store a state and its slope."""
    tl.store(pair[0] + offsets, x[0], mask=mask)
    if pair[1] is not None:
        tl.store(pair[1] + offsets, x[1], mask=mask)


@triton.jit
def write(pointers, x, mask):
    """Store what the run is for: the slope where there is one, else the value."""
    if x[1] is None:
        tl.store(pointers, x[0], mask=mask)
    else:
        tl.store(pointers, x[1], mask=mask)


@triton.jit
def state_offsets(here, sizes, row):
    """Find this tile in memory of (rows, channels, state)."""
    groups, width, _, state = sizes
    _, _, group, c, n, _, _, _ = here
    return ((row * groups + group) * width + c)[None, :] * state + n[:, None]


@triton.jit
def blank(like):
    """Make zeros of the shape of a dual."""
    if like[1] is None:
        return tl.zeros_like(like[0]), None
    else:
        return tl.zeros_like(like[0]), tl.zeros_like(like[0])


@triton.jit
def first_state(initial, like):
    """Begin from the initial state, or from zeros."""
    if initial is None:
        return blank(like)
    else:
        return initial


@triton.jit
def last_gradient(grad_last, offsets, mask, like):
    """Begin the way back from the gradient of the last state, or from zeros."""
    zeros = blank(like)
    if grad_last is None:
        return zeros
    else:
        return tl.load(grad_last + offsets, mask=mask, other=0.0).to(like[0].dtype), zeros[1]


@triton.jit
def step_size(raw, bias, SOFTPLUS: tl.constexpr):
    """Give the step its bias, and make it positive."""
    shifted = raw if bias is None else plus(raw, bias)
    if SOFTPLUS:
        return softplus(shifted)
    else:
        return shifted


@triton.jit
def decay(dt, A):
    """Compute exp(dt A) from A log2(e)."""
    return exp2(times(spread(dt, 0), A))


@triton.jit
def advance(h, a, x, B):
    """Take the state one step on: a h + B x, with x = dt u."""
    return plus(times(a, h), times(spread(x, 0), B))
