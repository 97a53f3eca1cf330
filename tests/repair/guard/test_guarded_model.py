import copy
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from mamba_mender._check import UserError
from mamba_mender.models import Vim
from mamba_mender.repair.guard import GuardConfig, GuardedModel, StateGuard, site_guard
from mamba_mender.repair.guard.law import law_of, wasserstein
from mamba_mender.repair.guard.memory import learn
from mamba_mender.repair.guard.site_law import SiteLaw
from mamba_mender.stress.faults import StateFault, state_fault
from mamba_mender.taps import StateKey
from mamba_mender.taps.find_places import find_places


@pytest.fixture
def guarded(guard, trained):
    return guard(trained)


@pytest.fixture
def tiny():
    """A random Vim in float64 with a guard of its two residual states, calibrated on normal inputs."""
    torch.manual_seed(0)
    model = Vim(img_size=4, patch_size=2, in_chans=1, num_classes=3, embed_dim=4, depth=1, d_state=2, pool="mean")
    model = model.double().eval()
    healthy = torch.randn(300, 1, 4, 4, dtype=torch.float64)
    labels = model(healthy).argmax(1)
    config = GuardConfig(alpha=0.1, evidence=1.0)
    guard = StateGuard.calibrate(model, healthy[:200], healthy[200:], labels=labels[:200], config=config)
    return model, in_double(guard)


def in_double(guard):
    """The same guard with its laws in float64."""
    laws = {
        key: SiteLaw.of_tensors({n: t.double() if t.is_floating_point() else t for n, t in law.tensors().items()})
        for key, law in guard.laws.items()
    }
    return replace(guard, laws=laws)


def run(model, images, size=50):
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(size)])


def right(outputs, labels):
    return (outputs.argmax(1) == labels[: len(outputs)]).double().mean().item()


def test_healthy_samples_pass_bit_for_bit(guarded, trained, test_set):
    plain, ours = run(trained, test_set[0]), run(guarded, test_set[0])
    same = (plain == ours).all(1).double().mean().item()
    assert same >= 0.95


def test_samples_that_are_not_flagged_pass_bit_for_bit_beside_flagged_ones(shifted, trained, test_set):
    mixed = torch.cat([test_set[0][:60], test_set[2][:30]])
    shifted.vigilance.reset()
    shifted.vigilance.count(torch.ones(110), torch.zeros(110))  # healthy samples, so that the bar stays
    shifted.drift.limit = torch.inf
    ours, plain = run(shifted, mixed, 90), run(trained, mixed, 90)
    left = ~shifted.last.flagged
    assert 50 < left.sum() < 80
    assert torch.equal(ours[left], plain[left])
    assert (ours[~left] != plain[~left]).any(1).all()


def test_rows_do_not_touch_each_other_where_nothing_is_flagged(guarded, trained, test_set):
    with guarded.held():
        whole = run(guarded, test_set[0][:40], 40)
        flagged = guarded.last.flagged
        order = torch.randperm(40)
        turned = run(guarded, test_set[0][order], 40)
    left = ~flagged
    torch.testing.assert_close(turned[order.argsort()][left], whole[left])


def test_a_noisy_stream_is_repaired(guarded, trained, test_set):
    _, labels, noisy = test_set
    base, ours = right(run(trained, noisy), labels), right(run(guarded, noisy), labels)
    assert ours > base + 0.05


def test_a_shift_of_known_moments_is_undone(guard, trained, test_set):
    """Each channel of a state is scaled and moved; in float64 the guard puts the moments back to float precision."""
    images, labels, _ = test_set
    model = copy.deepcopy(trained).double()
    config = replace(guard.config, evidence=0.0, shrinkage=1e-12, repair="whiten", mend_faults=False)
    guarded = replace(in_double(guard), card={}, config=config, faults={}).at(["0.h"])(model)
    guarded.keep_states = True
    scale, offset = (0.2 + 3 * torch.rand(24)).double(), 4 * torch.randn(24).double()
    point = find_places(model).points[StateKey(0, "h")].module
    point.register_forward_hook(lambda _module, _inputs, out: out * scale + offset)
    broken, healed = right(run(model, images.double(), 400), labels), right(run(guarded, images.double(), 400), labels)
    law, report = guarded.guards()["0.h"].law, guarded.last.reports["0.h"]
    assert len(report.before) == 359
    before, after = (
        wasserstein(law_of(states, law.modes), report.realignment.target, law.modes, 4)
        for states in (report.before, report.after)
    )
    assert after < 1e-6 * before
    assert broken < 0.8 * healed
    assert healed > 0.85


def test_reset_makes_it_as_new(shifted, guard, trained, test_set):
    shifted.reset()
    fresh = guard(trained)
    assert shifted.last is None
    assert torch.equal(run(shifted, test_set[2][:100]), run(fresh, test_set[2][:100]))
    for name, buffer in fresh.named_buffers():
        torch.testing.assert_close(shifted.get_buffer(name), buffer, rtol=0, atol=0, equal_nan=True)


def test_held_passes_leave_no_trace(shifted, test_set):
    before = {n: b.clone() for n, b in shifted.named_buffers()}
    with shifted.held():
        first = run(shifted, test_set[2][250:300])
        run(shifted, test_set[0][:50] * 3)
        assert torch.equal(run(shifted, test_set[2][250:300]), first)
    for name, buffer in shifted.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0, equal_nan=True)


def test_held_is_put_back_also_on_error(shifted, test_set):
    with pytest.raises(RuntimeError, match="stop"), shifted.held():
        raise RuntimeError("stop")
    before = shifted.guards()["0.h"].memory.law.mean
    run(shifted, test_set[2][:50])
    assert not torch.equal(shifted.guards()["0.h"].memory.law.mean, before)


def test_rollback_goes_back_to_a_snapshot(shifted, test_set):
    kept = shifted.snapshot()
    with shifted.held():
        expected = run(shifted, test_set[2][250:300])
    run(shifted, 2 * test_set[0][:100])
    shifted.rollback(kept)
    with shifted.held():
        assert torch.equal(run(shifted, test_set[2][250:300]), expected)


def test_what_is_learned_is_saved_with_the_model(shifted, guard, trained, test_set):
    other = guard(trained)
    other.load_state_dict(shifted.state_dict())
    torch.testing.assert_close(run(other, test_set[2][250:300]), run(shifted, test_set[2][250:300]))


def test_a_state_dict_of_another_calibration_brings_all_that_is_judged_by(guard, trained, digits, test_set):
    config = GuardConfig(alpha=0.05)
    images = {"mean": digits.mean, "std": digits.std, "sites": ["embedding", "0.h", "1.h"], "config": config}
    fewer = StateGuard.calibrate(trained, digits.train.subset(torch.arange(600)), digits.validation, **images)
    other, same = guard(trained), fewer(trained)
    own = len(guard.laws["0.h"].gauge.distances), len(fewer.laws["0.h"].gauge.distances)
    assert own[0] != own[1]
    other = GuardedModel(trained, fewer.laws, config, faults=fewer.faults)
    other.drift.judge_by(*[getattr(guard.laws["embedding"], n) for n in ("means", "within", "modes")], 0.1)
    other.load_state_dict(same.state_dict())
    assert other.vigilance.calibrated == own[1]
    assert other.drift.limit == float(fewer.laws["embedding"].drift_limit)
    assert torch.equal(run(other, test_set[2][:150]), run(same, test_set[2][:150]))


def test_a_site_learns_from_the_health_of_what_it_flagged_and_remembers_it(shifted, test_set, monkeypatch):
    calls = []

    def spy(memory, seen, count, **given):
        calls.append((memory, count, given))
        return learn(memory, seen, count, **given)

    monkeypatch.setattr(site_guard, "learn", spy)
    site = shifted.guards()["0.h"]
    before = site.memory
    shifted.vigilance.reset()
    shifted.vigilance.count(torch.ones(110), torch.zeros(110))  # healthy samples, so that the bar stays
    shifted.drift.limit = torch.inf
    run(shifted, torch.cat([test_set[0][:60], test_set[2][250:280]]), 90)
    memory, count, given = calls[1]  # the first is the embedding's
    torch.testing.assert_close(memory.law.scatter, before.law.scatter, rtol=0, atol=0)
    report, flagged = shifted.last.reports["0.h"], shifted.last.flagged
    assert torch.equal(given["health"], report.health[flagged])
    assert flagged.sum() < 45
    assert (count, given["tokens"]) == (int(flagged.sum()), 4)
    assert site.memory.recent < 0
    assert site.memory.recent != site.memory.usual
    again = (site.memory.weight, site.memory.surprise, site.memory.recent, site.memory.usual)
    learned = report.learning.memory
    assert again == (learned.weight, learned.surprise, learned.recent, learned.usual)
    assert site.memory.contradiction == learned.contradiction


def test_a_frozen_guard_learns_nothing_and_repairs_by_what_it_remembers(shifted, guard, trained, test_set):
    frozen = guard.with_config(mode="frozen")(trained)
    frozen.load_state_dict(shifted.state_dict())
    before = {n: b.clone() for n, b in frozen.named_buffers()}
    labels, noisy = test_set[1][250:], test_set[2][250:]
    ours = run(frozen, noisy)
    for name, buffer in frozen.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0, equal_nan=True)
    assert right(ours, labels) > right(run(trained, noisy), labels)
    untaught = guard.with_config(mode="frozen")(trained)
    assert torch.equal(run(untaught, noisy), run(trained, noisy))


def test_an_episodic_guard_knows_one_batch_alone(guard, trained, test_set):
    episodic = guard.with_config(mode="episodic")(trained)
    first = run(episodic, test_set[2][:60], 60)
    run(episodic, test_set[0][:60])
    assert episodic.guards()["0.h"].memory is None
    assert torch.equal(run(episodic, test_set[2][:60], 60), first)


@pytest.mark.parametrize("setting", ["hebbian", "plasticity", "homeostasis", "metaplasticity"])
def test_each_mechanism_can_be_removed_and_does_something(guard, trained, test_set, setting):
    whole, without = guard(trained), guard.with_config(**{setting: False, "horizon": 30.0})(trained)
    if setting == "metaplasticity":
        whole = guard.with_config(horizon=30.0)(trained)
    stream = torch.cat([test_set[2][:60], 1.5 - test_set[2][60:120]])
    assert not torch.equal(run(whole, stream, 30), run(without, stream, 30))
    if setting == "plasticity":
        assert without.guards()["0.h"].memory is None


@pytest.mark.parametrize("repair", ["whiten", "ellipsoid", "box", "wiener"])
def test_other_repairs_run_on_the_same_stream(guard, trained, test_set, repair):
    other = guard.with_config(repair=repair)(trained)
    out = run(other, test_set[2][:150])
    assert out.isfinite().all()
    assert not torch.equal(out[-50:], run(trained, test_set[2][100:150]))


def test_gradients_flow_through_the_statistics(tiny):
    """Against finite differences: moving one pixel of one sample moves the repair of the others."""
    model, guard = tiny
    guarded = guard(model)
    images = 3 * torch.randn(6, 1, 4, 4, dtype=torch.float64) + 2
    images.requires_grad_()

    def outputs(x):
        with guarded.held():
            return guarded(x)[3:].sum()  # rows 0 to 2 matter by the statistics alone

    loss = outputs(images)
    assert guarded.last.flagged.all()
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient[:3].abs().max() > 1e-6
    step = torch.zeros_like(images)
    for place in ((0, 0, 1, 2), (2, 0, 3, 3), (4, 0, 0, 0)):
        step.zero_()[place] = 1e-4
        up, down = ((images + sign * step).detach().requires_grad_() for sign in (1, -1))
        slope = (outputs(up) - outputs(down)).item() / 2e-4
        assert slope == pytest.approx(gradient[place].item(), rel=1e-2, abs=1e-5)


def test_an_attack_that_ignores_the_guard_or_its_statistics_is_weaker(shifted, trained, test_set, monkeypatch):
    """A small step along the sign of the gradient: first the whole one, then with statistics or guard left out."""
    labels, noisy = test_set[1][250:350], test_set[2][250:350]

    def loss_at(x):
        with shifted.held():
            return F.cross_entropy(shifted(x), labels)

    def gain(loss):
        leaf = noisy.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)
        with torch.no_grad():
            return (loss_at(noisy + 0.003 * gradient.sign()) - loss_at(noisy)).item()

    adaptive = gain(loss_at)
    bare = gain(lambda x: F.cross_entropy(trained(x), labels))
    with monkeypatch.context() as patch:
        patch.setattr(site_guard, "law_of", lambda states, modes: law_of(states.detach(), modes))
        constant = gain(loss_at)
    assert adaptive > constant > 0
    assert adaptive > 1.2 * bare


def test_faults_in_the_states_are_found_and_mended(guarded, trained, test_set):
    images, labels, _ = test_set
    for fault in (StateFault("nan", 0.05, block=0), StateFault("bit_flip", 0.05, block=0, bits="exponent")):
        with state_fault(trained, fault):
            broken = right(run(trained, images), labels)
        with state_fault(trained, fault):
            mended = run(guarded, images)
            report = guarded.last.reports["0.h"]
        assert (report.faults > 0).double().mean() > 0.5
        assert (report.health[report.faults > 0] <= 0.5).all()
        assert mended.isfinite().all()
        assert right(mended, labels) > broken + 0.1


def test_health_is_low_where_the_input_is_shifted(guarded, test_set):
    run(guarded, test_set[0][:100], 100)
    healthy = guarded.last_health
    run(guarded, test_set[2][:100], 100)
    assert healthy.shape == (100,)
    assert ((healthy >= 0) & (healthy <= 1)).all()
    assert healthy.mean() > guarded.last_health.mean() + 0.3


def test_the_stand_in_shares_the_memories_and_is_smooth(shifted, test_set):
    stand_in = shifted.surrogate()
    kept = shifted.snapshot()
    leaf = test_set[2][:20].clone().requires_grad_()
    out = stand_in(leaf)
    out.sum().backward()
    assert leaf.grad.isfinite().all()
    assert stand_in.sites is shifted.sites
    assert stand_in.last.gate.requires_grad
    for name, tensor in shifted.snapshot().items():
        torch.testing.assert_close(tensor, kept[name], rtol=0, atol=0, equal_nan=True)


def test_it_guards_a_mamba_of_transformers_on_tokens(make_family):
    model = make_family("Mamba")
    tokens = torch.randint(0, 40, (120, 12))
    guard = StateGuard.calibrate(model, tokens[:80], tokens[80:], config=GuardConfig(alpha=0.1), batch_size=40)
    guarded = guard(model)
    with torch.no_grad():
        plain, ours = model(tokens[:8]).logits, guarded(tokens[:8]).logits
    left = ~guarded.last.flagged
    assert left.sum() >= 5
    assert torch.equal(ours[left], plain[left])
    with state_fault(model, StateFault("nan", 0.02, block=0)), torch.no_grad():
        assert guarded(tokens[:8]).logits.isfinite().all()


def test_a_compiled_model_is_refused(guard, trained):
    guarded = guard(trained)
    guarded.model = torch.compile(trained, backend="eager")
    with pytest.raises(RuntimeError, match=r"GuardedModel the model before torch\.compile"):
        guarded(torch.zeros(1, 1, 8, 8))


def test_an_empty_batch_is_refused_and_leaves_no_trace(shifted, test_set):
    before, health = shifted.snapshot(), shifted.last_health
    for given in ({"args": (test_set[0][:0],)}, {"kwargs": {"images": test_set[0][:0]}}):
        with pytest.raises(UserError, match=r"the batch is empty, of shape \(0, 1, 8, 8\); pass one sample or more"):
            shifted(*given.get("args", ()), **given.get("kwargs", {}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in shifted.snapshot().items())
    assert shifted.last_health is health
    assert run(shifted, test_set[0][:1]).shape == (1, 10)


def test_no_tap_is_left_behind(guarded, trained, test_set):
    before = run(trained, test_set[2][:10])
    run(guarded, test_set[2][:10])
    assert torch.equal(run(trained, test_set[2][:10]), before)


def test_the_changed_settings_are_shown(guard, trained):
    assert "mode='episodic'" in repr(guard.with_config(mode="episodic")(trained))


def test_half_precision_leaves_the_statistics(guard, trained, test_set):
    """A model in bfloat16 is judged by statistics in float32, whichever was cast first."""
    late = copy.deepcopy(guard(trained)).bfloat16()
    assert next(late.model.parameters()).dtype == torch.bfloat16
    buffers = [buffer for site in (late.sites, late.watches, late.vigilance) for buffer in site.buffers()]
    assert buffers
    assert not any(buffer.dtype == torch.bfloat16 for buffer in buffers)
    with torch.no_grad():
        late(test_set[2][:100].bfloat16())
    assert late.last_health.isfinite().all()
    assert late.double().guards()["0.h"].law.within.dtype == torch.float64


def test_autocast_leaves_the_statistics(guard, trained, test_set):
    guarded = guard(trained)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for part in test_set[0].split(120):
            guarded(part)
        assert (guarded.last_health < 1).float().mean() < 0.2
        for part in test_set[2][:240].split(120):
            guarded(part)
    assert guarded.last.flagged.float().mean() > 0.5
    assert guarded.guards()["0.h"].memory.law.scatter.dtype == torch.float32
