import torch
from torch import nn

from mamba_mender.stress.faults.tapped_part import tapped_part


class Around(nn.Module):
    """A model around a model, as a guard is."""

    def __init__(self, model):
        super().__init__()
        self.model = model


def test_goes_through_sequential_and_what_is_around_it(vim):
    pixels = nn.Sequential(nn.Identity(), vim)
    assert tapped_part(pixels) is vim
    assert tapped_part(Around(pixels)) is vim
    assert tapped_part(nn.Sequential(nn.Identity(), Around(pixels))) is vim


def test_stays_where_block_numbers_mean_blocks(vim, make_family):
    around = Around(vim)
    assert tapped_part(vim) is vim
    assert tapped_part(around) is around
    language = make_family("Mamba", num_hidden_layers=1)
    assert tapped_part(language) is language
    plain = nn.Sequential(nn.Linear(2, 2))
    assert tapped_part(plain) is plain
    assert torch.equal(plain(torch.ones(1, 2)), tapped_part(plain)(torch.ones(1, 2)))


def test_two_models_side_by_side_are_not_one(vim):
    both = nn.Sequential(vim, vim.__class__(img_size=4, patch_size=2, in_chans=1, embed_dim=6, depth=2, num_classes=3))
    assert tapped_part(both) is both
