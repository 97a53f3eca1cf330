import importlib.util

import pytest
import torch
from hypothesis import settings

from mamba_mender.ops import available_backends, cpu
from mamba_mender.taps import ConvCall, ScanCall, ScanRecord

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


@pytest.fixture
def make_record():
    """Build the record of a random scan, with its convolution and gate, as `record` would have made it."""

    def make(
        *, batch=2, channels=6, length=9, state=4, groups=1, reverse=False, initial=False, dtype=torch.float64, seed=0
    ):
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape):
            return torch.randn(*shape, dtype=dtype, generator=draw)

        conv = ConvCall(
            x=normal(batch, channels, length),
            weight=normal(channels, 4),
            bias=normal(channels),
            activation="silu",
            reverse=reverse,
        )
        call = ScanCall(
            u=conv.convolve(),
            delta=normal(batch, channels, length),
            A=-normal(channels, state).exp(),
            B=normal(batch, groups, state, length),
            C=normal(batch, groups, state, length),
            D=normal(channels),
            z=normal(batch, channels, length),
            delta_bias=normal(channels),
            reverse=reverse,
            initial_state=normal(batch, channels, state) if initial else None,
        )
        y, last = call.scan()
        given = {name: getattr(call, name) for name in call.__dataclass_fields__}
        direction = "backward" if reverse else "forward"
        return ScanRecord(
            name=f"layers.0.mixer.{direction}_scan",
            block=0,
            direction=direction,
            y=y,
            last_state=last,
            conv=conv,
            **given,
        )

    return make
