import pytest
import torch

from mamba_mender.inspection.evolution import depth_states
from mamba_mender.models import create_model
from mamba_mender.taps import StateKey, record


@pytest.fixture
def run():
    model = create_model("vim_micro", num_classes=3, img_size=8).eval()
    with record(model, "sh", scans=False) as run:
        model(torch.rand(2, 3, 8, 8))
    return run


def test_embedding_comes_first_and_blocks_in_order(run):
    states = depth_states(run)
    assert torch.equal(states[0], run.states[StateKey(-1, "h")])
    assert all(torch.equal(states[n + 1], run.states[StateKey(n, "h")]) for n in range(len(states) - 1))
    assert not any(state.requires_grad for state in states)


def test_takes_one_direction(run):
    states = depth_states(run, "s", "backward")
    assert torch.equal(states[1], run.states[StateKey(1, "s", "backward")])


@pytest.mark.parametrize("wanted", [("s", ""), ("z", "forward")])
def test_refuses_what_was_not_recorded(run, wanted):
    with pytest.raises(ValueError, match=r"no state '.*' was recorded"):
        depth_states(run, *wanted)
