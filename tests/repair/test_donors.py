import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair import choose_donors


@given(seed=st.integers(0, 999), count=st.integers(2, 9))
def test_no_image_is_its_own_donor(seed, count):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, 1, 5, 3, generator=generator) > 0.5
    donors = choose_donors(masks, generator)
    assert donors.shape == (count,)
    assert (donors != torch.arange(count)).all()
    assert (donors >= 0).all()


def test_a_corner_patch_comes_from_the_same_corner():
    masks = torch.ones(40, 1, 28, 28, dtype=torch.bool)
    masks[::2, :, :4, :4] = False
    masks[1::2, :, -4:, -4:] = False
    donors = choose_donors(masks, torch.Generator().manual_seed(0))
    assert (donors % 2 == torch.arange(40) % 2).all()
    assert len(set(donors[::2].tolist())) > 5


def test_images_without_background_have_donors_too():
    donors = choose_donors(torch.ones(3, 1, 4, 4, dtype=torch.bool), torch.Generator())
    assert (donors != torch.arange(3)).all()


def test_refuses_a_single_image():
    with pytest.raises(ValueError, match="there is 1 image"):
        choose_donors(torch.ones(1, 1, 4, 4, dtype=torch.bool), torch.Generator())
