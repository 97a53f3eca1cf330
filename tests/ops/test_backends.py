"""A backend is chosen by facts: a named one runs or raises, and being slow is said once."""

import warnings

import pytest
import torch

from mamba_mender.ops import available_backends, backends, causal_conv1d, kernels, selective_scan

OPS = {
    "selective_scan": lambda ladder, backend: selective_scan(**ladder.scan_inputs(), backend=backend),
    "causal_conv1d": lambda ladder, backend: causal_conv1d(**ladder.conv_inputs(), backend=backend),
}


@pytest.fixture
def not_built(monkeypatch):
    monkeypatch.setattr("mamba_mender.ops.cpu.is_built", lambda: False)
    backends._default.cache_clear()
    yield
    backends._default.cache_clear()


def test_every_backend_has_every_kernel():
    assert kernels.SCAN.keys() == kernels.CONV.keys()
    assert set(available_backends()) <= kernels.SCAN.keys()


def test_lists_only_what_runs(not_built):
    assert available_backends("cpu") == ["reference"]


def test_the_kernel_comes_first():
    assert available_backends("cpu") == ["cpu", "reference"]


def test_the_kernel_is_for_the_cpu_alone():
    assert "it needs tensors on the CPU, got cuda" in backends.why_not("cpu", torch.device("cuda"))


@pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
def test_a_named_backend_raises_rather_than_falls_back(ladder, not_built, op):
    with pytest.raises(RuntimeError, match=r"'cpu' cannot run: the C\+\+ extension is not built; install a C\+\+17"):
        op(ladder, "cpu")


@pytest.mark.parametrize("name", OPS)
def test_the_default_says_once_that_it_is_slow(ladder, not_built, name):
    with pytest.warns(UserWarning, match=rf"{name}: using the slow reference; cannot use 'cpu' because") as caught:
        OPS[name](ladder, None)
    assert caught[0].filename == __file__  # the caller's line, not ours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        OPS[name](ladder, None)


@pytest.mark.parametrize("op", OPS.values(), ids=OPS.keys())
def test_an_unknown_backend_is_refused(ladder, op):
    with pytest.raises(ValueError, match=r"backend must be one of \('cpu', 'reference'\), got 'quick'"):
        op(ladder, "quick")


def test_tensors_on_two_devices_are_refused(ladder):
    inputs = ladder.scan_inputs()
    with pytest.raises(ValueError, match=r"tensors must share a device, got \['cpu', 'meta'\]"):
        selective_scan(**inputs | {"u": inputs["u"].to("meta")})
