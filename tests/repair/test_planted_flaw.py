"""The repair undoes a flaw of known size, and leaves a healthy model alone."""

import dataclasses

import pytest

from mamba_mender.data import MemoryImages, load_data, plant_decoy
from mamba_mender.repair import MendConfig, compare_arms, mend_arm, prepare_base

SHORT = MendConfig(base_steps=250, steps=100, learning_rate=3e-3, weight_external=0.3, arms=("control", "ext"))


def gain_of(data, config, out):
    """Train the base, the control and +Ext, and measure the gain on test images."""
    base = prepare_base(data, config, out, progress=False)
    for arm in config.arms:
        mend_arm(base, data, arm, config, 0, out, progress=False)
    arms = compare_arms(out)
    return arms["base"].accuracy["test"].mean, arms["ext"].gain["test"]


@pytest.fixture(scope="module")
def decoys():
    return load_data("decoy-digits")


def test_a_short_mend_undoes_much_of_a_decoy(decoys, tmp_path):
    before, gain = gain_of(decoys, SHORT, tmp_path)
    assert before < 0.9
    assert gain.low > 0.02


def test_a_healthy_model_is_left_as_good_as_it_was(decoys, tmp_path):
    def honest(images, seed):  # the patch is there, and says nothing
        shown = images.images
        planted, masks = plant_decoy(shown, images.labels, num_classes=10, size=2, encode=False, seed=seed)
        return MemoryImages(planted, images.labels, masks=masks)

    data = dataclasses.replace(
        decoys,
        train=honest(decoys.clean_train, 1),
        validation=honest(decoys.clean_validation, 2),
        clean_train=None,
        clean_validation=None,
    )
    before, gain = gain_of(data, dataclasses.replace(SHORT, steps=40), tmp_path)
    assert before > 0.93
    assert gain.high > 0
    assert gain.mean > -0.02
