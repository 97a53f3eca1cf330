import pytest
import torch
from scipy.stats import binom

from mamba_mender.repair.guard.vigilance import NEWEST, SPAN, Vigilance


def test_healthy_streams_keep_the_bar_at_alpha():
    raised = 0
    for seed in range(300):
        p = torch.rand(SPAN, generator=torch.Generator().manual_seed(seed))
        raised += Vigilance(0.03).bar(p) > 0.03
    assert raised <= 3  # 0.1 % of the spans are to be expected


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_share_of_shifted_samples_raises_the_bar(share):
    shifted = int(share * 200)
    p = torch.cat([torch.rand(shifted) * 0.2, torch.rand(200 - shifted)])
    bar = Vigilance(0.03).bar(p)
    assert bar >= 0.2 - 1 / 20
    flagged = p <= bar
    healthy = (flagged[shifted:].sum() / flagged.sum()).item()
    assert healthy <= 0.6  # at least half of what it flags is shifted, but for chance


def test_the_bar_is_the_largest_at_which_half_of_the_flagged_are_shifted():
    """Four in ten are shifted: 0.6 b <= (0.4 + 0.6 b) / 2 holds up to two thirds, and 0.65 is tried."""
    p = torch.cat([torch.linspace(0, 0.2, 80), torch.linspace(0, 1, 120)])
    assert Vigilance(0.03).bar(p) == pytest.approx(0.65)


def test_all_samples_of_a_stream_that_is_shifted_as_a_whole_are_flagged():
    assert Vigilance(0.03).bar(torch.rand(200) * 0.4) == 1


def test_few_samples_say_nothing():
    assert Vigilance(0.03).bar(torch.zeros(1)) == 0.03


def test_a_stream_is_shifted_when_more_is_flagged_than_alpha_explains():
    watch = Vigilance(0.03)
    p = torch.rand(200)
    flags = torch.zeros(200, dtype=torch.bool)
    flags[:15] = True  # P(f >= 15) is 0.0014, P(f >= 16) is 0.0005
    assert not watch.is_shifted(p, flags)
    flags[:16] = True
    assert watch.is_shifted(p, flags)


@pytest.mark.parametrize("alpha", [0.01, 0.03, 0.1])
@pytest.mark.parametrize("count", [1, 2, 5, 30, 200])
def test_at_most_one_healthy_span_in_a_thousand_is_taken_for_shifted(alpha, count):
    """The least number of flags that is a shift is the first whose binomial tail is below 0.001."""
    p = torch.rand(count)
    shifted = [Vigilance(alpha).is_shifted(p, torch.arange(count) < flags) for flags in range(count + 1)]
    assert shifted == sorted(shifted)
    assert shifted == [binom.sf(flags - 1, count, alpha) <= 0.001 for flags in range(count + 1)]


def test_one_flag_of_one_sample_is_no_shift_and_two_of_two_are():
    watch, p = Vigilance(0.03), torch.rand(2)
    assert not watch.is_shifted(p[:1], torch.tensor([True]))
    assert watch.is_shifted(p, torch.tensor([True, True]))  # 0.03^2 = 0.0009
    assert not Vigilance(0.05).is_shifted(p, torch.tensor([True, True]))


def test_a_stream_of_single_samples_wakes_up_after_a_few():
    """Healthy ones first, then shifted ones that are all flagged."""
    for healthy, soon in ((0, 2), (20, 5), (200, 16)):
        watch = Vigilance(0.03)
        if healthy:
            watch.count(torch.rand(healthy), torch.zeros(healthy))
        flagged, seen = torch.ones(1), 1
        while not watch.is_shifted(torch.zeros(1), flagged):
            watch.count(torch.zeros(1), flagged)
            seen += 1
        assert seen == soon


def test_it_looks_back_on_the_newest_samples_in_their_order():
    watch = Vigilance(0.03)
    stream = torch.rand(330)
    for part in stream.split(30):
        watch.count(part, part < 0.1)
    torch.testing.assert_close(watch.history[0], stream[-SPAN:])
    assert torch.equal(watch.history[1].bool(), stream[-SPAN:] < 0.1)


def test_asking_changes_nothing_and_reset_forgets():
    watch = Vigilance(0.03)
    watch.count(torch.rand(10), torch.ones(10, dtype=torch.bool))
    before = watch.history.clone()
    watch.bar(torch.rand(5))
    watch.is_shifted(torch.rand(5), torch.ones(5, dtype=torch.bool))
    torch.testing.assert_close(watch.history, before, equal_nan=True)
    watch.reset()
    assert watch.history.isnan().all()


def test_few_held_out_samples_make_the_stream_less_easily_shifted():
    p = torch.cat([torch.full((140,), 0.3), torch.full((60,), 0.9)])
    assert Vigilance(0.03, 2000).bar(p) > 0.03
    assert Vigilance(0.03, 100).bar(p) == 0.03


@pytest.mark.parametrize("size", [1, 10])
def test_a_shift_that_is_over_is_forgotten_within_fifty_samples(size):
    watch = Vigilance(0.03)
    for part in (0.1 * torch.rand(300)).split(size):
        assert not watch.count(part, part < 0.03)
    assert watch.bar(torch.zeros(0)) == 1
    seen = 0
    for part in torch.linspace(0.01, 1, 50)[torch.randperm(50, generator=torch.Generator().manual_seed(0))].split(size):
        seen += size
        if watch.count(part, part < 0.03):
            break
    assert seen <= 50
    assert int((~watch.history[0].isnan()).sum()) == NEWEST
    for part in torch.rand(20, generator=torch.Generator().manual_seed(1)).split(size):
        watch.count(part, part < 0.03)
    assert watch.bar(torch.zeros(0)) == 0.03


def test_healthy_and_shifted_streams_forget_hardly_ever():
    """Less than once in 10,000 samples, a stream whose p-values are all alike."""
    for top in (1.0, 0.6):
        watch, draw = Vigilance(0.03), torch.Generator().manual_seed(2)
        assert sum(watch.count(p, p < 0.03) for p in (top * torch.rand(3000, generator=draw)).split(1)) <= 1
