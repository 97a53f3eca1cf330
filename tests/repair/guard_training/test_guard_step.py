"""One step of training with the guard."""

import json

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.repair.guard.law import Law
from mamba_mender.repair.guard_training import GuardStep, guard_step
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


def test_weights_of_0_leave_the_clean_loss(kind, make_vim, make_step, make_context):
    model = make_vim()
    step = make_step(model, corrupt_weight=0, plasticity_weight=0, homeostatic_factor=0, **KINDS[kind])
    ours, plain = (gradients(model, take(make_context(model))) for take in (step, classify))
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


def test_a_worse_push_of_states_hurts_more(make_vim, make_step, make_context):
    model = make_vim()
    small, large = (
        make_step(model, corrupt_share=1.0, push_steps=3, **KINDS["push"] | {"state_eps": eps})(make_context(model))
        for eps in (0.01, 0.5)
    )
    assert large["corrupted"] > small["corrupted"] > small["clean"] - 0.05


def test_the_activity_of_clean_states_is_held_too(make_vim, make_step, make_context):
    model = make_vim()
    step = make_step(model, adversarial_eps=1e-6, state_share=0.0)
    usual = step(make_context(model))["homeostasis"]
    context = make_context(model)
    context.images[len(context.images) // 2 :] *= 10  # the half that is not shown corrupted
    assert step(context)["homeostasis"] > 2 * usual


def test_states_that_hardly_move_cost_nothing(make_vim, make_step, make_context):
    model = make_vim()
    near, far = (
        make_step(model, adversarial_eps=eps, state_share=0.0, homeostatic_factor=0)(make_context(model))["plasticity"]
        for eps in (1e-6, 0.2)
    )
    assert near < 1e-6 < 1e-3 < far


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
    clean, _ = guard_step.watch(model, step.sites, make_context(model).images)
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


def test_a_wrapper_of_several_processes_is_looked_through(make_vim, make_step, make_context):
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, images):
            return self.module(images)

    model = make_vim()
    step = make_step(model)
    assert isinstance(step, GuardStep)
    bare, wrapped = (step(make_context(m, number=3))["loss"].item() for m in (model, Wrapper(model)))
    assert bare == wrapped
