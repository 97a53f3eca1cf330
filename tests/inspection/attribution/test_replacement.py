import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.attribution import embedding, replacement_embedding


def test_blank_patches_are_what_a_blank_image_gives(make_vim, make_images):
    model, images = make_vim(), make_images()
    value, name = replacement_embedding(model, images)
    assert name == "blank"
    assert_close(value, embedding(model, torch.zeros_like(images)))
    half = images.clone()
    half[..., :2, :2] = 0  # patches do not overlap: blanking pixels and replacing the token are one
    assert_close(embedding(model, half)[:, 0], value[:, 0])
    assert_close(embedding(model, half)[:, 1:], embedding(model, images)[:, 1:])


def test_blur_takes_detail_away_and_leaves_even_images(make_vim, make_images):
    model, images = make_vim(), make_images()
    even = torch.full_like(images, 0.3)
    assert_close(replacement_embedding(model, even, "blur")[0], embedding(model, even), rtol=1e-6, atol=1e-6)
    mean = images.mean((2, 3), keepdim=True).expand_as(images)
    blurred = replacement_embedding(model, images, "blur")[0] - embedding(model, mean)
    assert blurred.norm() < 0.6 * (embedding(model, images) - embedding(model, mean)).norm()


def test_mean_token_number_and_given(make_family, make_vim, make_images):
    model = make_family("Mamba")
    ids = torch.tensor([[5, 6, 7], [8, 9, 4]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    value, name = replacement_embedding(model, ids, mask=mask)
    assert name == "mean"
    table = model.get_input_embeddings().weight.detach()
    assert_close(value[0, 2], table[[5, 6]].mean(0))
    value, name = replacement_embedding(model, ids, 2)
    assert name == "token 2"
    assert_close(value[1, 1], table[2])
    given = torch.ones(12)
    value, name = replacement_embedding(make_vim(), make_images(), given)
    assert (name, value.shape) == ("given", (3, 17, 12))


@pytest.mark.parametrize("kind", ["black", 3])
def test_refuses_what_does_not_fit(make_vim, make_images, kind):
    with pytest.raises(ValueError, match=r"must be 'blank' or 'blur' .* got .* for inputs of shape \(3, 1, 8, 8\)"):
        replacement_embedding(make_vim(), make_images(), kind)
