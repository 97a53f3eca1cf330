import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.nn import PatchEmbed


@pytest.mark.parametrize(
    ("img_size", "patch_size", "stride", "grid"),
    [
        ((8, 8), 4, 4, (2, 2)),
        ((8, 12), 4, 4, (2, 3)),
        ((9, 7), 4, 4, (3, 2)),
        ((8, 12), 4, 2, (3, 5)),
        ((9, 8), 4, 3, (3, 3)),
        ((3, 5), 4, 4, (1, 2)),
        ((224, 224), 16, 8, (27, 27)),
    ],
    ids=str,
)
def test_is_a_convolution_of_the_padded_image(img_size, patch_size, stride, grid):
    embed = PatchEmbed(img_size, patch_size, stride, in_chans=2, embed_dim=5)
    assert embed.grid == grid
    images = torch.randn(3, 2, *img_size)
    rows, cols = ((count - 1) * stride + patch_size for count in grid)
    padded = F.pad(images, (0, cols - img_size[1], 0, rows - img_size[0]))
    tokens = embed(images)
    assert tokens.is_contiguous()
    assert_close(tokens, embed.proj(padded).flatten(2).mT)


def test_share_of_a_mask_in_each_patch_leaves_added_zeros_out():
    embed = PatchEmbed((3, 4), patch_size=2, stride=2, in_chans=1, embed_dim=4)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    assert_close(embed.share(mask[None, None]), torch.tensor([[[1.0, 0.25], [0.5, 0.0]]]))


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 1, 8, 9), (1, 8, 8)], ids=str)
def test_rejects_images_of_another_shape(shape):
    embed = PatchEmbed((8, 8), 4, 4, in_chans=1, embed_dim=4)
    with pytest.raises(ValueError, match=r"images must be .*\(1, 8, 8\) after the batch, got shape"):
        embed(torch.zeros(shape))


def test_rejects_sizes_that_make_no_patches():
    with pytest.raises(UserError, match="must be at least 1"):
        PatchEmbed((8, 8), 0, 1, in_chans=1, embed_dim=4)
    with pytest.raises(UserError, match="stride 5 skips pixels"):
        PatchEmbed((8, 8), 4, 5, in_chans=1, embed_dim=4)
