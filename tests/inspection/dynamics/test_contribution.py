from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import contribution


@pytest.mark.usefixtures("stretched")
def test_terms_are_those_of_the_unrolled_recurrence(scan, unroll):
    decay, write, h = unroll(scan)
    start = torch.zeros_like(h[:1]) if scan.initial_state is None else scan.initial_state[None]
    before = torch.cat([h[1:], start]) if scan.reverse else torch.cat([start, h[:-1]])
    old, new = (decay * before).flatten(2).norm(dim=-1), write.flatten(2).norm(dim=-1)
    found = contribution(scan)
    assert_close((found.old, found.new), (old.T, new.T))
    assert_close(found.share, (old / (old + new)).T)
    old, new = (decay * before).norm(dim=-1), write.norm(dim=-1)
    assert_close(found.channel_share, (old / (old + new)).mean(0))


def test_all_new_is_0_and_nothing_written_is_1(make_record, make_constant):
    forgetful = contribution(make_constant(make_record, step=1e4, A=[[-1.0, -2.0]]))
    assert (forgetful.share == 0).all()
    assert (forgetful.channel_share == 0).all()
    record = make_record(initial=True)
    silent = contribution(replace(record, u=torch.zeros_like(record.u)))
    assert (silent.share == 1).all()
    assert (silent.channel_share == 1).all()
    assert (silent.new == 0).all()


def test_neither_old_nor_new_is_nan(make_record):
    record = make_record()
    empty = contribution(replace(record, u=torch.zeros_like(record.u)))
    assert empty.share.isnan().all()
    assert empty.channel_share.isnan().all()


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_does_not_count(make_record, pad, reverse):
    record = make_record(reverse=reverse)
    bare, padded = contribution(record), contribution(pad(record, 2, 3, quiet=True))
    for name in ("old", "new", "share"):
        values = getattr(padded, name)
        assert_close(getattr(bare, name), values[:, 2:-3])
        assert values[:, [0, 1, -3, -2, -1]].isnan().all()
    assert_close(bare.channel_share, padded.channel_share)
