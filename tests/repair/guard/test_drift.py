"""Drift of a stream: no mix of healthy classes is one, a small shift of all images is."""

import pytest
import torch

from mamba_mender.repair.guard.drift import LEAST, SPAN, HealthyBlocks, StreamDrift
from mamba_mender.repair.guard.law import Modes

CLASSES, TOKENS, CHANNELS = 4, 6, 5


@pytest.fixture
def means():
    return 3 * torch.randn(CLASSES, TOKENS, CHANNELS)


def watch_of(means, limit=2.0):
    return StreamDrift(means, torch.eye(CHANNELS).repeat(2, 1, 1), Modes(torch.eye(TOKENS), (0, 2, TOKENS)), limit)


def stream(means, classes):
    return means[classes] + torch.randn(len(classes), TOKENS, CHANNELS)


@pytest.mark.parametrize("shown", [[0], [3], [0, 2], [0, 1, 2, 3]])
def test_healthy_images_of_any_classes_are_no_drift(means, shown):
    classes = torch.tensor(shown).repeat(200 // len(shown))
    watch = watch_of(means)
    states = stream(means, classes)
    assert watch.misfit(states.mean(0), len(states)) == pytest.approx(1, abs=0.5)
    assert not watch.is_drifted(states)


def test_a_small_shift_of_all_images_is_found_though_no_sample_shows_it(means):
    states = stream(means, torch.arange(200) % CLASSES) + 0.3  # a third of what one sample varies by
    watch = watch_of(means)
    assert watch.is_drifted(states)
    assert not watch.is_drifted(states[: LEAST - 1])  # too few to say


def test_the_running_mean_follows_the_stream_and_forgets_it(means):
    watch = watch_of(means)
    shifted, healthy = (stream(means, torch.arange(SPAN) % CLASSES) + move for move in (1.0, 0.0))
    for part in shifted.split(40):
        watch.count(part)
    assert float(watch.weight) == SPAN
    assert watch.is_drifted(healthy[:10])
    watch.count(healthy)
    assert not watch.is_drifted(healthy[:10])
    watch.count(shifted)
    watch.reset()
    assert float(watch.weight) == 0
    assert not watch.mean.any()


def test_nan_does_not_stay_in_the_mean(means):
    watch = watch_of(means)
    watch.count(torch.full((3, TOKENS, CHANNELS), torch.nan))
    assert watch.mean.isfinite().all()


@pytest.mark.parametrize("size", [70, 500])
def test_healthy_blocks_are_as_they_come_and_by_class(size):
    states, classes = torch.randn(500, 2, 2), torch.arange(500) % 5
    found = HealthyBlocks()
    for part, kinds in zip(states.split(size), classes.split(size), strict=True):
        found.add(part, kinds)
    expected = [*states.split(200), *(states[classes == kind] for kind in range(5))]
    means = sorted((count, *mean.flatten().tolist()) for mean, count in found.means())
    assert means == [pytest.approx(row) for row in sorted((len(e), *e.mean(0).flatten().tolist()) for e in expected)]


def test_few_samples_make_no_block():
    blocks = HealthyBlocks()
    blocks.add(torch.randn(40, 2, 2), torch.zeros(40, dtype=torch.long))
    assert blocks.means() == []
