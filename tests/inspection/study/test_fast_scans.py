import pytest
import torch

from mamba_mender.inspection.study.fast_scans import fast_scans
from mamba_mender.taps.accelerate import accelerate_model

transformers = pytest.importorskip("transformers")


@pytest.fixture
def mamba():
    config = transformers.MambaConfig(
        vocab_size=9, hidden_size=8, state_size=2, num_hidden_layers=1, intermediate_size=16
    )
    return transformers.MambaForCausalLM(config).eval()


def state(model):
    return {name: sorted(module.__dict__) for name, module in model.named_modules()}


@torch.no_grad()
def test_scans_are_swapped_and_given_back_also_on_error(mamba):
    tokens, before = torch.arange(8)[None], state(mamba)
    expected = mamba(tokens).logits
    with fast_scans(mamba) as swapped:
        assert swapped
        assert state(mamba) != before
        torch.testing.assert_close(mamba(tokens).logits, expected, rtol=1e-4, atol=1e-5)
    assert state(mamba) == before
    with pytest.raises(IndexError), fast_scans(mamba):
        mamba(tokens + 99)
    assert state(mamba) == before


def test_what_is_fast_stays_as_it_is(mamba, vim):
    accelerate_model(mamba)
    before = state(mamba)
    with fast_scans(mamba) as swapped:
        assert not swapped
    assert state(mamba) == before
    with fast_scans(vim) as swapped:
        assert not swapped
