import pytest
import torch
from scipy.ndimage import gaussian_filter

from mamba_mender.data.corruptions.fields import fractal, smooth


@pytest.mark.parametrize("sigma", [0.5, 2.0, 40.0])
def test_smoothing_is_scipys(sigma):
    field = torch.rand(17, 23, dtype=torch.float64)
    expected = gaussian_filter(field.numpy(), sigma, mode="reflect", truncate=3)
    torch.testing.assert_close(smooth(field, sigma), torch.from_numpy(expected))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (32, 32), (17, 40)])
def test_a_landscape_has_its_size_and_range(size, make_draws):
    field = fractal(make_draws(torch.zeros(3, 1)), *size, decay=2.0)
    assert field.shape == (3, *size)
    assert field.min() >= 0
    assert field.max() <= 1
    if size == (32, 32):  # the whole of it
        assert field.amin((1, 2)).tolist() == [0, 0, 0]
        assert field.amax((1, 2)).tolist() == [1, 1, 1]


def test_without_finer_octaves_a_landscape_joins_its_coarse_points_by_lines(make_draws):
    field = fractal(make_draws(torch.zeros(1, 1, dtype=torch.float64)), 32, 32, decay=1e3)[0]
    corner, middle, right, below = field[0, 0], field[16, 16], field[0, 16], field[16, 0]
    centre, other = (corner + middle + right + below) / 4, field[8, 24]
    torch.testing.assert_close(field[8, 8], centre, rtol=0, atol=1e-5)
    torch.testing.assert_close(other, centre, rtol=0, atol=1e-5)  # it joins at its edges
    torch.testing.assert_close(field[8, 0], (corner + below + 2 * centre) / 4, rtol=0, atol=1e-5)
    torch.testing.assert_close(field[0, 24], (corner + right + 2 * centre) / 4, rtol=0, atol=1e-5)
    for row, column in ((8, 4), (12, 16), (30, 28), (5, 6)):  # of each later octave, the middle of its four neighbours
        step = min(row & -row, column & -column)
        around = [field[row - step, column], field[(row + step) % 32, column]]
        around += [field[row, column - step], field[row, (column + step) % 32]]
        torch.testing.assert_close(field[row, column], sum(around) / 4, rtol=0, atol=1e-5)


def test_a_larger_decay_is_smoother(make_draws):
    def roughness(decay):
        return fractal(make_draws(torch.zeros(20, 1)), 64, 64, decay=decay).diff(dim=1).abs().mean().item()

    assert roughness(1.2) > 1.5 * roughness(1.6) > 2 * roughness(2.5)
