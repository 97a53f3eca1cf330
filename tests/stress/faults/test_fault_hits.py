import pytest
import torch

from mamba_mender.stress.faults import FaultHits
from mamba_mender.taps import StateKey

KEY = StateKey(2, "c", "forward")


def test_gives_back_what_was_added_call_by_call():
    hits, masks = FaultHits(), [torch.rand(n, 4, 3) < 0.3 for n in (2, 5)]
    for mask in masks:
        hits.add(KEY, mask)
    assert hits.states() == [KEY]
    assert all(torch.equal(a, b) for a, b in zip(hits.calls(KEY), masks, strict=True))
    assert torch.equal(hits.mask("2.c.forward"), torch.cat(masks))
    assert hits.share(KEY) == pytest.approx(torch.cat(masks).float().mean().item())


@pytest.mark.parametrize(("fill", "share"), [(False, 0.0), (True, 1.0)])
def test_share_is_nought_for_none_and_one_for_all(fill, share):
    hits = FaultHits()
    hits.add(KEY, torch.full((2, 4, 3), fill))
    assert hits.share(KEY) == share


def test_channels_that_pass_in_parts_are_one_call():
    hits, whole = FaultHits(), torch.rand(2, 4, 6) < 0.5
    hits.add(KEY, whole[..., :2])
    hits.add(KEY, whole[..., 2:], first_channel=2)
    assert torch.equal(hits.mask(KEY), whole)


def test_clear():
    hits = FaultHits()
    hits.add(KEY, torch.ones(1, 1, 1, dtype=torch.bool))
    hits.clear()
    assert hits.states() == []


def test_refuses_a_state_without_a_fault_and_calls_that_do_not_join():
    hits = FaultHits()
    for tokens in (3, 1):
        hits.add(KEY, torch.zeros(1, tokens, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"shapes \[\(1, 2\), \(3, 2\)\]; take them one by one by `calls`"):
        hits.mask(KEY)
    with pytest.raises(KeyError, match=r"no fault on '1.h'; there are \['2.c.forward'\]"):
        hits.calls("1.h")
