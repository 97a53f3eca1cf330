import torch

from mamba_mender.data import Batch


def make_batch(masks):
    return Batch(torch.rand(2, 1, 4, 4), torch.tensor([0, 1]), masks, torch.tensor([True, False]), torch.tensor([5, 3]))


def test_length_is_the_number_of_images():
    assert len(make_batch(None)) == 2


def test_to_moves_every_tensor_and_keeps_no_masks():
    moved = make_batch(torch.ones(2, 1, 4, 4, dtype=torch.bool)).to("meta")
    tensors = (moved.images, moved.labels, moved.masks, moved.has_mask, moved.indices)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert make_batch(None).to("meta").masks is None
