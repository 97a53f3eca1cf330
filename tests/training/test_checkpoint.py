"""Checkpoints: whole or absent, exact, and clear about damage."""

import json
import os

import pytest
import torch
from safetensors.torch import load
from torch import nn
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.training.checkpoint import (
    join_optimiser,
    last_checkpoint,
    load_checkpoint,
    pack,
    save_checkpoint,
    split_optimiser,
)


def test_keeps_the_newest_only(tmp_path):
    for step in (9, 10, 100):
        save_checkpoint(tmp_path, step, {"model": {"w": torch.full((2,), step)}}, {"step": step})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000100"]
    tensors, state = load_checkpoint(last_checkpoint(tmp_path))
    assert state == {"step": 100}
    assert torch.equal(tensors["model"]["w"], torch.tensor([100, 100]))


def test_a_crash_while_writing_leaves_the_older_one(tmp_path, monkeypatch):
    kept = save_checkpoint(tmp_path, 1, {"model": {"w": torch.ones(2)}}, {"step": 1})

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, {"model": {"w": torch.ones(2)}}, {"step": 2})
    assert last_checkpoint(tmp_path) == kept
    load_checkpoint(kept)


def test_no_checkpoint_is_none(tmp_path):
    assert last_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("file", ["model.safetensors", "state.json"])
def test_a_truncated_file_is_named(tmp_path, file):
    path = save_checkpoint(tmp_path, 1, {"model": {"w": torch.ones(20)}}, {"step": 1, "note": "long enough"})
    whole = (path / file).read_bytes()
    (path / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=rf"{file} is.*delete .*step-00000001 to start the run again"):
        load_checkpoint(path)


def test_tied_and_sliced_tensors_can_be_packed():
    whole = torch.arange(6.0)
    packed = pack({"a": whole, "b": whole, "c": whole[2:4], "d": whole.view(2, 3).T})
    loaded = load(packed)
    assert torch.equal(loaded["b"], whole)
    assert torch.equal(loaded["c"], whole[2:4])
    assert torch.equal(loaded["d"], whole.view(2, 3).T)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adagrad, torch.optim.SGD, torch.optim.Rprop])
def test_any_optimiser_goes_on_exactly(kind):
    def step(model, optimiser):
        model(torch.arange(6.0).view(3, 2)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    model = nn.Linear(2, 2)
    optimiser = kind(model.parameters(), lr=0.01)
    step(model, optimiser)
    twin = nn.Linear(2, 2)
    twin.load_state_dict(model.state_dict())
    other = kind(twin.parameters(), lr=0.5)
    tensors, rest = split_optimiser(optimiser)
    join_optimiser(other, load(pack(tensors)), json.loads(json.dumps(rest)))
    step(model, optimiser)
    step(twin, other)
    assert_close(twin.state_dict(), model.state_dict(), rtol=0, atol=0)
