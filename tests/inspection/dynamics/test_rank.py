import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import effective_rank, participation_ratio
from mamba_mender.inspection.dynamics.rank import root_eigenvalues


def test_nothing_has_rank_0_and_one_direction_rank_1():
    values = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1e-30, 0.0], [1e30, 0.0, 0.0]], dtype=torch.float64)
    for rank in (effective_rank, participation_ratio):
        assert_close(rank(values), torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))


def test_equal_directions_all_count():
    for k in (1, 2, 7):
        for rank in (effective_rank, participation_ratio):
            assert_close(rank(torch.full((k,), 3.0)), torch.tensor(float(k)))


def test_known_values_between():
    values = torch.tensor([3.0, 1.0], dtype=torch.float64)
    entropy = -(0.75 * torch.tensor(0.75).double().log() + 0.25 * torch.tensor(0.25).double().log())
    assert_close(effective_rank(values), entropy.exp())
    assert_close(participation_ratio(values), torch.tensor(100 / 82, dtype=torch.float64))


def test_rounding_adds_no_direction():
    x = torch.randn(200, 1, dtype=torch.float64) @ torch.randn(1, 30, dtype=torch.float64)
    assert_close(effective_rank(root_eigenvalues(x @ x.T)), torch.tensor(1.0, dtype=torch.float64))
