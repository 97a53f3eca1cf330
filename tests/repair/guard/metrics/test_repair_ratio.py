import pytest
import torch

from mamba_mender.repair.guard.metrics import repair_ratio
from mamba_mender.repair.guard.passage import Passage
from mamba_mender.repair.guard.vigilance import Vigilance


def run(guarded, images):
    with torch.no_grad():
        guarded(images)
    return guarded.last


def test_it_is_one_where_each_unhealthy_sample_is_repaired(shifted, test_set):
    found = run(shifted, test_set[2][250:300])
    assert (found.reports["embedding"].health < 1).any()
    assert repair_ratio(found) == 1


def test_it_is_zero_where_a_guard_that_remembers_nothing_is_frozen(guard, trained, test_set):
    found = run(guard.with_config(mode="frozen")(trained), test_set[2][:50])
    assert (found.reports["embedding"].health < 1).any()
    assert repair_ratio(found) == 0


def test_it_is_zero_where_a_single_false_alarm_passes(guard, trained, test_set):
    guarded = guard(trained)
    run(guarded, test_set[0][40:100])
    guarded.vigilance.reset()
    guarded.drift.limit = torch.inf
    guarded.vigilance.count(torch.ones(100), torch.zeros(100))  # nothing strange in the last hundred samples
    images = test_set[0][:20].clone()
    images[3] = 4
    found = run(guarded, images)
    assert found.reports["embedding"].health[3] < 1
    assert repair_ratio(found) == 0


def test_it_is_one_where_none_is_unhealthy(guard, trained, test_set):
    guarded = guard(trained)
    plain = next(
        n for n, image in enumerate(test_set[0]) if run(guarded, image[None]) and guarded.last_health.item() == 1
    )
    assert repair_ratio(run(guarded, test_set[0][plain : plain + 1])) == 1


def test_a_pass_that_reached_no_site_is_refused():
    with pytest.raises(ValueError, match="reached no site"):
        repair_ratio(Passage([], Vigilance(0.03)))
