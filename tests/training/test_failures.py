"""Runs that go wrong: the weights stay good, the last checkpoint stays whole, the message names the setting."""

import errno
import resource

import pytest
import torch

from mamba_mender._check import UserError, is_out_of_memory
from mamba_mender.training import TrainConfig, classify, train
from mamba_mender.training.checkpoint import last_checkpoint, load_checkpoint
from mamba_mender.training.failures import explained
from mamba_mender.training.metrics_log import read_metrics

CONFIG = TrainConfig(steps=8, batch_size=16, evaluate_every=2, log_every=1)


def poisoned(context, *, number, value=torch.nan):
    logs = classify(context)
    if context.number == number:
        logs["loss"] = logs["loss"] * value
    return logs


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(net, data, tmp_path, value):
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step 6, with learning rate 0\.000.*step-00000004.*clip"):
        train(net, data, config=CONFIG, step=lambda c: poisoned(c, number=5, value=value), out=tmp_path)
    tensors, state = load_checkpoint(last_checkpoint(tmp_path / "checkpoints"))
    assert state["step"] == 4
    assert all(tensor.isfinite().all() for tensor in tensors["model"].values())
    assert all(parameter.isfinite().all() for parameter in net.parameters())
    assert [entry["step"] for entry in read_metrics(tmp_path / "metrics.jsonl") if entry["kind"] == "step"][-1] == 5


def test_after_a_bad_loss_the_run_goes_on_with_a_lower_learning_rate(make_net, data, tmp_path):
    with pytest.raises(UserError, match="go on with resume=True"):
        train(make_net(), data, config=CONFIG, step=lambda c: poisoned(c, number=5), out=tmp_path)
    gentle = TrainConfig(**CONFIG.to_dict() | {"learning_rate": 1e-4})
    result = train(make_net(), data, config=gentle, out=tmp_path, resume=True)
    rates = {e["step"]: e["learning_rate"] for e in result.history if e["kind"] == "step"}
    assert list(rates) == list(range(1, 9))
    assert rates[5] < 0.11 * rates[4]


def test_a_bad_gradient_of_a_good_loss_stops_too(net, data):
    def step(context):
        weight = context.model.head.weight
        return {"loss": classify(context)["loss"] + (weight - weight.detach()).abs().sum().sqrt()}  # slope inf * 0

    with pytest.raises(UserError, match=r"gradient norm is nan at step 1.*no folder was given"):
        train(net, data, config=CONFIG, step=step)


def test_memory_that_runs_out_is_named_with_the_setting(net, data, tmp_path):
    def step(context):
        if context.number == 3:
            torch.empty(1 << 50)
        return classify(context)

    with pytest.raises(
        UserError, match=r"out of memory with batch_size=16; lower batch_size.*saved so far is complete"
    ):
        train(net, data, config=CONFIG, step=step, out=tmp_path)
    assert load_checkpoint(last_checkpoint(tmp_path / "checkpoints"))[1]["step"] == 2


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_whole(net, data, tmp_path):
    class Fill:
        """Forbid files of more than a few bytes from here on: the kernel refuses the write, as a full disk does."""

        def on_step_end(self, run, step, logs):
            if step == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = TrainConfig(**CONFIG.to_dict() | {"log_every": 100})
    try:
        with pytest.raises(UserError, match=r"the file is too big while writing under .*resume=True"):
            train(net, data, config=config, out=tmp_path, callbacks=[Fill()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(last_checkpoint(tmp_path / "checkpoints"))[1]["step"] == 2


def test_a_full_disk_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="the disk is full while writing"), explained(CONFIG, tmp_path):
        write_to(tmp_path / "metrics.jsonl")


def write_to(path):
    with path.open("ab") as file:
        file.write(b"x")


def test_other_errors_pass_through():
    with pytest.raises(FileNotFoundError), explained(CONFIG, None):
        raise FileNotFoundError(errno.ENOENT, "gone")
    with pytest.raises(RuntimeError, match="shape"), explained(CONFIG, None):
        raise RuntimeError("shape mismatch")


def test_a_gpu_that_is_full_counts():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
