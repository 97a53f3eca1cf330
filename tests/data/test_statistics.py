import torch
from torch.testing import assert_close

from mamba_mender.data import MemoryImages
from mamba_mender.data.statistics import channel_statistics


def make_set(count=3000):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 2, 3, 3), generator=generator, dtype=torch.uint8)
    pixels[:, 1] //= 2
    return MemoryImages(pixels, torch.zeros(count))


def test_agrees_with_torch():
    images = make_set()
    mean, std = channel_statistics(images)
    pixels = images.images.double() / 255
    assert_close(torch.tensor(mean, dtype=torch.float64), pixels.mean(dim=(0, 2, 3)), atol=1e-7, rtol=0)
    assert_close(torch.tensor(std, dtype=torch.float64), pixels.std(dim=(0, 2, 3), correction=0), atol=1e-6, rtol=0)


def test_sample_comes_close():
    mean, std = channel_statistics(make_set())
    mean_of_some, std_of_some = channel_statistics(make_set(), sample=1000)
    assert_close(torch.tensor(mean_of_some), torch.tensor(mean), atol=0.01, rtol=0)
    assert_close(torch.tensor(std_of_some), torch.tensor(std), atol=0.01, rtol=0)


def test_channel_without_variation_has_std_1():
    images = MemoryImages(torch.full((2, 1, 2, 2), 51, dtype=torch.uint8), torch.zeros(2))
    mean, std = channel_statistics(images)
    assert_close(torch.tensor(mean), torch.tensor([0.2]))
    assert std == [1.0]
