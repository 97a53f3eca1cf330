from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import Patching, fit_effect_predictor

ZERO = torch.zeros(5).double()


def made(effect, method, change=None):
    blocks, positions, inputs = effect.shape
    zero = torch.zeros(inputs).double()
    change = torch.ones_like(effect) if change is None else change
    return Patching(
        "h", "denoising", method, "", list(range(blocks)), list(range(positions)), zero + 1, zero, effect, change
    )


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture
def easy():
    """Effects that are twice the first order, with a little noise."""
    first = normal(0, 6, 30, 5)
    return made(first, "first order"), made(2 * first + 0.2 * normal(1, 6, 30, 5), "exact")


@pytest.fixture
def hopeless():
    """Effects that have nothing to do with any feature."""
    return made(normal(2, 4, 12, 5), "first order"), made(normal(3, 4, 12, 5), "exact")


def test_learns_what_can_be_learnt(easy):
    found = fit_effect_predictor(*easy)
    assert found.r2 > 0.98
    assert 0.5 < found.r2_first_order < found.r2  # half of each effect is missed without the factor
    assert found.sign.accuracy > 0.9
    assert found.places == (90, 45, 45)
    assert found.width < 1
    predicted = found.predict(easy[0])
    assert predicted.effect.shape == (6, 30, 5)
    assert ((predicted.low <= easy[1].effect) & (easy[1].effect <= predicted.high)).double().mean() > 0.85
    assert not any(name.startswith("_") for name in found.to_dict())


def effects_inside(found, inputs):
    inside = (found.low <= found.truth) & (found.truth <= found.high)
    return inside.reshape(-1, inputs).all(1).double().mean().item()


@pytest.mark.parametrize("together", [False, True], ids=["inputs err apart", "inputs err together"])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_hold_what_they_promise(level, together):
    """On average over splits the places that lie inside as a whole are the level, also where few places decide."""
    shares, inputs = [], 3
    for seed in range(40):
        first = normal(seed, 5, 12, inputs)
        noise = normal(100 + seed, 5, 12, 1).expand(5, 12, inputs) if together else normal(100 + seed, 5, 12, inputs)
        truth = first + 0.3 * noise.abs().pow(2)  # skewed: no Gaussian interval would do
        found = fit_effect_predictor(made(first, "first order"), made(truth, "exact"), level=level, seed=seed)
        shares.append(effects_inside(found, inputs))
        assert found.coverage >= shares[-1]
    assert sum(shares) / len(shares) == pytest.approx(level, abs=0.06)


def test_says_so_where_it_loses_to_the_mean(hopeless):
    found = fit_effect_predictor(*hopeless, seed=1)
    assert found.r2 <= 0.02
    lost = replace(found, r2=min(found.r2, -0.01))
    assert not lost.useful
    with pytest.raises(RuntimeError, match=r"no better than their mean \(R² -0\.0"):
        lost.predict(hopeless[0])


def test_held_out_places_are_not_seen_in_training(easy):
    """What is only true of the held-out third does not change what was fitted."""
    screen, truth = easy
    first = fit_effect_predictor(screen, truth)
    held = torch.ones(180, 5, dtype=torch.bool)
    changed = truth.patched.clone().reshape(180, 5)
    for place in range(180):  # find the held-out places by their effects
        held[place] = torch.isin(changed[place], first.truth)
    assert held[:, 0].sum() == 45
    changed[held] += 100
    second = fit_effect_predictor(screen, replace(truth, patched=changed.reshape(6, 30, 5)))
    assert_close(second.predicted, first.predicted)
    assert second.r2 < first.r2


def test_constant_truth_is_not_useful():
    found = fit_effect_predictor(made(normal(0, 4, 5, 2), "first order"), made(torch.ones(4, 5, 2).double(), "exact"))
    assert not found.useful


def test_refuses(easy):
    screen, truth = easy
    with pytest.raises(ValueError, match="differ in node"):
        fit_effect_predictor(replace(screen, node="y"), truth)
    with pytest.raises(ValueError, match="first-order screen and an exact truth"):
        fit_effect_predictor(truth, truth)
    with pytest.raises(ValueError, match="at least 12 places"):
        fit_effect_predictor(made(normal(0, 2, 5, 2), "first order"), made(normal(1, 2, 5, 2), "exact"))
    with pytest.raises(ValueError, match="leave a part"):
        fit_effect_predictor(screen, truth, shares=(0.5, 0.5))
