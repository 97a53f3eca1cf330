"""The step of every arm: what it adds to the plain one, and that with weights 0 it adds nothing."""

import dataclasses

import pytest
import torch
from torch import nn

from mamba_mender.data import Normalise, augment_preset
from mamba_mender.models import create_model
from mamba_mender.repair import ConstraintStep, easy_templates
from mamba_mender.taps import find_states
from mamba_mender.training import TrainConfig, train
from mamba_mender.training.step import StepContext


def make_step(data, config, model, **changes):
    given = {
        "weights": {},
        "config": config,
        "external": find_states(model, config.external),
        "templates": {},
        "train": data.train,
        "normalise": Normalise(data.mean, data.std),
        "augment": None,
        "seed": 0,
    }
    return ConstraintStep(**given | changes)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, patch_size=2, depth=1)


@pytest.fixture
def context(model, decoys):
    batch = decoys.train.batch(torch.arange(16))
    return StepContext(model, batch, Normalise(decoys.mean, decoys.std)(batch.images), nn.CrossEntropyLoss(), 3)


def test_weights_of_0_train_exactly_as_the_plain_step_does(decoys, quick):
    settings = TrainConfig(steps=4, batch_size=16, evaluate_every=4)
    trained = []
    for constrained in (False, True):
        torch.manual_seed(0)
        model = create_model("vim_micro", num_classes=10, img_size=8, in_chans=1, depth=1)
        step = make_step(decoys, quick, model, weights={"external": 0.0}) if constrained else None
        trained.append(train(model, decoys, step=step, config=settings, progress=False).model.state_dict())
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_total_is_the_weighted_sum(model, decoys, quick, context):
    keys = find_states(model, quick.internal)
    templates = easy_templates(model, decoys.train, keys, Normalise(decoys.mean, decoys.std), count=2)
    weights = {"external": 0.5, "internal": 2.0, "swap": 0.25}
    share = dataclasses.replace(quick, measure="share")
    logs = make_step(decoys, share, model, weights=weights, templates=templates)(context)
    plain = make_step(decoys, quick, model)(context)["loss"]
    total = plain + 0.5 * logs["external"] + 2 * logs["internal"] + 0.25 * logs["swap"]
    assert logs["loss"].item() == pytest.approx(total.item(), rel=1e-5)
    assert 0 < logs["external"] < 1
    assert 0 < logs["internal"] < 1


@pytest.mark.parametrize(("loss", "measure"), [("external", "path"), ("external", "share"), ("swap", "path")])
def test_normalises_where_the_batch_is(model, decoys, quick, context, loss, measure):
    moved = []

    class Watched(Normalise):
        def to(self, device):
            moved.append(device)
            return super().to(device)

    config = dataclasses.replace(quick, measure=measure)
    make_step(decoys, config, model, weights={loss: 1.0}, normalise=Watched(decoys.mean, decoys.std))(context)
    assert moved == [context.images.device]


def test_masked_batch_has_masks_and_depends_on_seed_and_step_alone(model, decoys, quick):
    few = decoys.train.with_masks_only_for(torch.arange(0, 100, 7))
    step = make_step(dataclasses.replace(decoys, train=few), quick, model, weights={"external": 1.0})
    batch = step.masked_batch(5)
    assert batch.has_mask.all()
    assert len(batch) == quick.masked_batch_size
    assert torch.equal(step.masked_batch(5).indices, batch.indices)
    assert not torch.equal(step.masked_batch(6).indices, batch.indices)


def test_masks_move_with_the_images(model, decoys, quick):
    step = make_step(decoys, quick, model, weights={"external": 1.0}, augment=augment_preset("digits"))
    batch = step.masked_batch(0)
    assert not torch.equal(batch.masks, decoys.train.batch(batch.indices).masks)


def test_refuses_an_external_weight_without_masks(model, decoys, quick):
    bare = decoys.train.with_masks_only_for(torch.tensor([], dtype=torch.long))
    with pytest.raises(ValueError, match="0 training images have a mask"):
        make_step(decoys, quick, model, weights={"external": 1.0}, train=bare)


def test_a_few_steps_lower_the_constraint(model, decoys, quick):
    step = make_step(decoys, dataclasses.replace(quick, measure="share"), model, weights={"external": 3.0})
    settings = TrainConfig(steps=30, batch_size=16, learning_rate=3e-3, evaluate_every=30, log_every=1)
    logged = train(model, decoys, step=step, config=settings, progress=False).history
    values = [entry["external"] for entry in logged if "external" in entry]
    assert sum(values[-5:]) < 0.7 * sum(values[:5])
