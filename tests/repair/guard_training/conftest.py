"""A small Vim on digits, and steps of training with the guard, shared by the tests here."""

import pytest
import torch

from mamba_mender.data import Normalise, load_data
from mamba_mender.models import Vim
from mamba_mender.repair.guard import GuardConfig
from mamba_mender.repair.guard_training import GuardStep, GuardTraining
from mamba_mender.training import Run, TrainConfig
from mamba_mender.training.step import StepContext

SITES = ("embedding", "0.h", "1.h")


@pytest.fixture(scope="session")
def digits():
    return load_data("digits", limit=700)


@pytest.fixture
def make_vim():
    """Make a Vim of two blocks and four tokens, always with the same weights."""

    def make():
        torch.manual_seed(3)
        return Vim(img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=16, depth=2, d_state=2, pool="mean")

    return make


@pytest.fixture
def make_step(digits):
    """Make a step that corrupts a quarter of a batch; with a model its healthy statistics are measured."""

    def make(model=None, *, config=None, **settings):
        step = GuardStep(
            training=GuardTraining(**{"healthy_count": 64, "corrupt_share": 0.25} | settings),
            config=config or GuardConfig(),
            sites=SITES,
            images=digits.train,
            normalise=Normalise(digits.mean, digits.std),
            seed=0,
        )
        if model is not None:
            step.on_start(Run(model, TrainConfig(), 1, None))
        return step

    return make


@pytest.fixture
def make_context(digits):
    """Make what a step is given: the first images, step number as asked."""

    def make(model, number=1, count=24):
        batch = digits.train.batch(torch.arange(count))
        images = Normalise(digits.mean, digits.std)(batch.images)
        return StepContext(model, batch, images, torch.nn.CrossEntropyLoss(), number)

    return make
