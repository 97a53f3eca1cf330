import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.repair.guard.analysis import GuardAnalysis, analyse_guard
from mamba_mender.repair.guard.metrics import hebbian_correlation_strength


@pytest.fixture(scope="module")
def found(guard, trained, test_set):
    """From clean to noisy: 150 images of each, in batches of 30."""
    stream = [*test_set[0][:150].split(30), *test_set[2][150:300].split(30)]
    return analyse_guard(guard(trained), stream, test_set[1][:300])


def test_each_series_has_a_number_a_batch(found):
    assert found.samples == [30] * 10
    for name, series in found.to_dict().items():
        if name not in ("sites", "config"):
            assert len(series) == 10, name
    for site in found.to_dict()["sites"].values():
        for name, series in site.items():
            assert len(series) == 10, name


def test_the_shift_is_seen_where_it_comes(found):
    assert min(found.health[:5]) > max(found.health[5:])
    assert max(found.unhealthy[:5]) < min(found.unhealthy[5:])
    assert max(found.score[5:]) < 0.9
    assert sum(found.moved[:5]) < 0.5
    assert min(found.moved[8:]) > 0.8
    assert found.sites["embedding"].weight[-1] > 100
    assert sum(found.accuracy[5:]) > sum(found.base[5:])


def test_the_numbers_are_those_of_the_guard(guard, trained, test_set):
    guarded = guard(trained)
    found = analyse_guard(guarded, test_set[2][:100].split(50))
    again = guard(trained)
    with torch.no_grad():
        for part in test_set[2][:100].split(50):
            again(part)
    assert found.health[-1] == pytest.approx(again.last_health.mean().item(), rel=1e-5)
    site, law, series = again.guards()["0.h"], guard.laws["0.h"], found.sites["0.h"]
    strength = hebbian_correlation_strength(site.memory.law, law.law(), law.modes)
    assert series.hebbian[-1] == pytest.approx(strength, rel=1e-5)
    assert series.rate[-1] == again.last.reports["0.h"].learning.rate
    assert series.potentiated[-1] == again.last.reports["0.h"].learning.potentiated
    assert series.depressed[-1] == again.last.reports["0.h"].learning.depressed
    assert 0.9 < series.potentiated[-1] + series.depressed[-1] <= 1
    assert series.surprise[-1] == again.last.reports["0.h"].learning.surprise
    assert series.weight[-1] == site.memory.weight
    assert series.energy[-1] == pytest.approx(series.distance[-1] ** 2 / 2)
    assert found.bar[-1] == again.last.bar
    assert found.accuracy == [None, None]


def test_the_repair_lowers_energy_and_deviation(found):
    for site in found.sites.values():
        assert sum(site.energy_after[6:]) < sum(site.energy[6:])
    first = found.sites["embedding"]
    assert sum(first.homeostasis_after[6:]) < sum(first.homeostasis[6:])


def test_it_is_read_as_it_was_written(found, tmp_path):
    assert GuardAnalysis.load(found.save(tmp_path / "new" / "analysis.json")) == found


def test_an_empty_stream_is_refused(guard, trained):
    with pytest.raises(UserError, match="the stream is empty"):
        analyse_guard(guard(trained), [])


def test_too_few_labels_are_refused(guard, trained, test_set):
    with pytest.raises(UserError, match="longer than its 70 labels"):
        analyse_guard(guard(trained), test_set[0][:100].split(50), test_set[1][:70])


@pytest.mark.parametrize("content", ["[", "{}", '{"sites": {"0.h": {"speed": 1}}}', '{"sites": {}, "speed": 1}'])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no analysis of a guard"):
        GuardAnalysis.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        GuardAnalysis.load(tmp_path / "a.json")
