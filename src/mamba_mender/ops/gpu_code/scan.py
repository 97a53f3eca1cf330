"""The selective scan in Triton. One program takes a tile of channels and states through the whole sequence.

The state stays in registers, (state, channels). Neighbouring threads read neighbouring channels of channel-last
memory; states lie next to each other wherever they are kept, which is how B and C lie when they come from a projection.
No speed of these kernels on a GPU is claimed: they were compiled for one, but measured on none.

An input is a pair (value, slope) of sources, or None if it is not given; the slope is None in a plain run.
With slopes, the same kernels write the derivatives of their outputs along them. The source of a sequence is
(tensor, batch stride, group stride, row stride, time stride); any other is a dense tensor.
"""

import triton
import triton.language as tl

from mamba_mender.ops.gpu_code.dual import (
    LN_2,
    complement,
    plus,
    scaled,
    sigmoid,
    spread,
    times,
    total,
)
from mamba_mender.ops.gpu_code.tile import (
    advance,
    blank,
    decay,
    first_state,
    last_gradient,
    matrix,
    place,
    placed,
    position,
    read,
    read_both,
    state_offsets,
    step_size,
    tile,
    write,
    write_both,
)


@triton.jit
def scan_forward(
    inputs,
    y,
    last,
    saved,
    sizes,
    orders,
    columns,
    SOFTPLUS: tl.constexpr,
    GRID: tl.constexpr,
    CONSTANT_B: tl.constexpr,
    CONSTANT_C: tl.constexpr,
    CHUNK: tl.constexpr,
    WORK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Scan one tile; save the state before each chunk, if there is memory for it."""
    length = sizes[2]
    here = tile(sizes, orders, GRID, BLOCK_C, BLOCK_N)
    u, delta, A, B, C, D, z, bias, initial = placed(inputs, here, sizes, CONSTANT_B, CONSTANT_C, WORK)
    _, batch, group, c, n, live, both, order = here
    y = place(y, batch, group, c)
    h = first_state(initial, A)
    for chunk in range(tl.cdiv(length, CHUNK)):
        if saved is not None:
            write_both(saved, state_offsets(here, sizes, batch * tl.cdiv(length, CHUNK) + chunk), h, both)
        for step in range(chunk * CHUNK, tl.minimum(length, (chunk + 1) * CHUNK)):
            p = position(step, length, order, columns, GRID)
            now = read(u, p, live, WORK)
            dt = step_size(read(delta, p, live, WORK), bias, SOFTPLUS)
            h = advance(h, decay(dt, A), times(dt, now), matrix(B, p, n < sizes[3], CONSTANT_B, WORK))
            out = total(times(h, matrix(C, p, n < sizes[3], CONSTANT_C, WORK)), 0)
            if D is not None:
                out = plus(out, times(D, now))
            if z is not None:
                gate = read(z, p, live, WORK)
                out = times(out, times(gate, sigmoid(gate)))
            write(y[0] + p * y[1], out, live)
    write(last + state_offsets(here, sizes, batch), h, both)


@triton.jit
def scan_backward(
    inputs,
    grad_y,
    grad_last,
    saved,
    scratch,
    gradients,
    sizes,
    orders,
    columns,
    SOFTPLUS: tl.constexpr,
    GRID: tl.constexpr,
    CONSTANT_B: tl.constexpr,
    CONSTANT_C: tl.constexpr,
    CHUNK: tl.constexpr,
    WORK: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Go back over one tile. The states of a chunk are computed again from its first, then its steps are undone."""
    length = sizes[2]
    here = tile(sizes, orders, GRID, BLOCK_C, BLOCK_N)
    known = placed(inputs, here, sizes, CONSTANT_B, CONSTANT_C, WORK)
    u, delta, A, B, _, _, _, bias, _ = known
    program, batch, group, c, n, live, both, order = here
    outgoing = (
        place(grad_y, batch, group, c),
        place(gradients[0], batch, group, c),
        place(gradients[1], batch, group, c),
        place(gradients[6], batch, group, c),
        gradients[3],
        gradients[4],
    )
    inside = tl.arange(0, BLOCK_C)[None, :] * BLOCK_N + tl.arange(0, BLOCK_N)[:, None]
    grad_h = last_gradient(grad_last, state_offsets(here, sizes, batch), both, A)
    sums = (blank(A), blank(A), blank(A), total(blank(A), 0), total(blank(A), 0))  # of A, B, C, D, bias
    chunks = tl.cdiv(length, CHUNK)
    for undone in range(chunks):
        chunk = chunks - 1 - undone
        steps = tl.minimum(CHUNK, length - chunk * CHUNK)
        h = read_both(saved, state_offsets(here, sizes, batch * chunks + chunk), both)
        for i in range(steps):
            write_both(scratch, (program * CHUNK + i) * (BLOCK_N * BLOCK_C) + inside, h, both)
            p = position(chunk * CHUNK + i, length, order, columns, GRID)
            dt = step_size(read(delta, p, live, WORK), bias, SOFTPLUS)
            x = times(dt, read(u, p, live, WORK))
            h = advance(h, decay(dt, A), x, matrix(B, p, n < sizes[3], CONSTANT_B, WORK))
        tl.debug_barrier()  # a thread may read what another wrote
        for done in range(steps):
            i = steps - 1 - done
            before = read_both(scratch, (program * CHUNK + i) * (BLOCK_N * BLOCK_C) + inside, both)
            p = position(chunk * CHUNK + i, length, order, columns, GRID)
            grad_h, sums = undo_step(
                before, grad_h, sums, known, outgoing, here, sizes, p, SOFTPLUS, CONSTANT_B, CONSTANT_C, WORK
            )
        tl.debug_barrier()  # before the scratch memory is written again
    write_sums(gradients, sums, grad_h, here, sizes, CONSTANT_B, CONSTANT_C)


@triton.jit
def undo_step(
    before,
    grad_h,
    sums,
    known,
    outgoing,
    here,
    sizes,
    p,
    SOFTPLUS: tl.constexpr,
    CONSTANT_B: tl.constexpr,
    CONSTANT_C: tl.constexpr,
    WORK: tl.constexpr,
):
    """Write the gradients of one position; return those of the state before it, and the sums with its share."""
    u, delta, A, B, C, D, z, bias, _ = known
    grad_y, grad_u, grad_delta, grad_z, grad_B, grad_C = outgoing
    program, _, _, _, n, live, _, _ = here
    sum_A, sum_B, sum_C, sum_D, sum_bias = sums
    alive, slot = n < sizes[3], (program * sizes[2] + p) * sizes[3] + n
    now, raw = read(u, p, live, WORK), read(delta, p, live, WORK)
    Bp, Cp = matrix(B, p, alive, CONSTANT_B, WORK), matrix(C, p, alive, CONSTANT_C, WORK)
    dt = step_size(raw, bias, SOFTPLUS)
    a, x = decay(dt, A), times(dt, now)
    h = advance(before, a, x, Bp)
    grad = (tl.load(grad_y[0] + p * grad_y[1], mask=live, other=0.0).to(WORK), None)
    if z is not None:
        out = total(times(h, Cp), 0)
        if D is not None:
            out = plus(out, times(D, now))
        gate = read(z, p, live, WORK)
        share = sigmoid(gate)
        opening = times(gate, share)
        slope = plus(share, times(opening, complement(share)))
        write(grad_z[0] + p * grad_z[1], times(times(grad, out), slope), live)
        grad = times(grad, opening)
    grad_h = plus(grad_h, times(spread(grad, 0), Cp))
    if CONSTANT_C:
        sum_C = plus(sum_C, times(h, spread(grad, 0)))
    else:
        write(grad_C + slot, total(times(h, spread(grad, 0)), 1), alive)
    if CONSTANT_B:
        sum_B = plus(sum_B, times(grad_h, spread(x, 0)))
    else:
        write(grad_B + slot, total(times(grad_h, spread(x, 0)), 1), alive)
    grad_x = total(times(grad_h, Bp), 0)
    grad_h = times(grad_h, a)
    grad_log = times(grad_h, before)  # of dt A
    sum_A = plus(sum_A, times(grad_log, spread(dt, 0)))
    grad_dt = plus(scaled(total(times(grad_log, A), 0), LN_2), times(grad_x, now))
    if SOFTPLUS:
        grad_dt = times(grad_dt, sigmoid(raw if bias is None else plus(raw, bias)))
    write(grad_delta[0] + p * grad_delta[1], grad_dt, live)
    sum_bias = plus(sum_bias, grad_dt)
    grad_now = times(grad_x, dt)
    if D is not None:
        grad_now = plus(grad_now, times(grad, D))
        sum_D = plus(sum_D, times(grad, now))
    write(grad_u[0] + p * grad_u[1], grad_now, live)
    return grad_h, (sum_A, sum_B, sum_C, sum_D, sum_bias)


@triton.jit
def write_sums(gradients, sums, grad_h, here, sizes, CONSTANT_B: tl.constexpr, CONSTANT_C: tl.constexpr):
    """Write what was summed over the sequence, and the gradient of the initial state."""
    _, _, grad_A, grad_B, grad_C, grad_D, _, grad_bias, grad_initial = gradients
    sum_A, sum_B, sum_C, sum_D, sum_bias = sums
    _, batch, group, c, _, live, both, _ = here
    across, channel = state_offsets(here, sizes, batch), (batch * sizes[0] + group) * sizes[1] + c
    write(grad_A + across, sum_A, both)
    if CONSTANT_B:
        write(grad_B + across, sum_B, both)
    if CONSTANT_C:
        write(grad_C + across, sum_C, both)
    if grad_D is not None:
        write(grad_D + channel, sum_D, live)
    if grad_bias is not None:
        write(grad_bias + channel, sum_bias, live)
    if grad_initial is not None:
        write(grad_initial + across, grad_h, both)
