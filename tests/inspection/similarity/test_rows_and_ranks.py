import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from mamba_mender.inspection.similarity import ranks, token_rows


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99))
def test_ranks_are_scipys(rows, columns, values, seed):
    x = torch.randint(values, (rows, columns), generator=torch.Generator().manual_seed(seed))
    assert ranks(x).tolist() == rankdata(x.numpy(), axis=0).tolist()


def test_ranks_wants_columns():
    with pytest.raises(ValueError, match=r"must be \(rows, columns\)"):
        ranks(torch.zeros(3))


def test_rows_leave_padding_out_on_either_side_and_number_inputs_without_gaps():
    values = torch.arange(24.0).view(3, 4, 2)
    mask = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 0]]).bool()
    found = token_rows(values, mask)
    assert found.rows[:, 0].tolist() == [4, 6, 16, 18, 20]
    assert found.sequence.tolist() == [0, 0, 1, 1, 1]
    assert found.rows.dtype == torch.float64


def test_rows_of_nothing_are_refused():
    with pytest.raises(ValueError, match="none of the 6 tokens is real"):
        token_rows(torch.zeros(2, 3, 1), torch.zeros(2, 3).bool())
    with pytest.raises(ValueError, match="mask has tokens=4"):
        token_rows(torch.zeros(2, 3, 1), torch.ones(2, 4).bool())
