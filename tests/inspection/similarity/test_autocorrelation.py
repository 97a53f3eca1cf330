import numpy as np
import pytest
import torch

from mamba_mender.inspection.similarity import autocorrelation


def drift(tokens, memory, seed, batch=1, channels=1):
    draws = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, tokens, channels, dtype=torch.float64, generator=draws)
    for t in range(1, tokens):
        noise[:, t] = memory * noise[:, t - 1] + (1 - memory**2) ** 0.5 * noise[:, t]
    return noise


def test_one_input_is_its_definition():
    x = drift(21, 0.5, 0, channels=2)
    found = autocorrelation(x, lags=20, permutations=1).value
    for channel in range(2):
        a = x[0, :, channel].numpy() - x[0, :, channel].mean().item()
        for lag in range(21):
            assert found[lag, channel].item() == pytest.approx(np.dot(a[: 21 - lag], a[lag:]) / np.dot(a, a))


def test_inputs_are_pooled_and_pairs_never_cross_from_one_to_the_next():
    x = drift(9, 0.5, 1, batch=3)
    shift = torch.tensor([0.0, 100.0, -100.0], dtype=torch.float64)[:, None, None]
    found = autocorrelation(x + shift, lags=4, permutations=1).value[:, 0]
    a = (x - x.mean(1, keepdim=True))[..., 0]
    expected = [(a[:, : 9 - k] * a[:, k:]).sum() / a.square().sum() for k in range(5)]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("left", [True, False])
def test_padding_does_not_count(left):
    x = drift(12, 0.5, 2, batch=2)
    mask = torch.ones(2, 12).bool()
    mask[0, :5] = False
    mask = mask if left else mask.flip(1)
    alone = [x[i, mask[i]][None] for i in range(2)]
    found = autocorrelation(torch.where(mask[..., None], x, 1e6), lags=3, mask=mask, permutations=1).value
    top = bottom = 0.0
    for part in alone:
        a = part - part.mean()
        top, bottom = top + (a[:, :-2] * a[:, 2:]).sum(), bottom + a.square().sum()
    torch.testing.assert_close(found[2, 0], top / bottom)


def test_each_channel_is_a_series_of_its_own():
    """A flattened vector would correlate through the channels' levels."""
    x = torch.cat([drift(400, 0.0, 3), 50 + drift(400, 0.9, 5)], -1)
    found = autocorrelation(x, lags=1, permutations=99)
    assert found.value[1, 0].abs() < 0.1
    assert found.value[1, 1].item() == pytest.approx(0.9, abs=0.06)
    assert (found.baseline.adjusted_p[0] <= 0.05).tolist() == [False, True]


def test_one_and_zero_and_the_mean_of_chance():
    ramp = torch.arange(1000.0).view(1, -1, 1)
    assert autocorrelation(ramp, lags=1, permutations=1).value[1].item() == pytest.approx(1.0, abs=0.005)
    square = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(250).view(1, -1, 1)
    assert autocorrelation(square, lags=1, permutations=1).value[1].item() == pytest.approx(0.0, abs=0.002)
    found = autocorrelation(drift(11, 0.0, 0), lags=1, permutations=2000)
    assert found.baseline.null_mean.item() == pytest.approx(-1 / 11, abs=0.02)


def test_the_direction_does_not_matter():
    x = drift(15, 0.7, 6, batch=2, channels=3)
    one, other = (autocorrelation(part, permutations=1, lags=5).value for part in (x, x.flip(1)))
    torch.testing.assert_close(one, other)


def test_a_constant_channel_has_none():
    found = autocorrelation(torch.full((1, 9, 1), 0.1), lags=2, permutations=3)
    assert found.value.isnan().all()
    assert found.baseline.p_value.isnan().all()


def test_independent_tokens_give_even_p_values():
    draws = torch.Generator().manual_seed(0)
    p = torch.stack(
        [autocorrelation(drift(15, 0.0, i), lags=1, permutations=39, seed=draws).baseline.p_value for i in range(100)]
    )
    assert 0 < (p <= 0.05).sum() <= 11
    assert 0.4 < p.mean() < 0.6


def test_bad_arguments_are_named():
    x = torch.randn(2, 6, 1)
    with pytest.raises(ValueError, match=r"lags must lie in 1..5, .* got 6"):
        autocorrelation(x, lags=6)
    mask = torch.ones(2, 6).bool()
    mask[1, 3] = False
    with pytest.raises(ValueError, match=r"inputs \[1\] have padding between them"):
        autocorrelation(x, lags=1, mask=mask)
