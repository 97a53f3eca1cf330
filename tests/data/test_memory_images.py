import pytest
import torch
from torch.testing import assert_close

from mamba_mender.data import MemoryImages


@pytest.fixture
def images():
    pixels = torch.arange(6 * 4).view(6, 1, 2, 2).to(torch.uint8)
    masks = torch.zeros(6, 1, 2, 2, dtype=torch.bool)
    masks[:, :, 0] = True
    has_mask = torch.tensor([True, True, True, False, True, True])
    return MemoryImages(pixels, torch.tensor([0, 1, 2, 0, 1, 2]), list("abcdef"), masks=masks, has_mask=has_mask)


def test_batch_has_values_in_the_order_asked(images):
    batch = images.batch(torch.tensor([4, 0]))
    assert batch.images.dtype == torch.float32
    assert_close(batch.images[:, 0, 0, 0] * 255, torch.tensor([16.0, 0.0]))
    assert batch.labels.tolist() == [1, 0]
    assert batch.indices.tolist() == [4, 0]


def test_image_without_mask_has_one_that_is_true_everywhere(images):
    batch = images.batch(torch.tensor([3, 2]))
    assert batch.has_mask.tolist() == [False, True]
    assert batch.masks[0].all()
    assert batch.masks[1].flatten().tolist() == [True, True, False, False]


def test_set_without_masks_gives_none():
    batch = MemoryImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2)).batch(torch.tensor([1]))
    assert batch.masks is None
    assert not batch.has_mask.any()


def test_subset_of_a_subset_names_the_right_images(images):
    part = images.subset(torch.tensor([5, 3, 1])).subset(torch.tensor([2, 0]))
    assert len(part) == 2
    assert part.names == ["b", "f"]
    assert part.labels.tolist() == [1, 2]
    batch = part.batch(torch.tensor([1]))
    assert_close(batch.images * 255, torch.tensor([[[[20.0, 21.0], [22.0, 23.0]]]]))
    assert batch.indices.tolist() == [1]
    assert_close(part.images, images.images[[1, 5]])


def test_subset_shares_pixels(images):
    assert images.subset(torch.tensor([0]))._images.data_ptr() == images.images.data_ptr()


def test_masks_only_for_some(images):
    part = images.with_masks_only_for(torch.tensor([1, 3]))
    assert part.has_mask.tolist() == [False, True, False, False, False, False]  # 3 never had one
    assert images.has_mask.sum() == 5
    assert part.batch(torch.tensor([0])).masks.all()
    assert images.with_masks_only_for(torch.tensor([], dtype=torch.long)).batch(torch.tensor([0])).masks is None


def test_rejects_floating_images():
    with pytest.raises(ValueError, match=r"images must be uint8 with values 0 to 255, got torch.float32"):
        MemoryImages(torch.zeros(1, 1, 2, 2), torch.zeros(1))


def test_rejects_disagreeing_counts():
    with pytest.raises(ValueError, match=r"labels has images=3 .* has images=2"):
        MemoryImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(3))
    with pytest.raises(ValueError, match="1 names for 2 images"):
        MemoryImages(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2), ["a"])
