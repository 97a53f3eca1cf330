"""Stopped and resumed equals uninterrupted: weights, optimiser, average, generators, order, metrics."""

import pytest
import torch
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.models import create_model
from mamba_mender.training import TrainConfig, train
from mamba_mender.training.checkpoint import last_checkpoint, load_checkpoint

CONFIG = TrainConfig(steps=20, batch_size=16, evaluate_every=4, log_every=1, ema=0.9, learning_rate=0.01)  # 6 an epoch


class StopAt:
    def __init__(self, step):
        self.at = step

    def on_step_end(self, run, step, logs):
        if step == self.at:
            run.stop()


class Memory:
    """A callback with a state of its own: the sum of all losses."""

    def __init__(self):
        self.total = 0.0

    def on_step_end(self, run, step, logs):
        self.total += logs["loss"]

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


class Order:
    """An augmentation that only writes down which images came."""

    def __init__(self):
        self.seen = []

    def __call__(self, batch, generator):
        self.seen.append(batch.indices.tolist())
        noise = 0.1 * torch.rand(batch.images.shape, generator=generator)
        return type(batch)(batch.images + noise, batch.labels, batch.masks, batch.has_mask, batch.indices)


def without_times(history):
    return [{k: v for k, v in entry.items() if k != "images_per_second"} for entry in history]


def saved(out):
    tensors, state = load_checkpoint(last_checkpoint(out / "checkpoints"))
    return tensors, {k: v for k, v in state.items() if k not in ("seconds", "metrics_bytes", "callbacks")}


@pytest.mark.parametrize("stop", [6, 10, 17], ids="stop at {}".format)  # 6 ends an epoch, the others do not
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_is_exact(make_net, data, tmp_path, stop, accumulate):
    config = TrainConfig(**CONFIG.to_dict() | {"accumulate": accumulate})
    one, two = Order(), Order()
    memory, again = Memory(), Memory()
    whole = train(make_net(), data, config=config, out=tmp_path / "a", augment=one, callbacks=[memory])
    first, second = tmp_path / "b", make_net()
    train(make_net(), data, config=config, out=first, augment=two, callbacks=[Memory(), StopAt(stop)])
    with torch.no_grad():
        second.head.weight.add_(1)  # what the model holds before a resume must not matter
    torch.rand(5)  # nor where the generators are
    state = load_checkpoint(last_checkpoint(first / "checkpoints"))[1]
    assert state["step"] == stop
    parts = train(second, data, config=config, out=first, augment=two, callbacks=[again], resume=True)

    assert_close(parts.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)
    assert_close(saved(first)[0], saved(tmp_path / "a")[0], rtol=0, atol=0)  # raw weights, optimiser, average, best
    assert saved(first)[1] == saved(tmp_path / "a")[1]  # counters and generators
    assert one.seen == two.seen
    assert without_times(parts.history) == without_times(whole.history)
    assert again.total == memory.total
    assert parts.best == whole.best


def test_a_crash_between_checkpoints_costs_only_the_steps_since(make_net, data, tmp_path):
    whole = train(make_net(), data, config=CONFIG, out=tmp_path / "a")

    class Crash:
        def on_step_end(self, run, step, logs):
            if step == 11:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_net(), data, config=CONFIG, out=tmp_path / "b", callbacks=[Crash()])
    parts = train(make_net(), data, config=CONFIG, out=tmp_path / "b", resume=True)
    assert_close(parts.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)
    assert without_times(parts.history) == without_times(whole.history)


def test_vim_with_dropped_paths_resumes_exactly(data, tmp_path):
    def make():
        torch.manual_seed(7)
        return create_model(
            "vim_micro", num_classes=3, img_size=4, patch_size=2, in_chans=1, depth=2, drop_path_rate=0.5
        )

    config = TrainConfig(steps=6, batch_size=32, evaluate_every=2)
    whole = train(make(), data, config=config, out=tmp_path / "a")
    train(make(), data, config=config, out=tmp_path / "b", callbacks=[StopAt(4)])
    parts = train(make(), data, config=config, out=tmp_path / "b", resume=True)
    assert_close(saved(tmp_path / "b")[0], saved(tmp_path / "a")[0], rtol=0, atol=0)
    assert_close(parts.model.state_dict(), whole.model.state_dict(), rtol=0, atol=0)


def test_a_finished_run_resumes_to_its_result(make_net, data, tmp_path):
    done = train(make_net(), data, config=CONFIG, out=tmp_path)
    again = train(make_net(), data, config=CONFIG, out=tmp_path, resume=True)
    assert_close(again.model.state_dict(), done.model.state_dict(), rtol=0, atol=0)
    assert (again.best, again.steps, again.history) == (done.best, done.steps, done.history)


def test_resume_without_a_checkpoint_starts(net, data, tmp_path):
    assert train(net, data, config=CONFIG, out=tmp_path, resume=True).steps == 20


def test_a_run_is_not_written_over(make_net, data, tmp_path):
    train(make_net(), data, config=CONFIG, out=tmp_path)
    with pytest.raises(UserError, match=r"already holds a run \(step-00000020\); go on with it by resume=True"):
        train(make_net(), data, config=CONFIG, out=tmp_path)


def test_a_callback_whose_state_is_missing_is_named(make_net, data, tmp_path):
    train(make_net(), data, config=CONFIG, out=tmp_path, callbacks=[StopAt(8)])
    with pytest.raises(UserError, match=r"callbacks with a state were \[\], now \['Memory'\]"):
        train(make_net(), data, config=CONFIG, out=tmp_path, resume=True, callbacks=[Memory()])


def test_resume_refuses_another_run(make_net, data, tmp_path):
    train(make_net(), data, config=CONFIG, out=tmp_path)
    other = TrainConfig(**CONFIG.to_dict() | {"seed": 5, "batch_size": 8})
    with pytest.raises(UserError, match=r"seed was 0, now 5; batch_size \* accumulate was 16 \* 1, now 8 \* 1"):
        train(make_net(), data, config=other, out=tmp_path, resume=True)


def test_memory_may_be_saved_on_resume_by_smaller_batches(make_net, data, tmp_path):
    train(make_net(), data, config=CONFIG, out=tmp_path, callbacks=[StopAt(8)])
    smaller = TrainConfig(**CONFIG.to_dict() | {"batch_size": 8, "accumulate": 2})
    assert train(make_net(), data, config=smaller, out=tmp_path, resume=True).steps == 20
