"""Settings of training with the guard, and their file."""

import pytest

from mamba_mender._check import UserError
from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard_training import GuardTraining, read_guard_training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corrupt_share": 1.5}, r"corrupt_share must lie in \[0, 1\], got 1.5"),
        ({"hebbian_rate": -0.1}, r"hebbian_rate must lie in \[0, 1\]"),
        ({"adversarial_eps": 8}, r"adversarial_eps must lie in \[0, 1\], got 8"),
        ({"plasticity_weight": -1}, "plasticity_weight must be at least 0"),
        ({"homeostatic_factor": float("nan")}, "homeostatic_factor must be at least 0, got nan"),
        ({"push_steps": 0}, "push_steps must be at least 1"),
        ({"push_step": 0}, "push_step must be above 0"),
        ({"adversarial_eps": 0, "state_noise": 0, "state_gain": 0}, "nothing is left to corrupt by"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        GuardTraining(**settings)


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, {"pixels": 0.75, "noise": 0.125, "gain": 0.125}),
        ({"state_share": 0}, {"pixels": 1.0}),
        ({"state_share": 1}, {"noise": 0.5, "gain": 0.5}),
        ({"adversarial_eps": 0}, {"noise": 0.5, "gain": 0.5}),
        ({"state_noise": 0, "state_gain": 0}, {"pixels": 1.0}),
        ({"adversarial_eps": 0, "state_noise": 0, "state_gain": 0, "state_eps": 0.1}, {"push": 1.0}),
    ],
)
def test_steps_are_shared_out_among_the_kinds_that_are_on(settings, kinds):
    assert GuardTraining(**settings).kinds == kinds


def test_nothing_needs_to_be_on_in_plain_training():
    GuardTraining(corrupt_share=0, adversarial_eps=0, state_noise=0, state_gain=0)


def test_a_file_gives_both_kinds_of_settings(tmp_path):
    path = tmp_path / "guard.yaml"
    path.write_text("training:\n  plasticity_weight: 2\n  push_steps: 3\nguard: {alpha: 0.01}\n")
    assert read_guard_training(path) == (GuardTraining(plasticity_weight=2, push_steps=3), GuardConfig(alpha=0.01))
    path.write_text("")
    assert read_guard_training(path) == (GuardTraining(), GuardConfig())


def test_settings_survive_being_written_down():
    settings = GuardTraining(corrupt_share=0.25, state_eps=0.1)
    assert GuardTraining.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("training: {plasticity_wight: 1}", "no setting 'plasticity_wight'.*plasticity_weight"),
        ("training: {push_steps: 1.5}", "push_steps must be a int, got 1.5"),
        ("training: {state_noise: true}", "state_noise must be a float, got True"),
        ("guard: {alfa: 0.1}", "GuardConfig: no setting 'alfa'"),
        ("trainig: {}", "has 'trainig', but settings stand under 'training' or 'guard'"),
        ("plasticity_weight: 1", "must hold settings by name under 'training' and 'guard'"),
        ("- 1", "must hold settings by name"),
        ("training: {", "is no YAML"),
    ],
)
def test_a_bad_file_is_refused(content, message, tmp_path):
    path = tmp_path / "guard.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_guard_training(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_guard_training(tmp_path / "none.yaml")
