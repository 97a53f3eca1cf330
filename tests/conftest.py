import importlib.util

import pytest
import torch
from hypothesis import settings

from mamba_mender.ops import available_backends, cpu
from mamba_mender.taps import ConvCall, ScanCall, ScanRecord

# The smallest sizes at which transformers builds a model of each Mamba family, all kinds of layers included.
SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3}
HYBRID = SMALL | {"intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4}
HEADS = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 4}
LAYERS = {"layers_block_type": ["mamba", "hybrid", "hybrid"]}
FAMILIES = {
    "Mamba": SMALL | {"state_size": 4},
    "FalconMamba": SMALL | {"state_size": 4},
    "Mamba2": SMALL | {"state_size": 8, "num_heads": 4, "head_dim": 8, "n_groups": 2, "chunk_size": 4},
    "Jamba": HYBRID
    | {"mamba_d_state": 4, "mamba_dt_rank": 2, "attn_layer_period": 3, "attn_layer_offset": 1}
    | {"num_experts": 2, "expert_layer_period": 2},
    "Zamba": HYBRID | LAYERS | {"n_mamba_heads": 2, "mamba_d_state": 4, "mamba_dt_rank": 2},
    "Zamba2": HYBRID
    | LAYERS
    | {"mamba_ngroups": 1, "n_mamba_heads": 4, "mamba_d_state": 8, "chunk_size": 4, "mamba_headdim": 8}
    | {"num_mem_blocks": 1, "time_step_min": 1e-9},  # a limit that transformers holds to in prefill, not in decoding
    "Bamba": HYBRID | HEADS | {"attn_layer_indices": [1]},
    "FalconH1": HYBRID | HEADS | {"mamba_d_ssm": 32},
    "GraniteMoeHybrid": HYBRID
    | HEADS
    | {"num_local_experts": 2, "num_experts_per_tok": 1, "shared_intermediate_size": 16}
    | {"layer_types": ["mamba", "attention", "mamba"]},
    "NemotronH": {"vocab_size": 40, "hidden_size": 16, "layers_block_type": ["mamba", "attention", "mamba"]}
    | {"intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
    | {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 2, "chunk_size": 4}
    | {"time_step_min": 1e-9},
}

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
    """Run tests that take `backend` once per backend that runs here, and those that take `family` once per family."""
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", available_backends("cpu"))
    if "family" in metafunc.fixturenames:
        metafunc.parametrize("family", FAMILIES)


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


@pytest.fixture
def make_family():
    """Build a tiny random causal language model of one of transformers' Mamba families, `FAMILIES`."""

    def make(family, dtype=torch.float32, **changes):
        transformers = importlib.import_module("transformers")
        transformers.logging.set_verbosity(50)  # it warns that it has no CUDA kernels
        torch.manual_seed(0)
        config = getattr(transformers, f"{family}Config")(**(FAMILIES[family] | {"initializer_range": 0.2} | changes))
        model = getattr(transformers, f"{family}ForCausalLM")(config)
        for name, parameter in model.named_parameters():
            if "x_proj" in name:  # starts so small, or at zero, that B and C would hardly count
                torch.nn.init.normal_(parameter, std=0.3)
        return model.to(dtype).eval()

    return make
