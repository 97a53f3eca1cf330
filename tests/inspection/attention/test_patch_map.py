import pytest
import torch

from mamba_mender.inspection.attention import patch_map


def test_positions_become_places():
    values = torch.arange(7.0)
    assert patch_map(values[:6], (2, 3)).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert patch_map(values, (2, 3), class_index=3).tolist() == [[0, 1, 2], [4, 5, 6]]
    assert patch_map(values, (2, 3), class_index=-1).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert patch_map(values.expand(2, 4, 7), (3, 2), class_index=0).shape == (2, 4, 3, 2)


def test_a_grid_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"values has 7 tokens in shape \(7,\), but a grid of 2 x 3 patches has 6"):
        patch_map(torch.zeros(7), (2, 3))
    with pytest.raises(ValueError, match="patches and a class token has 7"):
        patch_map(torch.zeros(6), (2, 3), class_index=0)
    with pytest.raises(ValueError, match="class_index must be among -7 to 6, got 7"):
        patch_map(torch.zeros(7), (2, 3), class_index=7)
