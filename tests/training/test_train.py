"""The loop as a whole: it learns, keeps the best, stops cleanly, and takes what a caller puts in."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.data import MemoryImages, load_data
from mamba_mender.models import create_model, load_model, read_card
from mamba_mender.training import TrainConfig, classify, evaluate, train
from mamba_mender.training.checkpoint import last_checkpoint, load_checkpoint
from mamba_mender.training.metrics_log import read_metrics

QUICK = TrainConfig(steps=8, batch_size=16, evaluate_every=4, log_every=1)


def weights_of(trained):
    return getattr(trained, "model", trained).state_dict()


def test_vim_learns_digits():
    data = load_data("digits")
    model = create_model("vim_micro", num_classes=10, img_size=8, patch_size=2, in_chans=1, depth=1)
    result = train(model, data, config=TrainConfig(steps=100, learning_rate=1e-2))
    losses = [entry["loss"] for entry in result.history if entry["kind"] == "step"]
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3])
    judged = evaluate(model, data.validation, mean=data.mean, std=data.std)
    assert judged.accuracy == result.best["accuracy"] > 0.7  # chance is 0.1


def test_ends_with_the_best_weights_and_the_mode_it_found(net, data):
    class Spoil:
        """Make the weights useless after the fourth step, when the best has been seen."""

        def on_step_end(self, run, step, logs):
            if step == 5:
                nn.init.zeros_(run.model.head.weight)
                run.model.head.bias.data = torch.tensor([100.0, 0, 0])

    net.eval()
    result = train(net, data, config=TrainConfig(steps=8, evaluate_every=4, learning_rate=0.01), callbacks=[Spoil()])
    judged = [entry for entry in result.history if entry["kind"] == "evaluation"]
    assert [entry["step"] for entry in judged] == [4, 8]
    assert result.best["step"] == 4
    assert judged[0]["accuracy"] > judged[1]["accuracy"]
    assert evaluate(net, data.validation, mean=data.mean, std=data.std).accuracy == result.best["accuracy"]
    assert not net.training


def test_the_global_generators_are_left_alone(net, data):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    train(net, data, config=QUICK)
    assert torch.equal(torch.rand(1), expected)


def test_the_same_seed_gives_the_same_weights_and_another_other_ones(make_net, data):
    def trained():
        net = make_net()
        torch.manual_seed(torch.seed())  # where the generator stands must not matter
        return weights_of(train(net, data, config=QUICK))

    first, again = trained(), trained()
    other = weights_of(train(make_net(), data, config=TrainConfig(**QUICK.to_dict() | {"seed": 1})))
    assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_step_criterion_schedule_optimiser_and_metric_join(net, data):
    seen = []

    def step(context):
        assert context.model is net
        assert context.images.std() > context.batch.images.std()  # normalised
        seen.append(context.number)
        return classify(context) | {"penalty": context.model.head.weight.square().sum()}

    result = train(
        net,
        data,
        config=TrainConfig(steps=4, batch_size=16, evaluate_every=2, log_every=1, best_by="certainty"),
        step=step,
        criterion=lambda logits, labels: nn.functional.cross_entropy(logits, labels) * 2,
        schedule=lambda step, steps: 1 / (1 + step),
        optimiser=lambda model: torch.optim.SGD(model.parameters(), lr=0.1),
        metrics={"certainty": lambda model, evaluation: evaluation.probabilities.amax(-1).mean().item()},
    )
    steps = [entry for entry in result.history if entry["kind"] == "step"]
    assert seen == [0, 1, 2, 3]
    assert [entry["learning_rate"] for entry in steps] == pytest.approx([0.1, 0.05, 0.1 / 3, 0.025])
    assert all("penalty" in entry for entry in steps)
    assert 1 / 3 < result.best["certainty"] < 1


def test_a_step_may_differentiate_twice(data):
    model = create_model("vim_micro", num_classes=3, img_size=4, patch_size=2, in_chans=1, depth=1)

    def step(context):
        images = context.images.requires_grad_()
        loss = context.criterion(context.model(images), context.batch.labels)
        (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
        return {"loss": loss + gradient.square().sum()}

    result = train(model, data, config=TrainConfig(steps=2, batch_size=8), step=step)
    assert math.isfinite(result.history[0]["loss"])


def test_a_callback_sees_each_event_and_stops_early(net, data):
    events = []

    class Stop:
        def on_start(self, run):
            events.append("start")

        def on_step_end(self, run, step, logs):
            events.append(step)
            assert logs["loss"] > 0

        def on_evaluation(self, run, step, metrics):
            events.append(f"evaluation {step}")
            assert run.evaluation.accuracy == metrics["accuracy"]
            if step == 4:
                run.stop()

        def on_end(self, run):
            events.append("end")

    result = train(net, data, config=QUICK, callbacks=[Stop(), object()])
    assert events == ["start", 1, 2, 3, 4, "evaluation 4", "end"]
    assert result.steps == 4


def test_writes_metrics_checkpoint_and_weights(net, data, tmp_path):
    result = train(net, data, config=QUICK, out=tmp_path)
    assert read_metrics(tmp_path / "metrics.jsonl") == result.history
    assert {"kind", "step", "epoch", "loss", "accuracy", "learning_rate", "gradient_norm"} <= set(result.history[0])
    _, state = load_checkpoint(last_checkpoint(tmp_path / "checkpoints"))
    assert state["step"] == 8
    assert (tmp_path / "model.safetensors").exists()
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob("*.p*"))  # no pickle


def test_a_model_of_ours_is_saved_with_its_card(data, tmp_path):
    model = create_model("vim_micro", num_classes=3, img_size=4, patch_size=2, in_chans=1, depth=1)
    train(model, data, config=TrainConfig(steps=2), out=tmp_path)
    assert read_card(tmp_path / "model.safetensors")["data"]["mean"] == [0.3]
    assert read_card(tmp_path / "model.safetensors")["classes"] == data.classes
    assert_close(load_model(tmp_path / "model.safetensors").state_dict(), model.state_dict(), rtol=0, atol=0)


def test_two_half_batches_equal_one_whole(data):
    def trained(**settings):
        torch.manual_seed(7)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)).double()
        config = TrainConfig(steps=9, log_every=1, **settings)
        return train(net, data, config=config, normalise=lambda images: (images.double() - 0.3) / 0.2)

    halves, whole = trained(batch_size=16, accumulate=2), trained(batch_size=32)
    assert_close(weights_of(halves), weights_of(whole), rtol=1e-9, atol=1e-12)
    for half, one in zip(halves.history, whole.history, strict=True):
        assert half["loss"] == pytest.approx(one["loss"], rel=1e-6)


def test_ema_is_what_is_judged_and_kept(make_net, data):
    plain, averaged = make_net(), make_net()
    config = TrainConfig(steps=6, batch_size=16, keep_best=False)
    train(plain, data, config=config)
    train(averaged, data, config=TrainConfig(**config.to_dict() | {"ema": 0.9}))
    start = weights_of(make_net())
    moved = [
        sum((w[k] - start[k]).norm() for k in ("first.weight", "head.weight"))
        for w in map(weights_of, (plain, averaged))
    ]
    assert 0 < moved[1] < moved[0]


def test_the_best_of_an_averaged_run_is_the_average(net, data, tmp_path):
    train(net, data, config=TrainConfig(steps=6, batch_size=16, evaluate_every=6, ema=0.9), out=tmp_path)
    tensors, _ = load_checkpoint(last_checkpoint(tmp_path / "checkpoints"))
    assert_close(weights_of(net), tensors["ema"], rtol=0, atol=0)
    assert not torch.equal(tensors["ema"]["head.weight"], tensors["model"]["head.weight"])


def test_a_step_is_no_longer_than_the_clip(net, data):
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    result = train(
        net,
        data,
        config=TrainConfig(steps=1, clip=1e-3),
        optimiser=lambda model: torch.optim.SGD(model.parameters(), lr=1.0),
        schedule=lambda step, steps: 1.0,
    )
    moved = sum((weight - before[name]).square().sum() for name, weight in net.named_parameters()).sqrt()
    assert moved.item() == pytest.approx(1e-3, rel=1e-2)
    assert result.history[0]["gradient_norm"] > 1e-2


def test_bf16_runs_and_keeps_float32_weights(net, data):
    dtypes = []

    def step(context):
        logits = context.model(context.images)
        dtypes.append(logits.dtype)
        return {"loss": context.criterion(logits, context.batch.labels)}

    result = train(net, data, config=TrainConfig(steps=6, batch_size=16, log_every=1, precision="bf16"), step=step)
    assert set(dtypes) == {torch.bfloat16}
    assert result.history[-2]["loss"] < result.history[0]["loss"]
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


def test_augmentation_joins_with_its_own_generator(make_net, data):
    def augment(batch, generator):
        noise = torch.rand(batch.images.shape, generator=generator)
        return type(batch)(noise, batch.labels, batch.masks, batch.has_mask, batch.indices)

    first, again = (weights_of(train(make_net(), data, config=QUICK, augment=augment)) for _ in range(2))
    assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["head.weight"], weights_of(train(make_net(), data, config=QUICK))["head.weight"])


def test_few_images_make_one_smaller_batch(net, data):
    small = type(data)(**{**vars(data), "train": data.train.subset(torch.arange(10))})
    assert train(net, small, config=TrainConfig(epochs=3, batch_size=64)).steps == 3


def test_one_class_is_refused(net, data):
    images = MemoryImages(torch.zeros(20, 1, 4, 4, dtype=torch.uint8), torch.ones(20))
    flat = type(data)(**{**vars(data), "train": images})
    with pytest.raises(UserError, match="rows hold only class 'second'; at least two classes"):
        train(net, flat, config=QUICK)


def test_too_few_outputs_are_refused(net, data):
    net.num_classes = 2
    with pytest.raises(UserError, match="2 outputs, but rows has 3 classes; create it with num_classes=3"):
        train(net, data, config=QUICK)


def test_an_unknown_best_is_refused(net, data):
    with pytest.raises(UserError, match=r"best_by='recall' is none of the metrics \['accuracy', 'loss'\]"):
        train(net, data, config=TrainConfig(steps=1, best_by="recall"))


@pytest.mark.parametrize("logs", [None, {}, {"loss": 1.0}, {"loss": torch.ones(2)}], ids=str)
def test_a_step_without_a_loss_is_refused(net, data, logs):
    with pytest.raises(TypeError, match='step must return a dict with "loss"'):
        train(net, data, config=QUICK, step=lambda context: logs)
