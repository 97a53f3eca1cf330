import pytest
import torch

from mamba_mender.repair import token_mask


def test_share_of_foreground_in_each_patch():
    mask = torch.zeros(1, 1, 4, 6, dtype=torch.bool)
    mask[..., 0, 0] = True  # one pixel of four in the first patch
    mask[..., 2:, 4:] = True  # the whole last patch
    assert token_mask(mask, (2, 3)).tolist() == [[0.25, 0, 0, 0, 0, 1]]


def test_row_by_row_as_the_model_has_its_tokens():
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    masks[..., 0:2, 6:8] = True
    assert token_mask(masks, (4, 4)).argmax() == 3


def test_rejects_masks_without_a_channel():
    with pytest.raises(ValueError, match=r"masks must be \(batch, one, height, width\), got shape \(2, 4, 4\)"):
        token_mask(torch.ones(2, 4, 4), (2, 2))
