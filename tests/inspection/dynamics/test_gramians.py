from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import gramians


@pytest.mark.usefixtures("stretched")
def test_diagonals_are_sums_over_all_tokens(scan, unroll):
    """Both by their definitions as sums of squared products, O(length^3)."""
    decay = unroll(scan)[0]
    size = scan.channels // scan.B.shape[1]
    B, C = (m.repeat_interleave(size, 1).permute(3, 0, 1, 2) for m in (scan.B, scan.C))
    write = scan.step.permute(2, 0, 1)[..., None] * B
    if scan.reverse:
        decay, write, C = decay.flip(0), write.flip(0), C.flip(0)
    length = scan.length
    reached, seen = torch.zeros_like(decay), torch.zeros_like(decay)
    for t in range(length):
        for j in range(t + 1):
            reached[t] += (decay[j + 1 : t + 1].prod(0) * write[j]).square()
        for i in range(t, length):
            seen[t] += (decay[t + 1 : i + 1].prod(0) * C[i]).square()
    if scan.reverse:
        reached, seen = reached.flip(0), seen.flip(0)
    found = gramians(scan, range(length))
    assert_close(found.controllability, reached.movedim(0, 1))
    assert_close(found.observability, seen.movedim(0, 1))
    assert_close(found.importance, (reached * seen).sqrt().movedim(0, 1))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_constant_step_has_a_closed_form(make_record, make_constant, reverse):
    step, A, length = 0.3, torch.tensor([[-0.5, -2.0]]).double(), 25
    record = make_constant(make_record, step=step, A=A.tolist(), length=length, reverse=reverse)
    square = (2 * step * A).exp()
    everything = (1 - square**length) / (1 - square)
    first, last = (-1, 0) if reverse else (0, -1)
    found = gramians(record, [first, last])
    assert_close(found.controllability[0, 1], step**2 * everything)
    assert_close(found.controllability[0, 0], torch.full((1, 2), step**2).double())
    assert_close(found.observability[0, 0], everything)
    assert_close(found.observability[0, 1], torch.ones(1, 2).double())


def test_what_is_never_written_or_read_is_0(make_record):
    record = make_record()
    deaf, mute = (replace(record, **{name: torch.zeros_like(record.B)}) for name in "BC")
    assert (gramians(deaf).controllability == 0).all()
    assert (gramians(mute).observability == 0).all()
    assert (gramians(mute).controllability > 0).all()


@pytest.mark.usefixtures("stretched")
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_neither_written_nor_read(make_record, pad, reverse):
    record = make_record(reverse=reverse)
    bare, padded = gramians(record, range(9)), gramians(pad(record, 2, 3), range(14))
    for name in ("controllability", "observability"):
        values = getattr(padded, name)
        assert_close(getattr(bare, name), values[:, 2:-3])
        assert values[:, [0, 1, -3, -2, -1]].isnan().all()


def test_positions_may_repeat_and_default_to_16(make_record):
    record = make_record(length=30)
    found = gramians(record, [5, -1, 5])
    assert_close(found.controllability[:, 0], found.controllability[:, 2])
    assert len(gramians(record).positions) == 16
