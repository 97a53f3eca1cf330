import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import memory_horizon, states_at


def test_what_is_left_at_the_horizon_is_a_tenth(make_record, make_constant):
    """A unit in the state at position 0 must be above 10 % before its horizon, and at or below it there."""
    from dataclasses import replace

    record = make_constant(make_record, step=0.07, A=[[-1.0, -2.5]], length=60)
    horizon = memory_horizon(record, [0]).tokens[0, 0, 0].long().tolist()
    alone = replace(record, u=torch.zeros_like(record.u), initial_state=torch.ones(1, 1, 2).double())
    h = states_at(alone, range(60)).h[0, :, 0]
    for n, tau in enumerate(horizon):
        left = h[:, n] / h[0, n]
        assert left[tau] <= 0.1 < left[tau - 1]


def test_the_share_is_kept_with_the_result(make_record):
    found = memory_horizon(make_record(), [0, -1], forgotten=0.8)
    assert (found.forgotten, found.positions) == (0.8, (0, 8))
    assert_close(found.tokens[:, 1], torch.full_like(found.tokens[:, 1], torch.inf))
