"""One step of training with the guard."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.repair.guard.law import Law
from mamba_mender.repair.guard_training import GuardStep, guard_step
from mamba_mender.repair.guard_training.state_corruption import restore_moments
from mamba_mender.repair.guard_training.worst_push import worst_push
from mamba_mender.training import Run, TrainConfig, classify

STATES = {"adversarial_eps": 0.0}
KINDS = {
    "pixels": {"state_share": 0.0},
    "noise": STATES | {"state_gain": 0.0},
    "gain": STATES | {"state_noise": 0.0},
    "push": STATES | {"state_noise": 0.0, "state_gain": 0.0, "state_eps": 0.2},
}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def gradients(model, logs):
    model.zero_grad()
    logs["loss"].backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_without_a_corrupted_share_it_is_the_plain_step_to_the_bit(make_vim, make_step, make_context):
    model = make_vim()
    step = make_step(model, corrupt_share=0, homeostatic_factor=0, plasticity_weight=0)
    state = torch.get_rng_state()
    ours, plain = (gradients(model, take(make_context(model))) for take in (step, classify))
    assert all(map(torch.equal, ours, plain))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_loss_is_the_weighted_sum(kind, make_vim, make_step, make_context):
    model = make_vim()
    weights = {"corrupt_weight": 0.5, "plasticity_weight": 3.0, "homeostatic_factor": 7.0}
    logs = make_step(model, **weights, **KINDS[kind])(make_context(model))
    parts = logs["clean"] + 0.5 * logs["corrupted"] + 3 * logs["plasticity"] + 7 * logs["homeostasis"]
    assert_close(logs["loss"], parts)
    assert all(value.isfinite() for value in logs.values())


def without_the_first(context, count):
    """Give a context that lacks its first images."""
    batch = context.batch
    rest = replace(batch, images=batch.images[count:], labels=batch.labels[count:])
    return replace(context, batch=rest, images=context.images[count:])


def test_weights_of_0_leave_the_loss_of_the_rest(kind, make_vim, make_step, make_context):
    model = make_vim()
    step = make_step(
        model, corrupt_share=0.25, corrupt_weight=0, plasticity_weight=0, homeostatic_factor=0, **KINDS[kind]
    )
    ours = gradients(model, step(make_context(model)))
    plain = gradients(model, classify(without_the_first(make_context(model), 6)))
    for one, other in zip(ours, plain, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_gradients_reach_every_weight_through_corruption_and_repair(kind, make_vim, make_step, make_context):
    model = make_vim()
    logs = make_step(model, **KINDS[kind])(make_context(model))
    found = torch.autograd.grad(logs["corrupted"], list(model.parameters()), allow_unused=True)
    assert all(slope is not None and slope.isfinite().all() and slope.abs().max() > 0 for slope in found)


def test_a_pushed_part_is_harder_than_the_clean_one_and_than_noise_of_the_same_size(make_vim, make_step, make_context):
    model = make_vim()
    context = make_context(model)
    logs = make_step(model, corrupt_share=1.0, state_share=0.0, adversarial_eps=0.1)(context)
    assert logs["corrupted"] > logs["clean"]
    noise = 0.2 * torch.rand(context.images.shape) - 0.1
    normalise = make_step().normalise
    noisy = model(normalise((context.batch.images + noise).clamp(0, 1)))
    assert logs["corrupted"] > nn.functional.cross_entropy(noisy, context.batch.labels)


def test_at_least_one_image_stays_clean(make_vim, make_step, make_context):
    model = make_vim()
    logs = make_step(model, corrupt_share=1.0)(make_context(model, count=2))
    last = without_the_first(make_context(model, count=2), 1)
    assert_close(logs["clean"], classify(last)["loss"])
    assert make_step(model, corrupt_share=1.0)(make_context(model, count=1)).keys() == {"loss", "accuracy"}


def test_at_least_one_image_is_corrupted(make_vim, make_step, make_context):
    assert "corrupted" in make_step(model := make_vim(), corrupt_share=0.01)(make_context(model, count=2))


def test_a_worse_push_of_states_hurts_more(make_vim, make_step, make_context):
    model = make_vim()
    small, large = (
        make_step(model, corrupt_share=1.0, push_steps=3, **KINDS["push"] | {"state_eps": eps})(make_context(model))
        for eps in (0.01, 0.5)
    )
    assert large["corrupted"] > small["corrupted"] > small["clean"] - 0.05


def with_activity(step, factors, rest):
    """Give states whose part and rest are as many times as active as healthy ones, by site, as they are recorded."""
    states = {}
    for key, law in step.laws.items():
        value = law.law.mean + law.deviation * torch.randn(2 * rest, *law.law.mean.shape)
        parts = [part * law.activity / part.square().mean((0, 1)).sqrt() for part in value.split(rest)]
        states[key] = torch.cat([part * factor for part, factor in zip(parts, factors[key], strict=True)])
    return states


def homeostasis(step, context, states, place):
    draw = guard_step._Draw(step, context, 12)
    draw.place, draw.reference = place, {key: value[12:] for key, value in states.items()}
    logs = {"loss": torch.zeros(())}
    draw._add_state_losses(logs, states, 12)
    return logs["homeostasis"].item()


@pytest.mark.parametrize("place", [-1, 0, 2])
def test_activity_is_held_of_the_rest_at_all_sites_and_of_the_part_behind_the_corruption(
    place, make_vim, make_step, make_context
):
    step = make_step(model := make_vim())
    context = make_context(model)
    even = dict.fromkeys(step.sites, (1, 1))
    assert homeostasis(step, context, with_activity(step, even, 12), place) == pytest.approx(0, abs=1e-8)
    terms = len(step.sites) + len(step.sites) - 1 - place
    for at, site in enumerate(step.sites):
        rest = homeostasis(step, context, with_activity(step, even | {site: (0.5, 1)}, 12), place)
        assert rest == pytest.approx(math.log(2) ** 2 / terms, rel=1e-3)
        part = homeostasis(step, context, with_activity(step, even | {site: (1, 2.0)}, 12), place)
        assert part == pytest.approx(math.log(2) ** 2 / terms if at > place else 0, rel=1e-3, abs=1e-8)


def test_too_much_of_one_does_not_make_up_for_too_little_of_the_other(make_vim, make_step, make_context):
    step = make_step(model := make_vim())
    states = with_activity(step, dict.fromkeys(step.sites, (0.47, 1.60)), 12)  # together hardly more than healthy
    expected = (math.log(0.47) ** 2 + math.log(1.60) ** 2) / 2
    assert homeostasis(step, make_context(model), states, -1) == pytest.approx(expected, rel=1e-3)


def test_states_that_hardly_move_cost_nothing(make_vim, make_step, make_context):
    model = make_vim()
    near, far = (
        make_step(model, adversarial_eps=eps, state_share=0.0, homeostatic_factor=0)(make_context(model))["plasticity"]
        for eps in (1e-6, 0.2)
    )
    assert near < 1e-6 < 1e-3 < far


@pytest.mark.parametrize("place", [-1, 0, 1])
def test_plasticity_is_the_distance_from_the_reference_behind_the_corruption_in_deviations(
    place, make_vim, make_step, make_context
):
    step = make_step(model := make_vim())
    draw = guard_step._Draw(step, make_context(model), 12)
    draw.place, logs = place, {"loss": torch.zeros(())}
    states = with_activity(step, dict.fromkeys(step.sites, (1, 1)), 12)
    draw.reference = {
        key: value[12:] - (at + 1) * step.laws[key].deviation for at, (key, value) in enumerate(states.items())
    }
    draw._add_state_losses(logs, states, 12)
    behind = [(at + 1) ** 2 for at in range(place + 1, len(step.sites))]
    assert logs["plasticity"].item() == pytest.approx(sum(behind) / len(behind), rel=1e-4)


@pytest.mark.parametrize("name", ["plasticity", "homeostasis"])
def test_what_is_asked_of_states_teaches_the_model(name, make_vim, make_step, make_context):
    model = make_vim()
    draw = guard_step._Draw(make_step(model, **KINDS["noise"]), make_context(model), 12)
    draw.place = 2 if name == "homeostasis" else 1  # behind the last site there is nothing: the rest alone teaches
    found = torch.autograd.grad(draw.losses()[name], list(model.parameters()), allow_unused=True)
    assert sum(float(slope.abs().sum()) for slope in found if slope is not None) > 0


@pytest.fixture
def pushes(monkeypatch):
    """Keep what is tried in each push, and the loss that it gave."""
    tried = []

    def spying(loss_of, start, **settings):
        def spied(values):
            loss = loss_of(values)
            tried.append((values.detach(), loss.item()))
            return loss

        return worst_push(spied, start, **settings)

    monkeypatch.setattr(guard_step, "worst_push", spying)
    return tried


def test_the_reference_of_pushed_pixels_is_the_start_of_the_push(pushes, make_vim, make_step, make_context):
    model = make_vim()
    step = make_step(model, state_share=0.0, adversarial_eps=0.2, push_steps=3)
    draw = guard_step._Draw(step, make_context(model), 12)
    draw.losses()
    assert len(pushes) == 3
    started, _ = guard_step.watch(model, step.sites, step.normalise(pushes[0][0]))
    for key, value in started.items():
        assert_close(draw.reference[key], value, rtol=1e-3, atol=1e-4)
        assert not draw.reference[key].requires_grad


def test_a_push_of_states_is_looked_for_through_the_repair(pushes, make_vim, make_step, make_context):
    model = make_vim()
    step, context = make_step(model, push_steps=3, **KINDS["push"]), make_context(model)
    draw = guard_step._Draw(step, context, 12)
    draw.losses()
    law = step.law("embedding")
    for number, (push, loss) in enumerate(pushes):
        logits, states = draw._run(
            model, context.images[:12], lambda s, p=push: restore_moments(s + p, law, step.config), 0
        )
        assert loss == pytest.approx(nn.functional.cross_entropy(logits, context.batch.labels[:12]).item(), rel=1e-5)
        if number == 0:
            assert all(torch.allclose(draw.reference[key], value, atol=1e-5) for key, value in states.items())


@pytest.mark.parametrize("kind", ["noise", "gain"])
def test_the_reference_of_corrupted_states_is_the_image_itself(kind, make_vim, make_step, make_context):
    model = make_vim()
    step, context = make_step(model, **KINDS[kind]), make_context(model)
    draw = guard_step._Draw(step, context, 12)
    draw.place = 0
    draw.losses()
    for key, value in guard_step.watch(model, step.sites, context.images[:12])[0].items():
        assert_close(draw.reference[key], value, rtol=1e-3, atol=1e-4)


def test_a_reference_that_nothing_is_compared_with_is_not_run(make_vim, make_step, make_context):
    model = make_vim()
    for place, settings in ((2, {}), (0, {"plasticity_weight": 0})):
        draw = guard_step._Draw(make_step(model, **settings, **KINDS["noise"]), make_context(model), 12)
        draw.place = place
        draw.losses()
        assert not draw.reference


def test_what_is_said_of_the_part_is_of_the_part(make_vim, make_step, make_context):
    model = make_vim()
    context = make_context(model)
    logs = make_step(model, corrupt_share=0.5, adversarial_eps=1e-7, state_share=0.0)(context)
    for name, rows in {"corrupted": slice(12), "clean": slice(12, None)}.items():
        logits, labels = model(context.images)[rows], context.batch.labels[rows]
        assert_close(logs[name], nn.functional.cross_entropy(logits, labels), rtol=1e-4, atol=1e-4)
        assert (
            logs[{"clean": "accuracy"}.get(name, "corrupted_accuracy")] == (logits.argmax(-1) == labels).float().mean()
        )
    assert logs["accuracy"] != logs["corrupted_accuracy"]


def test_weights_learn_as_they_do_in_float32_where_the_reference_is_run_in_half_precision(
    kind, make_vim, make_step, make_context
):
    """The reference has no gradient, and autocast keeps the weights that it casts for it."""
    found = []
    for enabled in (False, True):
        model = make_vim()
        step, context = make_step(model, **KINDS[kind]), make_context(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = step(context)["loss"]
        loss.backward()
        found.append({name: p.grad.norm() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(slope > 0 for slope in found[1].values())


def test_what_is_drawn_depends_on_seed_and_number_alone(kind, make_vim, make_step, make_context):
    model = make_vim()
    losses = []
    for number in (3, 4, 3):
        torch.manual_seed(number)
        losses.append(make_step(model, **KINDS[kind])(make_context(model, number))["corrupted"].item())
    assert losses[0] == losses[2] != losses[1]


def test_every_kind_and_site_comes_up(make_vim, make_step, make_context):
    model = make_vim()
    step = make_step(model, state_eps=0.1)
    draws = [guard_step._Draw(step, make_context(model, number), 2) for number in range(200)]
    assert {draw.kind for draw in draws} == {"pixels", "noise", "gain", "push"}
    assert {draw.place for draw in draws if draw.kind in ("noise", "gain")} == {0, 1, 2}
    assert {draw.place for draw in draws if draw.kind == "pixels"} == {-1}
    assert {draw.place for draw in draws if draw.kind == "push"} == {0}
    pixels = sum(draw.kind == "pixels" for draw in draws)
    assert 130 <= pixels <= 170


def test_statistics_are_refreshed_every_so_many_steps_from_clean_states(make_vim, make_step, make_context):
    model = make_vim()
    step = make_step(model, refresh_every=5, hebbian_rate=0.5, **KINDS["noise"])
    before = {key: law.law.mean for key, law in step.laws.items()}
    step(make_context(model, number=4))
    assert all(torch.equal(step.laws[key].law.mean, mean) for key, mean in before.items())
    step(make_context(model, number=5))
    rest = without_the_first(make_context(model), 6)
    clean, _ = guard_step.watch(model, step.sites, rest.images)
    for key, mean in before.items():
        assert_close(step.laws[key].law.mean, (mean + clean[key].mean(0)) / 2, rtol=1e-4, atol=1e-5)
        assert not step.laws[key].law.scatter.requires_grad


def test_without_statistics_it_says_what_to_do(make_vim, make_step, make_context):
    with pytest.raises(UserError, match="pass the step to train in callbacks"):
        make_step(**KINDS["noise"])(make_context(make_vim()))


def test_its_state_goes_through_json_to_the_bit(make_vim, make_step, make_context):
    model = make_vim()
    step, other = make_step(model), make_step()
    other.load_state_dict(json.loads(json.dumps(step.state_dict())))
    for key, law in step.laws.items():
        assert torch.equal(other.laws[key].law.scatter, law.law.scatter)
    ours, theirs = (taken(make_context(model, 7))["loss"].item() for taken in (step, other))
    assert ours == theirs


def test_the_first_statistics_are_those_of_all_images_together(make_vim, make_step, monkeypatch):
    model = make_vim()
    whole = make_step(model).laws
    monkeypatch.setattr(guard_step, "CHUNK", 20)
    for key, law in make_step(model).laws.items():
        assert_close(law.law.mean, whole[key].law.mean, rtol=1e-4, atol=1e-5)
        assert_close(law.deviation, whole[key].deviation, rtol=1e-4, atol=1e-5)


def test_a_compiled_model_is_refused(make_vim, make_step):
    model = make_vim()
    model._compiled_call_impl = model.forward  # what model.compile() sets
    with pytest.raises(RuntimeError, match="GuardStep: a compiled model skips its taps"):
        make_step(model)


def test_statistics_of_a_checkpoint_are_not_measured_anew(make_vim, make_step):
    step = make_step(make_vim(), healthy_count=32)
    kept = step.laws
    step.images = step.images.subset(torch.arange(50, 100))
    step.on_start(Run(make_vim(), TrainConfig(), 1, None))
    assert all(torch.equal(law.law.mean, kept[key].law.mean) for key, law in step.laws.items())


def test_other_settings_are_refused_on_resume(make_vim, make_step):
    step = make_step(make_vim(), plasticity_weight=0.1)
    with pytest.raises(UserError, match=r"plasticity_weight was 0.1, now 0.5; resume with the same"):
        make_step(plasticity_weight=0.5).load_state_dict(step.state_dict())


def test_processes_share_what_they_see(monkeypatch):
    def all_reduce(tensor):  # another process saw three times as much
        tensor.mul_(4)

    for name, value in {"is_initialized": lambda: True, "get_world_size": lambda: 2, "all_reduce": all_reduce}.items():
        monkeypatch.setattr(guard_step.dist, name, value)
    law = Law(torch.ones(2, 1), torch.ones(1, 1, 1))
    seen = guard_step.shared(law)
    assert seen.mean.tolist() == [[2.0], [2.0]]
    assert seen.scatter.item() == 2
    assert law.mean.tolist() == [[1.0], [1.0]]


def test_a_wrapper_of_several_processes_is_looked_through(kind, make_vim, make_step, make_context):
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, images):
            return self.module(images)

    model = make_vim()
    step = make_step(model, **KINDS[kind])
    assert isinstance(step, GuardStep)
    bare, wrapped = (step(make_context(m, number=3))["loss"].item() for m in (model, Wrapper(model)))
    assert bare == wrapped
