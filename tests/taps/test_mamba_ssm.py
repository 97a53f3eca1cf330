"""mamba_ssm's layers, tapped."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender.taps import Edit, StateKey, accelerate_model, edit, record, restore_model


def load_double():
    spec = importlib.util.spec_from_file_location(
        "layer_of_mamba_ssm", Path(__file__).with_name("layer_of_mamba_ssm.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def real():
    """Import the installed layer with an empty CUDA extension: on a CPU its scan must then be ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "selective_scan_cuda", ModuleType("selective_scan_cuda"))
        yield importlib.import_module("mamba_ssm.modules.mamba_simple")
    for name in [name for name in sys.modules if name.partition(".")[0] == "mamba_ssm"]:
        del sys.modules[name]  # transformers would find it, and scan by a kernel that is not there


class Stack(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layers = nn.ModuleList([layer(6), layer(6)])

    def forward(self, hidden, states=None):
        for i, layer in enumerate(self.layers):
            hidden = hidden + layer(hidden, inference_params=None if states is None else states[i])
        return hidden


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Stack(load_double().Mamba).eval()


@pytest.fixture
def hidden():
    return torch.randn(2, 7, 6)


def fresh_states(model):
    return [(torch.zeros(2, layer.d_inner, 4), torch.zeros(2, layer.d_inner, 4)) for layer in model.layers]


def test_records_prefill(model, hidden):
    plain = model(hidden)
    with record(model) as run:
        tapped = model(hidden)
    assert_close(tapped, plain, rtol=1e-5, atol=1e-6)
    assert list(run.scans) == ["layers.0.scan", "layers.1.scan"]
    assert {key.state for key in run.states} == set("xczsy")  # the stack itself keeps the residual stream
    assert_close(hidden + run.states[StateKey(0, "y")] + run.states[StateKey(1, "y")], tapped)
    assert all(scan.conv.x.shape == scan.u.shape for scan in run.scans.values())


def test_records_steps(model, hidden):
    states = fresh_states(model)
    with torch.no_grad(), record(model) as run:
        model(hidden[:, :4], states)
        for t in range(4, 7):
            model(hidden[:, t : t + 1], states)
    with torch.no_grad(), record(model) as whole:
        model(hidden)
    for name, scan in run.scans.items():
        for field in ("u", "delta", "B", "C", "y", "z", "last_state"):
            assert_close(getattr(scan, field), getattr(whole[name], field), rtol=1e-4, atol=1e-6)


def test_the_fused_path_is_left_for_the_length_of_the_block(model, hidden):
    plain = model(hidden)
    for layer in model.layers:
        layer.use_fast_path = True
    sys.modules["layer_of_mamba_ssm"].causal_conv1d_fn = lambda *_args, **_kwargs: pytest.fail("the module's own ran")
    with pytest.raises(AssertionError, match="ran around the taps"):
        model(hidden)
    sys.modules["layer_of_mamba_ssm"].causal_conv1d_fn = None
    with record(model):
        assert_close(model(hidden), plain, rtol=1e-5, atol=1e-6)
    assert all(layer.use_fast_path for layer in model.layers)


def test_edits_prefill_and_steps_alike(model, hidden):
    change = Edit("write", 0.3, positions=[2, 5], blocks=[0])
    with torch.no_grad(), edit(model, change):
        whole = model(hidden)
    states = fresh_states(model)
    with torch.no_grad(), edit(model, change):
        parts = [model(hidden[:, :4], states), *(model(hidden[:, t : t + 1], states) for t in range(4, 7))]
    assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-6)


def test_accelerates(model, hidden):
    plain = model(hidden)
    assert accelerate_model(model) == ["layers.0", "layers.1"]
    assert_close(model(hidden), plain, rtol=1e-5, atol=1e-6)
    restore_model(model)


@pytest.mark.skipif(importlib.util.find_spec("mamba_ssm") is None, reason="mamba_ssm is not installed")
def test_its_own_layer_runs_on_a_cpu_by_our_kernels(real, hidden):
    torch.manual_seed(0)
    model = nn.Sequential(real.Mamba(6, d_state=4, layer_idx=0)).eval()
    accelerate_model(model)
    plain = model(hidden)
    with record(model) as run:
        assert_close(model(hidden), plain, rtol=1e-5, atol=1e-6)
    assert run["0.scan"].proof().holds
    layer, states = model[0], {0: tuple(s.zero_() for s in model[0].allocate_inference_cache(2, 9))}
    parts = []
    with torch.no_grad(), record(model) as decoded:
        for t in range(7):
            params = SimpleNamespace(key_value_memory_dict=states, seqlen_offset=t)
            parts.append(layer(hidden[:, t : t + 1], inference_params=params))
    assert_close(torch.cat(parts, 1), plain, rtol=1e-4, atol=1e-5)
    assert_close(decoded["0.scan"].y, run["0.scan"].y, rtol=1e-4, atol=1e-5)
