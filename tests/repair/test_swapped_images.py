import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data import load_data
from mamba_mender.repair import SwappedImages


def test_an_image_looks_the_same_in_any_batch_and_subset(decoys):
    swapped = SwappedImages(decoys.validation)
    whole = swapped.batch(torch.arange(len(swapped)))
    assert torch.equal(swapped.batch(torch.tensor([7, 3])).images, whole.images[[7, 3]])
    assert torch.equal(swapped.subset(torch.tensor([7, 3])).batch(torch.tensor([1])).images, whole.images[[3]])


def test_keeps_the_foreground_and_changes_the_decoy(decoys):
    swapped, plain = SwappedImages(decoys.validation), decoys.validation
    everything = torch.arange(len(plain))
    new, old = swapped.batch(everything), plain.batch(everything)
    inside = old.masks.expand_as(old.images)
    assert torch.equal(new.images[inside], old.images[inside])
    assert (new.images != old.images).flatten(1).any(1).float().mean() > 0.8


def test_takes_only_images_with_a_mask(decoys):
    few = decoys.validation.with_masks_only_for(torch.tensor([1, 4, 9]))
    swapped = SwappedImages(few)
    assert torch.equal(swapped.labels, decoys.validation.labels[[1, 4, 9]])
    assert swapped.batch(torch.tensor([0, 2])).indices.tolist() == [0, 2]


def test_needs_two_masks():
    with pytest.raises(UserError, match="0 images have a mask"):
        SwappedImages(load_data("digits").validation)
