import pytest
import torch

from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard.alignment import regular, transport_maps, whitening_maps
from mamba_mender.repair.guard.law import Law, Modes
from mamba_mender.repair.guard.moments import in_double
from mamba_mender.repair.guard.passage import Realignment, SiteReport
from mamba_mender.repair.guard.site_theory import site_theory


@pytest.fixture
def measure(guard):
    """Measure a site whose states have a known law that is moved by maps of a kind."""
    law = guard.laws["0.h"]
    modes = Modes(law.modes.basis.double(), law.modes.edges)
    target = in_double(regular(law.law(), 0.02))
    draws = torch.Generator().manual_seed(0)
    factor = torch.eye(24, dtype=torch.float64) + 0.05 * torch.randn(24, 24, dtype=torch.float64, generator=draws)
    source = Law(target.mean + 1, factor @ target.scatter @ factor.mT)
    states = source.mean + torch.randn(400, 4, 24, dtype=torch.float64, generator=draws)

    def run(make, strength=1.0, **settings):
        maps = make(source.scatter, target.scatter)
        report = SiteReport(torch.ones(400), torch.ones(3, 400), torch.zeros(400))
        report.realignment = Realignment(source, target, maps, strength, decomposed=True)
        report.before, report.after = states.float(), states.float()
        config = GuardConfig(strength=strength, **settings)
        return site_theory(report, law, None, config=config, tolerance=0.05)

    assert modes.bands == 3
    return run


@pytest.mark.parametrize("strength", [1.0, 0.6, 0.2])
def test_transport_leaves_one_minus_g_of_the_distance(measure, strength):
    found = measure(transport_maps, strength)
    assert found.after == pytest.approx((1 - strength) * found.before, abs=1e-4 * found.before)
    assert found.exact_gap < 1e-5
    assert found.energy[0] == pytest.approx(found.before**2 / 2)
    assert found.energy == pytest.approx(found.energy_proved, abs=1e-6 * found.energy[0])
    assert found.radius == pytest.approx(max(1 - strength, 1 - found.rate))


def test_whitening_is_measured_to_leave_the_geodesic(measure):
    found = measure(whitening_maps, 0.5, repair="whiten")
    assert found.gap > 1e-4
    assert found.exact_gap < 1e-5


def test_the_norm_is_that_of_the_applied_map(measure):
    whole, half = measure(transport_maps), measure(transport_maps, 0.5)
    assert half.norm == pytest.approx((1 + whole.norm) / 2, rel=1e-6)  # T is symmetric positive


def test_running_moments_arrive_within_the_bound(measure):
    fixed = measure(transport_maps, metaplasticity=False)
    assert fixed.rate == pytest.approx(0.5)
    assert fixed.steps == fixed.steps_bound == 5  # 0.5^5 = 0.03
    assert measure(transport_maps).steps <= 5


def test_without_learning_there_are_no_steps(measure):
    found = measure(transport_maps, mode="frozen")
    assert (found.rate, found.radius) == (0, 1)
    assert (found.steps, found.steps_bound, found.errors) == (None, None, [])


def test_gaussian_states_have_no_kurtosis(measure):
    assert measure(transport_maps).kurtosis == pytest.approx(0, abs=0.05)


def test_a_site_that_realigned_nothing_is_refused(guard):
    report = SiteReport(torch.ones(1), torch.ones(3, 1), torch.zeros(1))
    with pytest.raises(ValueError, match="realigned nothing"):
        site_theory(report, guard.laws["0.h"], None, config=GuardConfig(), tolerance=0.05)
