import time

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mamba_mender.repair.peers import median_filter


def by_loop(images, size):
    """Sort each window and take the middle."""
    radius, out = size // 2, torch.empty_like(images)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in images.shape)).tolist():
        image, channel, row, column = index
        rows = range(row - radius, row + radius + 1)
        columns = range(column - radius, column + radius + 1)
        height, width = images.shape[-2:]
        window = [
            images[image, channel, min(max(i, 0), height - 1), min(max(j, 0), width - 1)].item()
            for i in rows
            for j in columns
        ]
        out[image, channel, row, column] = sorted(window)[len(window) // 2]
    return out


@given(
    seed=st.integers(0, 999),
    size=st.sampled_from([1, 3, 5, 7]),
    shape=st.tuples(st.integers(1, 2), st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6)),
    shades=st.sampled_from([3, 1000]),
)
def test_it_is_the_median_of_each_window(seed, size, shape, shades):
    images = torch.randint(shades, shape, generator=torch.Generator().manual_seed(seed)) / shades
    assert torch.equal(median_filter(nn.Identity(), size=size)(images), by_loop(images, size))


def test_spots_go_and_edges_stay():
    clean = torch.zeros(1, 1, 8, 8)
    clean[..., 4:] = 1.0
    spotted = clean.clone()
    spotted[..., 2, 2], spotted[..., 5, 6] = 1.0, 0.0
    assert torch.equal(median_filter(nn.Identity())(spotted), clean)


def test_the_gradient_goes_to_the_median():
    images = torch.rand(2, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(median_filter(nn.Identity()), images)
    (gradient,) = torch.autograd.grad(median_filter(nn.Identity())(images).sum(), images)
    assert gradient.sum() == 2 * 5 * 6  # each output pixel is one input pixel


def test_batches_of_more_than_a_chunk_are_one_batch_to_the_model():
    sizes = []

    class Count(nn.Module):
        def forward(self, images):
            sizes.append(len(images))
            return images.flatten(1)

    images = torch.rand(600, 1, 4, 4)
    answers = median_filter(Count())(images)
    window = F.pad(images, (1, 1, 1, 1), mode="replicate").unfold(2, 3, 1).unfold(3, 3, 1)
    assert torch.equal(answers, window.flatten(-2).median(-1).values.flatten(1))
    assert sizes == [600]


def test_ten_thousand_images_take_less_than_two_seconds():
    images = torch.rand(10_000, 1, 28, 28)
    began = time.process_time()
    median_filter(nn.Identity())(images)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("size", [0, 2, -3])
def test_a_window_without_a_centre_is_refused(size):
    with pytest.raises(ValueError, match=f"median_filter: size must be an odd number above 0, got {size}"):
        median_filter(nn.Identity(), size=size)
