import pytest
import torch

from mamba_mender.inspection.evolution.sequences import check_states


def test_gives_the_real_tokens():
    mask = torch.tensor([[True, False], [True, True]])
    assert check_states("f", [torch.zeros(2, 2, 3)], mask) is mask
    assert check_states("f", [torch.zeros(2, 2, 3)], None).tolist() == [[True, True], [True, True]]


def test_what_is_padded_may_be_anything():
    state = torch.tensor([[[1.0], [torch.nan]]])
    check_states("f", [state], torch.tensor([[True, False]]))


@pytest.mark.parametrize(
    ("states", "mask", "message"),
    [
        ([torch.zeros(2, 3, 4)], None, "f: at least 2 states"),
        ([torch.zeros(2, 3, 4), torch.zeros(2, 4, 4)], None, r"got \(2, 4, 4\) at 1"),
        ([torch.zeros(2, 3), torch.zeros(2, 3)], None, r"got \(2, 3\) at 0"),
        ([torch.zeros(2, 3, 4)] * 2, torch.ones(2, 3), "mask must be bool"),
        ([torch.zeros(2, 3, 4)] * 2, torch.ones(2, 4).bool(), "mask must be bool of shape"),
        ([torch.zeros(2, 3, 4)] * 2, torch.tensor([[True] * 3, [False] * 3]), "but 1 have none"),
        ([torch.zeros(2, 3, 4), torch.full((2, 3, 4), torch.nan)], None, r"states at \[1\] are not finite"),
    ],
)
def test_refuses(states, mask, message):
    with pytest.raises(ValueError, match=message):
        check_states("f", states, mask, least=2)
