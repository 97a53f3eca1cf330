import importlib.util

import pytest
import torch
from hypothesis import settings

from mamba_mender.ops import available_backends, cpu

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=20, database=None)
settings.load_profile("fixed")

if importlib.util.find_spec("triton") and not torch.cuda.is_available():
    with pytest.MonkeyPatch.context() as patch:  # what triton imports of its own is fit for its interpreter or never
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton.language")


def pytest_addoption(parser):
    parser.addoption("--require", default="", help="backends that must be tested, e.g. cpu,triton")


def pytest_report_header(config):
    """Say what the kernels are tested with here, and what they are not: nothing is skipped in silence."""
    found = cpu.instruction_sets() if cpu.is_built() else []
    lacking = cpu.lacking_instruction_sets()
    return f"kernels: tested with {', '.join(found) or 'none'}; not on this processor: {', '.join(lacking) or 'none'}"


def pytest_configure(config):
    """Fail, not skip, when a required backend cannot be tested."""
    required = [name for name in config.getoption("--require").split(",") if name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        found = available_backends("cpu")
    if missing := sorted(set(required) - set(found)):
        raise pytest.UsageError(f"required backends cannot run here: {missing}; found {found}")


def pytest_generate_tests(metafunc):
    """Run tests that take `backend` once per backend that runs on the CPU for more than tests."""
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", available_backends("cpu"))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
