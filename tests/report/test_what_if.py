import pytest
import torch

from mamba_mender.report.what_if import what_if


def sees_only(row, column):
    """Answer by one pixel alone, surely."""
    return lambda images: 50 * (images[:, 0, row, column, None] - 0.5) * torch.tensor([-1.0, 1.0])


def test_the_effect_is_all_on_the_window_that_decides():
    images = torch.zeros(4, 1, 8, 8)
    images[2:, 0, 5, 1] = 1.0  # the pixel of window (2, 0) of 4 x 4 that decides
    effect = what_if(sees_only(5, 1), images, (4, 4))
    outside = effect.clone()
    outside[:, 2, 0] = 0
    assert outside.abs().max() == 0
    assert torch.allclose(effect[:, 2, 0], torch.full((4,), 2 / 3))  # of three donors, two are of the other kind


def test_a_model_that_looks_nowhere_has_no_effect():
    assert what_if(lambda images: torch.zeros(len(images), 3), torch.rand(3, 1, 4, 4), (2, 2)).abs().max() == 0


def test_windows_are_at_most_8_a_side_and_cover_sizes_that_do_not_divide():
    assert what_if(sees_only(0, 0), torch.rand(2, 1, 30, 29), (14, 7)).shape == (2, 8, 7)


def test_one_image_has_nobody_to_take_a_window_from():
    with pytest.raises(ValueError, match="needs at least 2 images"):
        what_if(sees_only(0, 0), torch.rand(1, 1, 4, 4), (2, 2))


def test_leaves_the_images_alone():
    images = torch.rand(3, 1, 4, 4)
    before = images.clone()
    what_if(sees_only(0, 0), images, (2, 2))
    assert torch.equal(images, before)
