"""Training with the guard from end to end, on digits."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.data import Normalise, load_data
from mamba_mender.models import load_model
from mamba_mender.nn.mode import in_mode
from mamba_mender.repair.guard import GuardConfig, StateGuard
from mamba_mender.repair.guard.calibrate import watch
from mamba_mender.repair.guard_training import GuardStep, GuardTraining, train_guarded
from mamba_mender.repair.guard_training.running_law import RunningLaw
from mamba_mender.repair.guard_training.state_corruption import add_state_noise, restore_moments
from mamba_mender.training import TrainConfig, train

SETTINGS = GuardTraining(refresh_every=2, healthy_count=64)
CONFIG = TrainConfig(steps=6, batch_size=16, evaluate_every=3)


class StopAt:
    """Stop a run after a step, as a cut would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, run, step, logs):
        if step == self.step:
            run.stop()


def test_it_trains_calibrates_and_saves(digits, make_vim, tmp_path):
    done = train_guarded(make_vim(), digits, guard_training=SETTINGS, config=CONFIG, out=tmp_path, progress=False)
    assert done.path == tmp_path / "guard.safetensors"
    saved = load_model(tmp_path / "model.safetensors")
    guarded = StateGuard.load(done.path)(saved)  # refuses other weights
    assert guarded(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert not torch.equal(saved.head.weight, make_vim().head.weight)


def test_weights_are_kept_part_of_the_way(digits, make_vim, tmp_path):
    """The same training, once kept in full and once by a quarter; the guard is of the weights that are saved."""
    kept = {}
    for share in (1.0, 0.25):
        settings, out = replace(SETTINGS, trained_share=share), tmp_path / str(share)
        done = train_guarded(make_vim(), digits, guard_training=settings, config=CONFIG, out=out, progress=False)
        kept[share] = load_model(out / "model.safetensors")
        done.guard(kept[share])
        assert torch.equal(done.result.model.head.weight, kept[share].head.weight)
    start, whole, quarter = (each.head.weight for each in (make_vim(), kept[1.0], kept[0.25]))
    assert_close(quarter, torch.lerp(start, whole, 0.25))


def test_resume_is_exact(digits, make_vim, tmp_path):
    def run(folder, *callbacks, resume=False):
        model = make_vim()
        step = GuardStep(
            training=SETTINGS,
            config=GuardConfig(),
            sites=("embedding", "1.h"),
            images=digits.train,
            normalise=Normalise(digits.mean, digits.std),
            seed=0,
        )
        config = replace(CONFIG, keep_best=False)
        train(model, digits, step=step, callbacks=[step, *callbacks], config=config, out=folder, resume=resume)
        return model.state_dict(), step.laws

    weights, laws = run(tmp_path / "whole")
    run(tmp_path / "cut", StopAt(4))
    again, laws_again = run(tmp_path / "cut", resume=True)
    assert_close(again, weights, rtol=0, atol=0)
    for key, law in laws.items():
        assert torch.equal(laws_again[key].law.scatter, law.law.scatter)


def test_the_weights_are_chosen_by_plain_and_pushed_images_together(digits, make_vim):
    done = train_guarded(make_vim(), digits, guard_training=SETTINGS, config=CONFIG, progress=False)
    evaluations = [entry for entry in done.result.history if entry["kind"] == "evaluation"]
    for entry in evaluations:
        assert entry["mean_accuracy"] == pytest.approx((entry["accuracy"] + entry["pushed_accuracy"]) / 2)
        assert entry["pushed_accuracy"] <= entry["accuracy"] + 0.05
    assert done.result.best["mean_accuracy"] == max(entry["mean_accuracy"] for entry in evaluations)
    assert done.path is None


def test_too_few_validation_images_are_refused_before_the_training(digits, make_vim, tmp_path):
    few = replace(digits, validation=digits.validation.subset(torch.arange(33)))
    with pytest.raises(UserError, match=r"33 validation images are too few .* alpha=0\.03: at least 67"):
        train_guarded(make_vim(), few, guard_training=SETTINGS, config=CONFIG, out=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())


def test_another_metric_may_choose(digits, make_vim):
    states_only = GuardTraining(adversarial_eps=0, healthy_count=64)
    done = train_guarded(make_vim(), digits, guard_training=states_only, config=CONFIG, progress=False)
    assert "mean_accuracy" not in done.result.best


def accuracy_under_noise(model, digits, level):
    """Classify images whose embedding carries noise, in deviations of the model's own states, and is repaired."""
    batch = digits.test.batch(torch.arange(len(digits.test)))
    images = Normalise(digits.mean, digits.std)(batch.images)
    with in_mode(model, training=False), torch.no_grad():
        states, _ = watch(model, ["embedding"], images)
        law = RunningLaw.measure(states["embedding"], bands=1)

        def corrupt(module, given, out):
            noisy = add_state_noise(out, law, level, torch.Generator().manual_seed(9))
            return restore_moments(noisy, law, GuardConfig())

        handle = model.embedding.register_forward_hook(corrupt)
        right = (model(images).argmax(-1) == batch.labels).float().mean().item()
        handle.remove()
    return right


def test_noise_in_states_makes_a_model_that_bears_it_better(make_vim):
    digits = load_data("digits")
    accuracies = {}
    for name, share in {"control": 0.0, "guarded": 0.5}.items():
        settings = GuardTraining(
            corrupt_share=share,
            corrupt_weight=1.0,
            adversarial_eps=0,
            state_gain=0,
            state_noise=6.0,
            plasticity_weight=0,
            homeostatic_factor=0,
            bands=1,
        )
        model = make_vim()
        step = GuardStep(
            training=settings,
            config=GuardConfig(),
            sites=("embedding",),
            images=digits.train,
            normalise=Normalise(digits.mean, digits.std),
            seed=0,
        )
        config = TrainConfig(steps=150, batch_size=48, learning_rate=1e-2, evaluate_every=1000, keep_best=False)
        train(model, digits, step=step, callbacks=[step], config=config, progress=False)
        accuracies[name] = [accuracy_under_noise(model, digits, level) for level in (0.0, 6.0)]
    assert accuracies["guarded"][1] > accuracies["control"][1] + 0.05
    assert accuracies["guarded"][0] > accuracies["control"][0] - 0.05
