import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.repair.guard import GuardConfig, StateGuard
from mamba_mender.repair.guard.freeze import FrozenSite, _score_bar, freeze_guard
from mamba_mender.repair.guard.health import conformal_p
from mamba_mender.repair.guard.memory import Memory
from mamba_mender.stress.faults import StateFault, state_fault


def frozen_outputs(shifted, guard, trained, images):
    """What the guarded model in mode "frozen" gives."""
    frozen = guard.with_config(mode="frozen")(trained)
    frozen.load_state_dict(shifted.state_dict())
    frozen.drift.limit = shifted.drift.limit
    with torch.no_grad(), frozen.held():
        return frozen(images), frozen.last.flagged


def test_it_repairs_as_the_frozen_guard_does(shifted, guard, trained, test_set):
    images = test_set[2][250:330]
    expected, flagged = frozen_outputs(shifted, guard, trained, images)
    with torch.no_grad():
        found, plain = freeze_guard(shifted)(images), trained(images)
    assert flagged.double().mean() > 0.8
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_it_leaves_healthy_samples_beside_unhealthy_ones(shifted, guard, trained, test_set):
    """A stream that is shifted in part: its bar stays at alpha, and more is flagged than alpha explains."""
    images = torch.cat([test_set[0][:60], test_set[2][250:280]])
    shifted.vigilance.reset()
    shifted.vigilance.count(torch.ones(110), torch.zeros(110))
    shifted.drift.limit = torch.inf
    expected, flagged = frozen_outputs(shifted, guard, trained, images)
    with torch.no_grad():
        found, plain = freeze_guard(shifted)(images), trained(images)
    assert 20 < flagged.sum() < 50
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(found[~flagged], plain[~flagged])
    assert not torch.allclose(found[flagged], plain[flagged], atol=1e-2)


def test_rows_do_not_touch_each_other(shifted, test_set):
    frozen = freeze_guard(shifted)
    with torch.no_grad():
        whole = frozen(test_set[2][:20])
        alone = torch.cat([frozen(image[None]) for image in test_set[2][:20]])
    torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-4)


def test_it_is_exported_with_equal_outputs(shifted, test_set):
    frozen = freeze_guard(shifted).eval()
    images = test_set[2][250:258]
    program = torch.export.export(frozen, (images,), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), frozen(images))
        other = test_set[0][:8]
        torch.testing.assert_close(program.module()(other), frozen(other))


def test_it_shares_nothing_with_the_guarded_model(shifted, trained, test_set):
    frozen = freeze_guard(shifted)
    before = frozen(test_set[2][:5])
    shifted.reset()
    assert torch.equal(frozen(test_set[2][:5]), before)
    assert not any(isinstance(module, FrozenSite) for module in trained.modules())
    ours = {p.data_ptr() for p in trained.parameters()}
    assert ours.isdisjoint(p.data_ptr() for p in frozen.parameters())


def test_states_that_are_not_finite_are_judged_and_not_mended(shifted, test_set):
    frozen = freeze_guard(shifted)
    with torch.no_grad(), state_fault(frozen, StateFault("nan", 0.5, state="y", block=0)):
        assert frozen(test_set[0][:2]).isnan().any()


@pytest.mark.parametrize("level", [0.0, 0.01, 0.125, 0.25, 0.3, 0.5, 0.625, 1.0])
def test_the_bar_of_scores_is_the_level_of_p_values(level):
    scores = torch.tensor([1.0, 2.0, 2.0, 3.0, 5.0, 8.0, 13.0])
    new = torch.tensor([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 13.0, 14.0])
    assert torch.equal(new > _score_bar(scores, level), conformal_p(new, scores) <= level)


def test_a_guard_that_remembers_nothing_is_refused(guard, trained):
    with pytest.raises(UserError, match="remembers no unhealthy samples"):
        freeze_guard(guard(trained))


def test_repairs_of_single_tokens_are_refused(guard, trained):
    with pytest.raises(UserError, match="repair 'box' moves single tokens"):
        freeze_guard(guard.with_config(repair="box")(trained))


def test_states_that_are_no_state_points_are_refused(make_family):
    model = make_family("Mamba")
    tokens = torch.randint(0, 40, (120, 6))
    guarded = StateGuard.calibrate(model, tokens[:80], tokens[80:], config=GuardConfig(alpha=0.1))(model)
    for site in guarded.guards().values():
        site.remember(Memory(site.law.law(), 10.0))
    with pytest.raises(UserError, match="is no state point"):
        freeze_guard(guarded)
