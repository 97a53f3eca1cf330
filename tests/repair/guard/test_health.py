import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.repair.guard.calibrate import watch
from mamba_mender.repair.guard.health import (
    MEASURES,
    QUANTILES,
    WEIGHTS,
    _quantiles,
    channel_activity,
    combine_p,
    conformal_p,
    conformal_p_by_kind,
    false_alarm_weights,
    health_of_p,
    inner_correlation,
    nonconformity,
    site_weights,
)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(-1, 10))
def test_conformal_p_counts_scores_at_least_as_high(calibration, score):
    ordered = torch.tensor(sorted(calibration)).float()
    expected = (1 + sum(each >= score for each in calibration)) / (len(calibration) + 1)
    assert conformal_p(torch.tensor([float(score)]), ordered).item() == pytest.approx(expected)


def test_conformal_p_judges_each_measure_by_its_own_scores():
    calibration = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    found = conformal_p(torch.tensor([[5.0, 0.0], [5.0, 25.0]]), calibration)
    torch.testing.assert_close(found, torch.tensor([[0.25, 1.0], [1.0, 0.5]]))


@pytest.mark.parametrize("alpha", [0.03, 0.1, 0.31])
def test_false_alarms_on_a_thousand_calibrations_keep_to_alpha(alpha):
    """Ties, heavy tails and all: exchangeability is all that is asked for."""
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(1000, 151, generator=generator).pow(3).mul(4).round()  # of many equal scores
    p = conformal_p(pool[:, -1:], pool[:, :-1].sort(-1).values)
    rate = (p <= alpha).double().mean().item()
    assert rate <= alpha + 3 * (alpha * (1 - alpha) / 1000) ** 0.5


def test_false_alarms_of_the_guard_on_a_thousand_calibrations(guard, trained, test_set):
    """All measures of all sites together, on real states: healthy samples are split anew, and alpha holds in the mean.

    A split makes its own calibration scores. What is flagged is worked out from the scores; for the first splits a
    guarded model with these scores runs, and alarms at the same samples.
    """
    alpha, keys, guarded = guard.config.alpha, list(guard.laws), guard(trained)
    with torch.no_grad():
        states, _ = watch(trained, keys, test_set[0])
    laws = [guard.laws[key] for key in keys]
    scores = torch.stack(
        [nonconformity(states[key], law.gauge, law.modes) for key, law in zip(keys, laws, strict=True)]
    )
    kinds = torch.stack([law.kinds_of(states[key]) for key, law in zip(keys, laws, strict=True)])
    weights = [site * measure for site in site_weights(len(keys)) for measure in WEIGHTS]
    rates = []
    for split in range(1000):
        order = torch.randperm(scores.shape[-1], generator=torch.Generator().manual_seed(split))
        old, new = order[:240], order[240:]
        p = conformal_p(scores[..., new], scores[..., old].sort(-1).values)
        flagged = combine_p(p.flatten(0, 1), weights) <= alpha - laws[0].with_scores(scores[0][:, old], old).rarity
        rates.append(flagged.double().mean())
        if split < 10:
            for site, law, own, kind in zip(guarded.sites.values(), laws, scores, kinds, strict=True):
                site.law_gauge__scores = law.with_scores(own[:, old], kind[old]).gauge.scores
            guarded.reset()
            with torch.no_grad():
                guarded(test_set[0][new])
            assert torch.equal(guarded.last.alarmed, flagged)
            assert not any(report.faults.any() for report in guarded.last.reports.values())
    rate = torch.stack(rates).mean().item()
    assert rate <= alpha + 3 * (alpha * (1 - alpha) / (1000 * 119)) ** 0.5
    assert rate > 0.2 * alpha  # nor is it empty: Bonferroni costs something, not everything


@pytest.mark.parametrize("kind", ["equal", "opposed", "independent"])
def test_combined_p_values_are_valid_under_any_dependence(kind):
    p = torch.rand(20000)
    tests = {"equal": [p, p, p], "opposed": [p, 1 - p, p], "independent": [p, torch.rand(20000), torch.rand(20000)]}
    combined = combine_p(torch.stack(tests[kind]), WEIGHTS)
    for alpha in (0.03, 0.2):
        assert (combined <= alpha).double().mean().item() <= alpha + 3 * (alpha / 20000) ** 0.5


def test_the_worst_dependence_uses_up_the_whole_of_alpha():
    """Rejections that never meet: the bound is reached, so no smaller correction would be valid."""
    u, alpha = torch.linspace(0, 1, 10001), 0.1
    tests = [u, (u - 0.05) % 1, (u - 0.075) % 1]
    assert (combine_p(torch.stack(tests), WEIGHTS) <= alpha).double().mean().item() == pytest.approx(alpha, abs=1e-3)


@given(st.integers(1, 12))
def test_false_alarms_are_shared_out_in_full(sites):
    weights = site_weights(sites)
    assert len(weights) == sites
    assert sum(weights) == pytest.approx(1)
    assert sum(WEIGHTS) == 1
    assert len(WEIGHTS) == len(MEASURES)


def test_health_of_p():
    assert health_of_p(torch.tensor([0.0, 0.015, 0.03, 1.0]), 0.03).tolist() == pytest.approx([0, 0.5, 1, 1])
    assert health_of_p(torch.tensor([0.0]), 0.0).tolist() == [1]


def test_activity_and_correlation_of_known_states():
    states = torch.tensor([[[2.0, 0.0], [-2.0, 1.0]]])
    torch.testing.assert_close(channel_activity(states).exp(), torch.tensor([[2.0, 0.5**0.5]]))
    found = inner_correlation(states, torch.zeros(1, 2), torch.eye(2))
    torch.testing.assert_close(found, torch.tensor([[[4.0, -1.0], [-1.0, 0.5]]]))


def test_each_measure_finds_what_it_is_for(guard, trained, test_set):
    """States that are louder, or whose channels are mixed up, score higher than healthy ones."""
    law = guard.laws["0.h"]
    with torch.no_grad():
        states, _ = watch(trained, ["0.h"], test_set[0][:100])
    states = states["0.h"]
    centre = law.law().mean
    healthy = nonconformity(states, law.gauge, law.modes).median(1).values
    loud = nonconformity(centre + 2 * (states - centre), law.gauge, law.modes).median(1).values
    mixed = nonconformity(centre + (states - centre).roll(1, -1), law.gauge, law.modes).median(1).values
    assert (loud > healthy).all()
    assert mixed[0] > 1.5 * healthy[0]


@given(st.integers(1, 50))
def test_quantiles_are_torchs(count):
    values = torch.randn(3, count, dtype=torch.float64)
    expected = torch.quantile(values, torch.tensor(QUANTILES, dtype=torch.float64), dim=1)
    torch.testing.assert_close(torch.stack(_quantiles(values)), expected)


def test_conformal_p_by_kind_is_valid_within_each_kind():
    """Of two kinds, one scores ten times as high; a stream of that one alone makes no more false alarms."""
    generator = torch.Generator().manual_seed(0)
    rates, plain = [], []
    for _ in range(200):
        known = torch.arange(120) % 2
        distances = torch.rand(120, generator=generator) * (1 + 9 * known)
        new = 10 * torch.rand(40, generator=generator)
        p = conformal_p_by_kind(new, torch.ones(40, dtype=torch.long), distances, known)
        rates.append((p <= 0.1).double().mean())
        plain.append((conformal_p(new, distances.sort().values) <= 0.1).double().mean())
    assert torch.stack(rates).mean().item() == pytest.approx(6 / 61, abs=0.015)
    assert torch.stack(plain).mean().item() > 0.15


def test_a_kind_that_was_never_seen_is_not_strange():
    p = conformal_p_by_kind(torch.tensor([99.0]), torch.tensor([2]), torch.ones(3), torch.tensor([0, 0, 1]))
    assert p.tolist() == [1]


@given(st.integers(1, 8), st.integers(1, 2000), st.floats(0.01, 0.2))
def test_some_sample_can_be_flagged_where_any_weights_allow_it(sites, count, alpha):
    of_sites, of_measures = false_alarm_weights(sites, count, alpha)
    assert sum(a * b for a in of_sites for b in of_measures) == pytest.approx(1)
    least = 1 / (count + 1) / (of_sites[0] * of_measures[0])
    assert least <= alpha or 1 / (count + 1) > alpha
