import pytest
import torch

from mamba_mender.repair import ArmResult, chosen_arm, compare_arms, gap_closed


def put(folder, arm, seed, right, swapped=0.5):
    """Save an arm that has `right` of 100 test images right."""
    correct = {"test": torch.arange(100) < right, "swapped_validation": torch.arange(50) < 50 * swapped}
    accuracy = {split: values.double().mean().item() for split, values in correct.items()}
    ArmResult(arm=arm, seed=seed, steps=1, seconds=1.0, weights={}, accuracy=accuracy, images={"test": 100}).save(
        folder, correct
    )


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, "base", 0, 50)
    put(tmp_path, "clean", 0, 90)
    for seed in (0, 1):
        put(tmp_path, "control", seed, 50)
        put(tmp_path, "ext", seed, 80, swapped=0.9)
        put(tmp_path, "int", seed, 85, swapped=0.6)
    (tmp_path / "results" / "choice-external.json").write_text("{}")
    return tmp_path


def test_gain_is_paired_and_over_the_control(folder):
    arms = compare_arms(folder)
    assert list(arms) == ["base", "control", "ext", "int", "clean"]
    gain = arms["ext"].gain["test"]
    assert gain.mean == pytest.approx(0.3)
    assert 0.2 < gain.low < 0.3 < gain.high < 0.4
    assert arms["control"].gain == {}
    assert arms["base"].gain["test"].mean == 0


def test_a_single_model_has_wilson_s_interval(folder):
    assert compare_arms(folder)["base"].accuracy["test"].low == pytest.approx(0.404, abs=0.002)


def test_gap_closed(folder):
    arms = compare_arms(folder)
    assert gap_closed(arms, "ext") == pytest.approx(0.75)
    assert gap_closed(arms, "base") == 0
    assert gap_closed({"ext": arms["ext"]}, "ext") is None


def test_validation_chooses_and_not_the_test(folder):
    assert chosen_arm(compare_arms(folder)).name == "ext"


def test_an_arm_that_stopped_early_is_compared_at_its_own_seeds(folder):
    put(folder, "all", 1, 70)
    assert compare_arms(folder)["all"].gain["test"].mean == pytest.approx(0.2)
