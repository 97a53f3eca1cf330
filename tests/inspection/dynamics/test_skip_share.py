from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import skip_share


def test_shares_follow_from_both_terms_of_y(scan, unroll):
    size = scan.channels // scan.C.shape[1]
    C = scan.C.repeat_interleave(size, 1).permute(3, 0, 1, 2)
    read = (C * unroll(scan)[2]).sum(-1).permute(1, 2, 0)
    past = scan.D[:, None] * scan.u
    assert_close(read + past, scan.y)
    found = skip_share(scan)
    skip, state = past.norm(dim=1), read.norm(dim=1)
    assert_close((found.skip, found.state), (skip, state))
    assert_close(found.share, skip / (skip + state))
    skip, state = past.norm(dim=-1), read.norm(dim=-1)
    assert_close(found.channel_share, skip / (skip + state))


def test_no_skip_is_0_and_nothing_read_is_1(make_record):
    record = make_record()
    for without in (None, torch.zeros_like(record.D)):
        found = skip_share(replace(record, D=without))
        assert (found.share == 0).all()
        assert (found.channel_share == 0).all()
    mute = skip_share(replace(record, C=torch.zeros_like(record.C)))
    assert (mute.share == 1).all()
    assert (mute.channel_share == 1).all()


def test_terms_that_cancel_still_count(make_record, make_constant):
    record = make_constant(make_record, step=1.0, A=[[-1e6]])  # y = 1 - 1 = 0
    found = skip_share(replace(record, D=-torch.ones(1).double()))
    assert_close(found.share, torch.full((1, 40), 0.5).double())


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_does_not_count(make_record, pad, reverse):
    record = make_record(reverse=reverse)
    bare, padded = skip_share(record), skip_share(pad(record, 2, 3, quiet=True))
    for name in ("skip", "state", "share"):
        values = getattr(padded, name)
        assert_close(getattr(bare, name), values[:, 2:-3])
        assert values[:, [0, 1, -3, -2, -1]].isnan().all()
    assert_close(bare.channel_share, padded.channel_share)


def test_an_edited_state_is_what_is_read(edited):
    assert (skip_share(edited).state[:, 3] != skip_share(replace(edited, edits=())).state[:, 3]).all()
