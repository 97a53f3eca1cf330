"""A backend is chosen by facts: a named one runs or raises, and being slow is said once."""

import warnings
from typing import get_args

import pytest
import torch

from mamba_mender.ops import Backend, available_backends, backends, causal_conv1d, kernels, selective_scan

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


@pytest.mark.parametrize(
    ("where", "table"),
    {
        "selective_scan": kernels.SCAN,
        "cross_selective_scan": kernels.CROSS_SCAN,
        "causal_conv1d": kernels.CONV,
        "selective_state_update": kernels.STATE_UPDATE,
        "causal_conv1d_update": kernels.CONV_UPDATE,
    }.items(),
)
def test_every_backend_has_the_kernels_it_does_not_lack(where, table):
    assert table.keys() == set(get_args(Backend)) - set(backends.LACKING.get(where, ()))


def test_lists_only_what_runs(not_built):
    assert available_backends("cpu") == ["reference"]


def test_the_kernel_comes_first():
    assert available_backends("cpu") == ["cpu", "reference"]


def test_the_kernel_is_for_the_cpu_alone():
    assert "it needs tensors on the CPU, got cuda" in backends.why_not("cpu", torch.device("cuda"))


@pytest.fixture
def installed(monkeypatch):
    """Pretend that the packages for a GPU are there."""
    for name in ("gpu", "mamba_ssm_scan"):
        monkeypatch.setattr(f"mamba_mender.ops.{name}.is_installed", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    backends._default.cache_clear()
    yield
    backends._default.cache_clear()


def test_a_gpu_runs_triton_and_never_mamba_ssm_unless_named(installed, monkeypatch):
    assert available_backends("cuda") == ["triton", "mamba_ssm", "reference"]
    assert backends._default("selective_scan", "cuda") == "triton"
    monkeypatch.setattr("mamba_mender.ops.gpu.is_installed", lambda: False)
    assert available_backends("cuda") == ["mamba_ssm", "reference"]
    backends._default.cache_clear()
    with pytest.warns(UserWarning, match="slow reference; .*'triton' because triton is not installed; pip install tri"):
        assert backends._default("selective_scan", "cuda") == "reference"


def test_triton_runs_on_the_cpu_only_where_it_is_interpreted_and_then_only_by_name(installed, monkeypatch):
    assert available_backends("cpu") == ["cpu", "reference"]
    reason = backends.why_not("triton", torch.device("cpu"))
    assert "it needs tensors on a GPU, got cpu" in reason
    assert "TRITON_INTERPRET=1" in reason
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert available_backends("cpu") == ["cpu", "reference", "triton"]
    assert backends._default("selective_scan", "cpu") == "cpu"
    monkeypatch.setattr("mamba_mender.ops.cpu.is_built", lambda: False)
    assert backends._fastest("selective_scan", torch.device("cpu")) == "reference"


REFUSED = {
    "mamba_ssm on the CPU": ("mamba_ssm", "cpu", "selective_scan", "it needs tensors on a GPU, got cpu"),
    "triton elsewhere": ("triton", "meta", "selective_scan", "it needs tensors on a GPU, got meta"),
    "an op that it lacks": ("mamba_ssm", "cuda", "causal_conv1d", "it has no causal_conv1d"),
}


@pytest.mark.parametrize(("name", "device", "where", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_says_why_not(installed, name, device, where, reason):
    assert reason in backends.why_not(name, torch.device(device), where)


def test_says_which_package_is_missing(monkeypatch):
    for name, package in (("gpu", "triton"), ("mamba_ssm_scan", "mamba-ssm")):
        monkeypatch.setattr(f"mamba_mender.ops.{name}.is_installed", lambda: False)
        backend = package.replace("-", "_")
        reason = backends.why_not(backend, torch.device("cuda"))
        assert "is not installed" in reason
        assert f"pip install {package}" in reason


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
    with pytest.raises(ValueError, match=r"backend must be one of \('cpu', 'triton', .*, 'reference'\), got 'quick'"):
        op(ladder, "quick")


def test_tensors_on_two_devices_are_refused(ladder):
    inputs = ladder.scan_inputs()
    with pytest.raises(ValueError, match=r"tensors must share a device, got \['cpu', 'meta'\]"):
        selective_scan(**inputs | {"u": inputs["u"].to("meta")})
