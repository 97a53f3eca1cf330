import numpy as np
import pytest
import torch

from mamba_mender.data import load_data
from mamba_mender.data.masks import compute_masks


def make_images(foreground, background, channels=1):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(-20, 21, (5, channels, 12, 12), generator=generator)
    marker = torch.zeros(5, 1, 12, 12, dtype=torch.bool)
    for number in range(5):
        marker[number, :, 2 + number : 7 + number, 3:9] = True
    return (torch.where(marker, foreground, background) + noise).clamp(0, 255).to(torch.uint8), marker


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("foreground", "background"), [(200, 30), (30, 200)], ids=["bright", "dark"])
def test_otsu_finds_the_marker_bright_or_dark(foreground, background, channels):
    images, marker = make_images(foreground, background, channels)
    assert torch.equal(compute_masks(images, "otsu"), marker)


def otsu_by_the_book(values):
    """Try every threshold; keep the one with the largest variance between the classes."""
    best, threshold = -1.0, 0
    for t in range(255):
        low, high = values[values <= t], values[values > t]
        if len(low) and len(high):
            between = len(low) * len(high) * (low.mean() - high.mean()) ** 2
            if between > best * (1 + 1e-9):
                best, threshold = between, t
    return threshold


def test_otsu_agrees_with_the_definition_on_digits():
    images = load_data("digits").test.images[:20]
    masks = compute_masks(images, "otsu")
    for image, mask in zip(images, masks, strict=True):
        above = image > otsu_by_the_book(image.numpy().astype(np.float64).ravel())
        assert torch.equal(mask, above) or torch.equal(mask, ~above)


def test_image_of_one_value_has_no_foreground():
    assert not compute_masks(torch.full((1, 1, 4, 4), 77, dtype=torch.uint8), "otsu").any()
    assert not compute_masks(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "nonzero").any()


def test_nonzero_looks_at_all_channels():
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    images[0, 2, 1, 0] = 1
    assert compute_masks(images, "nonzero").flatten().tolist() == [False, False, True, False]


def test_empty_batch():
    assert compute_masks(torch.zeros(0, 1, 4, 4, dtype=torch.uint8), "otsu").shape == (0, 1, 4, 4)


def test_bad_input():
    with pytest.raises(ValueError, match=r"rule must be one of \('otsu', 'nonzero'\), got 'otso'"):
        compute_masks(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), "otso")
    with pytest.raises(ValueError, match=r"uint8 with values 0 to 255, got torch.float32"):
        compute_masks(torch.zeros(1, 1, 2, 2), "otsu")
