import pytest
import torch

from mamba_mender.inspection.evolution import forecast_score, remember


def course(start, steps=3):
    """Go round a circle, a tenth of a turn a step."""
    angles = start[:, None] + 0.2 * torch.pi * torch.arange(steps + 1)
    points = torch.stack([angles.cos(), angles.sin()], -1)
    return points[:, 0], points[:, 1:]


def test_what_the_state_decides_is_forecast():
    now, later = course(2 * torch.pi * torch.rand(400))
    score = forecast_score(remember(now[:300], later=later[:300]), now[300:], later[300:], neighbours=2)
    assert (score.r2 > 0.99).all()
    assert (score.gain > 0.99).all()
    assert (score.copy_r2.diff() < 0).all()  # the further ahead, the worse the copy
    assert score.random_r2.max() < 0


def test_what_it_does_not_decide_is_not():
    now, later = torch.randn(400, 2), torch.randn(400, 3, 2)
    score = forecast_score(remember(now[:300], later=later[:300]), now[300:], later[300:], neighbours=100)
    assert score.r2.abs().max() < 0.05
    assert score.copy_r2.max() < -0.7


def test_the_mean_of_all_is_no_better_than_the_mean():
    now, later = course(2 * torch.pi * torch.rand(40))
    score = forecast_score(remember(now[:30], later=later[:30]), now[30:], later[30:], neighbours=30)
    assert score.r2.abs().max() < 1e-6  # the same sum in another order
    assert score.random_r2.abs().max() < 1e-6


def test_the_copy_of_a_state_that_stays_is_exact():
    now = torch.randn(20, 2)
    score = forecast_score(remember(now[:10], later=now[:10, None]), now[10:], now[10:, None])
    assert score.copy_r2.item() == 1
    assert score.gain.isnan().item()


def test_refuses():
    with pytest.raises(ValueError, match="no later states"):
        forecast_score(remember(torch.randn(3, 2)), torch.randn(3, 2), torch.randn(3, 1, 2))
    memory = remember(torch.randn(3, 2), later=torch.randn(3, 1, 2))
    with pytest.raises(ValueError, match="later has steps=2"):
        forecast_score(memory, torch.randn(3, 2), torch.randn(3, 2, 2))
    with pytest.raises(ValueError, match="no held-out input"):
        forecast_score(memory, torch.randn(0, 2), torch.randn(0, 1, 2))
