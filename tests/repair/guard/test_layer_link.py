"""The correlation between a layer and the one before it: measured, learned along a stream, and its drift."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.data import Normalise
from mamba_mender.repair.guard.calibrate import watch
from mamba_mender.repair.guard.layer_link import link_of, measure_links
from mamba_mender.repair.guard.metrics import layer_correlation_drift


def drawn(seed, *, samples=30):
    draw = torch.Generator().manual_seed(seed)
    sent = torch.randn(samples, 4, 3, dtype=torch.float64, generator=draw)
    return sent, sent @ torch.randn(3, 5, dtype=torch.float64, generator=draw) + 0.5 * torch.randn(
        samples, 4, 5, dtype=torch.float64, generator=draw
    )


ZERO = {"before": torch.zeros(1, 3).double(), "centre": torch.zeros(1, 5).double()}


def test_the_correlation_is_pearsons_about_the_healthy_means():
    sent, states = drawn(0)
    means = {"before": sent.mean((0, 1))[None], "centre": states.mean((0, 1))[None]}
    both = torch.cat([sent, states], -1).flatten(0, 1)
    torch.testing.assert_close(link_of(sent, states, **means).correlation, both.T.corrcoef()[:3, 3:])


@given(st.integers(0, 999), st.floats(0.1, 10))
def test_drift_is_blind_to_volume_and_symmetric(seed, volume):
    one, other = (link_of(*drawn(seed + k), **ZERO) for k in (0, 1))
    sent, states = drawn(seed)
    louder = link_of(volume * sent, volume * states, **ZERO)
    assert layer_correlation_drift(louder, one) == pytest.approx(0, abs=1e-9)
    assert layer_correlation_drift(one, other) == pytest.approx(layer_correlation_drift(other, one))
    assert 0 < layer_correlation_drift(one, other) <= 1


def test_drift_is_one_where_all_goes_the_other_way_round():
    sent, states = drawn(3)
    one, reverse = link_of(sent, states, **ZERO), link_of(sent, -states, **ZERO)
    assert layer_correlation_drift(reverse, one) == pytest.approx(1)


def test_halves_make_a_whole():
    sent, states = drawn(1)
    halves = link_of(sent[:10], states[:10], **ZERO).learned(link_of(sent[10:], states[10:], **ZERO), 20 / 30)
    for name, tensor in link_of(sent, states, **ZERO).tensors().items():
        torch.testing.assert_close(halves.tensors()[name], tensor)


def test_places_with_other_tokens_have_no_link():
    batches = [{"a": torch.randn(6, 4, 3), "b": torch.randn(6, 4, 5), "c": torch.randn(6, 2, 5)}]
    centres = {"a": torch.zeros(1, 3), "b": torch.zeros(1, 5), "c": torch.zeros(1, 5)}
    links = measure_links(batches, {"a": None, "b": "a", "c": "b"}, centres)
    assert list(links) == ["b"]
    assert links["b"].cross.shape == (3, 5)


def test_a_guard_knows_how_its_sites_go_together(guard, trained, digits):
    train = digits.train.batch(torch.arange(900))
    with torch.no_grad():
        states, out = watch(trained, ["embedding", "0.h"], Normalise(digits.mean, digits.std)(train.images))
    right = out.argmax(1) == train.labels
    law = guard.laws["0.h"]
    assert guard.laws["embedding"].link is None
    sent, own = (states[key][right] for key in ("embedding", "0.h"))
    seen = link_of(sent, own, before=law.link.before, centre=law.gauge.centre)
    torch.testing.assert_close(law.link.correlation, seen.correlation, rtol=1e-3, atol=1e-4)
    assert law.link.correlation.abs().amax() > 0.5


def test_the_link_learns_from_shifted_images_and_is_rolled_back(guard, trained, test_set):
    guarded = guard(trained)
    site = guarded.guards()["0.h"]
    with torch.no_grad():
        guarded(test_set[0][:50])
        assert site.link is None
        before = guarded.snapshot()
        drifts = []
        for part in test_set[2][:250].split(50):
            guarded(part)
            drifts.append(guarded.last.reports["0.h"].link)
    assert site.link is not None
    assert drifts[-1] == pytest.approx(layer_correlation_drift(site.link, site.law.link))
    assert 0.02 < drifts[-1] < 0.9
    assert guarded.last.reports["embedding"].link is None
    guarded.rollback(before)
    assert site.link is None
    guarded.reset()
    assert site.link is None


def test_without_hebbian_learning_there_is_no_link(guard, trained, test_set):
    guarded = guard.with_config(hebbian=False)(trained)
    with torch.no_grad():
        guarded(test_set[2][:100])
    assert guarded.last.reports["0.h"].learning is not None
    assert guarded.last.reports["0.h"].link is None
