import copy
import importlib

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender.taps import accelerate_model, record, restore_model

SELECTIVE = ["Mamba", "FalconMamba", "Jamba", "Zamba"]


@pytest.fixture
def ids():
    return torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", SELECTIVE)
@pytest.mark.parametrize("training", [False, True])
def test_logits_and_gradients_stay_the_same(make_family, name, training, ids):
    model = make_family(name).train(training)
    if name == "Jamba":
        model.eval()  # its router draws nothing, but its experts are dropped at random
    plain = model(ids, use_cache=False).logits
    gradients = torch.autograd.grad(plain.square().sum(), list(model.parameters()), allow_unused=True)
    names = accelerate_model(model)
    assert names
    fast = model(ids, use_cache=False).logits
    assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    again = torch.autograd.grad(fast.square().sum(), list(model.parameters()), allow_unused=True)
    for ours, theirs in zip(again, gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()) + 1e-7)


@pytest.mark.parametrize("name", SELECTIVE)
def test_generates_the_same_text(make_family, name, ids):
    model = make_family(name)
    plain = model.generate(ids, max_new_tokens=6, do_sample=False)
    accelerate_model(model)
    assert model.generate(ids, max_new_tokens=6, do_sample=False).tolist() == plain.tolist()


@pytest.mark.parametrize("name", SELECTIVE)
def test_half_precision_stays_within_rounding(make_family, name, ids):
    model = make_family(name, dtype=torch.bfloat16)
    plain = model(ids, use_cache=False).logits
    accelerate_model(model)
    fast = model(ids, use_cache=False).logits
    assert fast.dtype == plain.dtype
    assert (fast - plain).float().abs().max() < 0.05 * plain.float().abs().max()


def test_the_kernel_really_runs(make_family, ids, monkeypatch):
    module = importlib.import_module("mamba_mender.taps.accelerate")
    seen = []
    scan = module.selective_scan
    monkeypatch.setattr(module, "selective_scan", lambda *args, **kwargs: seen.append(1) or scan(*args, **kwargs))
    model = make_family("Mamba")
    accelerate_model(model)
    model(ids, use_cache=False)
    assert len(seen) == 3


def test_restores(make_family, ids):
    model = make_family("Mamba")
    plain, own = model(ids, use_cache=False).logits, [set(m.__dict__) for m in model.modules()]
    accelerate_model(model)
    accelerate_model(model)  # twice is once
    restore_model(model)
    assert [set(m.__dict__) for m in model.modules()] == own
    assert_close(model(ids, use_cache=False).logits, plain, rtol=0, atol=0)


def test_a_copy_is_a_model_of_its_own(make_family, ids):
    model = make_family("Mamba")
    accelerate_model(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert twin(ids, use_cache=False).logits.abs().max() == 0
    restore_model(twin)
    assert model(ids, use_cache=False).logits.abs().max() > 0


def test_can_be_recorded(make_family, ids):
    model = make_family("Mamba")
    accelerate_model(model)
    plain = model(ids, use_cache=False).logits
    with record(model) as run:
        tapped = model(ids, use_cache=False).logits
    assert_close(tapped, plain, rtol=1e-5, atol=1e-6)
    assert all(scan.proof().y_error < 1e-6 for scan in run.scans.values())
    assert_close(model(ids, use_cache=False).logits, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["Mamba2", "Bamba"])
def test_leaves_mamba2_alone(make_family, name):
    with pytest.raises(ValueError, match="no mixer with Mamba's selective scan"):
        accelerate_model(make_family(name))


def test_refuses_a_model_without_mixers():
    with pytest.raises(ValueError, match="Linear has no mixer"):
        accelerate_model(nn.Linear(2, 2))
