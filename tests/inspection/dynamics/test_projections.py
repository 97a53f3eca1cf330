from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import projections


@pytest.mark.parametrize("letter", ["B", "C"])
def test_ranks_follow_from_the_singular_values(scan, letter):
    found = getattr(projections(scan), letter)
    matrix = getattr(scan, letter)
    assert_close(found.norm, matrix.norm(dim=2))
    values = torch.linalg.svdvals(matrix)
    share = values / values.sum(-1, keepdim=True)
    assert_close(found.rank, (-share * share.log()).sum(-1).exp())
    assert_close(found.participation, values.square().sum(-1).square() / values.pow(4).sum(-1))


def test_no_matrix_has_rank_0_one_direction_rank_1_and_orthogonal_ones_all(make_record):
    record = make_record(length=8, groups=2)
    token = torch.randn(2, 2, 1, 8).double()
    line = torch.randn(2, 2, 4, 1).double() * token
    axes = torch.eye(4).double().repeat(1, 2).expand(2, 2, 4, 8)
    for matrix, rank in ((torch.zeros_like(line), 0.0), (line, 1.0), (axes, 4.0)):
        found = projections(replace(record, B=matrix)).B
        assert_close(found.rank, torch.full((2, 2), rank).double(), rtol=1e-6, atol=0)
        assert_close(found.participation, torch.full((2, 2), rank).double())


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_does_not_count(make_record, pad, reverse):
    record = make_record(reverse=reverse)
    for letter in "BC":
        bare, padded = (getattr(projections(r), letter) for r in (record, pad(record, 2, 3)))
        assert_close(bare.norm, padded.norm[..., 2:-3])
        assert padded.norm[..., [0, 1, -3, -2, -1]].isnan().all()
        assert_close((bare.rank, bare.participation), (padded.rank, padded.participation))


def test_to_dict_is_plain(make_record):
    assert set(projections(make_record()).to_dict()["B"]) == {"norm", "rank", "participation"}
