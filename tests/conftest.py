import pytest
import torch
from hypothesis import settings

from mamba_mender.ops import available_backends

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=20, database=None)
settings.load_profile("fixed")


def pytest_addoption(parser):
    parser.addoption("--require", default="", help="backends that must be tested, e.g. cpu")


def pytest_generate_tests(metafunc):
    """Run tests that take `backend` once per backend; fail, not skip, when a required one is missing."""
    if "backend" not in metafunc.fixturenames:
        return
    found = available_backends("cuda" if torch.cuda.is_available() else "cpu")
    required = [name for name in metafunc.config.getoption("--require").split(",") if name]
    if missing := sorted(set(required) - set(found)):
        raise pytest.UsageError(f"required backends cannot run here: {missing}; found {found}")
    metafunc.parametrize("backend", found)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)
