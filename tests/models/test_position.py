import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from mamba_mender.models import resize_position

SIDES = st.integers(1, 6)


@given(rows=SIDES, cols=SIDES, token=st.booleans())
def test_same_grid_changes_nothing(rows, cols, token):
    table = torch.randn(1, rows * cols + token, 3)
    assert resize_position(table, (rows, cols), (rows, cols), class_token=token) is table


@given(rows=SIDES, cols=SIDES, new_rows=SIDES, new_cols=SIDES)
def test_class_vector_stays_in_the_middle_and_out_of_the_image(rows, cols, new_rows, new_cols):
    middle, new_middle = rows * cols // 2, new_rows * new_cols // 2
    patches = torch.randn(1, rows * cols, 3)
    token = torch.full((1, 1, 3), 100.0)
    table = torch.cat([patches[:, :middle], token, patches[:, middle:]], dim=1)
    new = resize_position(table, (rows, cols), (new_rows, new_cols), class_token=True)
    assert_close(new[:, new_middle : new_middle + 1], token)
    rest = torch.cat([new[:, :new_middle], new[:, new_middle + 1 :]], dim=1)
    assert_close(rest, resize_position(patches, (rows, cols), (new_rows, new_cols), class_token=False))


def test_a_constant_stays_constant():
    assert_close(
        resize_position(torch.ones(1, 6, 2), (2, 3), (5, 4), class_token=False), torch.ones(1, 20, 2), rtol=0, atol=1e-6
    )


def test_a_ramp_along_columns_stays_a_ramp_along_columns():
    table = torch.arange(4.0).repeat(3)[None, :, None]  # 3 rows of 0 1 2 3
    new = resize_position(table, (3, 4), (3, 8), class_token=False).reshape(3, 8)
    assert_close(new, new[:1].expand(3, 8))
    assert (new.diff(dim=1) > 0).all()


def test_rejects_a_table_of_another_grid():
    with pytest.raises(ValueError, match="a grid of 2 x 3 and a class token needs 7 vectors, got 6"):
        resize_position(torch.zeros(1, 6, 4), (2, 3), (3, 3), class_token=True)
