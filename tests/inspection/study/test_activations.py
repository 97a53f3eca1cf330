import torch

from mamba_mender.inspection.study.activations import activations
from mamba_mender.taps import StateKey


def test_length_change_and_turn():
    first = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
    second = torch.tensor([[[6.0, 8.0], [0.0, 1.0]]])
    found = activations({StateKey(0, "h"): second, StateKey(-1, "h"): first})
    assert [str(key) for key in found.keys] == ["embedding", "0.h"]
    assert found.norm.tolist() == [[5.0, 1.0], [10.0, 1.0]]
    torch.testing.assert_close(found.change, torch.tensor([[1.0, 2**0.5]]))
    torch.testing.assert_close(found.cosine, torch.tensor([[1.0, 0.0]]))
    assert found.mean.tolist() == [[2.0, 2.0], [3.0, 4.5]]
