import pytest
import torch

from mamba_mender.repair.guard.health import WEIGHTS
from mamba_mender.repair.guard.metrics import state_health_score
from mamba_mender.repair.guard.passage import Passage, SiteReport
from mamba_mender.repair.guard.vigilance import Vigilance


def passage(*healths):
    reports = {
        key: SiteReport(torch.tensor(health), torch.ones(3, len(health)), torch.zeros(len(health)))
        for key, health in zip(("embedding", "0.h", "1.h"), healths, strict=False)
    }
    return Passage([0.5, 0.25, 0.25][: len(healths)], Vigilance(0.03), reports=reports)


def least(guard, site_weight, alpha=0.5):
    count = guard.laws["0.h"].gauge.scores.shape[1] + 1
    return 1 / count / (site_weight * max(WEIGHTS)) / (alpha - guard.laws["0.h"].rarity)


def test_it_is_one_where_all_are_healthy(guard):
    assert state_health_score(passage([1.0, 1.0], [1.0, 1.0], [1.0, 1.0]), guard.laws, alpha=0.5) == 1


def test_it_is_zero_where_all_are_stranger_than_all_calibration_samples(guard, trained):
    """Inputs out of all reason, through the guarded model itself."""
    guarded = guard.with_config(alpha=0.5)(trained)
    with torch.no_grad(), guarded.held():
        guarded(torch.full((4, 1, 8, 8), 4.0))
    assert state_health_score(guarded.last, guard.laws, alpha=0.5) == pytest.approx(0, abs=1e-6)


def test_each_sample_counts_where_it_is_worst(guard):
    bottom = [least(guard, weight) for weight in (0.5, 0.25, 0.25)]
    half = [1 - (1 - low) / 2 for low in bottom]
    found = state_health_score(passage([half[0], 1.0], [1.0, 1.0], [1.0, half[2]]), guard.laws, alpha=0.5)
    assert found == pytest.approx(0.5)


def test_shifted_images_score_lower(guard, trained, test_set):
    guarded, found = guard(trained), []
    for images in (test_set[0][:100], test_set[2][:100]):
        with torch.no_grad(), guarded.held():
            guarded(images)
        found.append(state_health_score(guarded.last, guard.laws, alpha=0.05))
    assert found[0] > 0.9 > found[1] + 0.3


def test_a_pass_that_reached_no_site_is_refused(guard):
    with pytest.raises(ValueError, match="reached no site"):
        state_health_score(passage(), guard.laws, alpha=0.03)
