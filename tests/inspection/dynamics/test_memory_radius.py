from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import memory_radius


def attention(record, decay):
    """Compute alpha by its definition, O(length^2): (batch, channels, read at, written at)."""
    size = record.channels // record.C.shape[1]
    C, B = (m.repeat_interleave(size, 1) for m in (record.C, record.B))  # (batch, channels, state, length)
    step, length = record.step, record.length
    alpha = torch.zeros(record.batch, record.channels, length, length, dtype=torch.float64)
    for i in range(length):
        for j in range(length):
            between = range(i, j) if record.reverse else range(j + 1, i + 1)
            if j < i if record.reverse else j > i:
                continue
            product = torch.ones_like(decay[0])
            for k in between:
                product = product * decay[k]
            alpha[:, :, i, j] = (C[..., i] * product * step[:, :, j, None] * B[..., j]).sum(-1)
    return alpha


@pytest.mark.parametrize("mass", [0.5, 0.9, 1.0])
def test_distances_follow_from_the_attention(scan, unroll, mass):
    weight = attention(scan, unroll(scan)[0]).abs()
    place = torch.arange(scan.length)
    distance = (place[:, None] - place).abs().double()
    found = memory_radius(scan, range(scan.length), mass=mass)
    mean = (weight * distance).sum(-1) / weight.sum(-1)
    assert_close(found.mean, mean.mT)
    radius = torch.full_like(mean, torch.nan)
    for r in reversed(range(scan.length)):
        inside = torch.where(distance <= r, weight, 0).sum(-1)
        radius = torch.where(inside >= mass * weight.sum(-1) * (1 - 1e-12), float(r), radius)
    assert_close(found.radius, radius.mT)


def test_what_forgets_all_reads_itself_alone(make_record, make_constant):
    found = memory_radius(make_constant(make_record, step=1e4, A=[[-1.0, -2.0]]))
    assert found.mean.abs().max() < 1e-300  # the kernel's exp stops at the smallest normal number
    assert (found.radius == 0).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_a_planted_token_is_found_at_its_distance(make_record, make_constant, reverse):
    """Nothing decays, only token 3 is written: every later position reads it, at its distance."""
    record = make_constant(make_record, step=1.0, A=[[0.0]], length=10, reverse=reverse)
    written = torch.zeros_like(record.B)
    written[..., 3] = 1
    found = memory_radius(replace(record, B=written), range(10))
    distance = 3 - torch.arange(10.0) if reverse else torch.arange(10.0) - 3
    expected = torch.where(distance >= 0, distance, torch.nan).double()
    assert_close(found.mean[0, :, 0], expected, equal_nan=True)
    assert_close(found.radius[0, :, 0], expected, equal_nan=True)


def test_equal_weights_have_the_mean_of_all_distances(make_record, make_constant):
    found = memory_radius(make_constant(make_record, step=1.0, A=[[0.0]], length=10), [-1])
    assert_close(found.mean, torch.full_like(found.mean, 4.5))
    assert found.radius.item() == 8  # nine of ten tokens, at distances 0 to 8
    halves = memory_radius(make_constant(make_record, step=1.0, A=[[0.0]], length=3), [-1])
    assert_close(halves.mean, torch.ones_like(halves.mean))


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_not_read(make_record, pad, reverse):
    record = make_record(reverse=reverse)
    bare, padded = memory_radius(record), memory_radius(pad(record, 2, 3))
    for name in ("mean", "radius"):
        values = getattr(padded, name)
        assert_close(getattr(bare, name), values[:, 2:-3])
        assert values[:, [0, 1, -3, -2, -1]].isnan().all()


def test_a_long_memory_does_not_underflow(make_record, make_constant):
    """exp(-16 * 0.1 * 300) is 1e-208: ratios of products would be 0 / 0 in float32."""
    record = make_constant(make_record, step=0.1, A=[[-16.0]], length=1000).to(torch.float32)
    found = memory_radius(record, [-1])
    ratio = torch.tensor(-1.6).double().exp()
    assert_close(found.mean.item(), (ratio / (1 - ratio)).item(), rtol=1e-5, atol=0)


def test_arguments_are_checked(make_record):
    with pytest.raises(ValueError, match=r"mass must be in \(0, 1\], got 0"):
        memory_radius(make_record(), mass=0)

    assert len(memory_radius(make_record(length=50, channels=2)).positions) == 16
