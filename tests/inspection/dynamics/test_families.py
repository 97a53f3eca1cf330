"""Records of another library's models, one with a decay for each coordinate and one with heads."""

from dataclasses import fields

import pytest
import torch
from torch.testing import assert_close
from transformers import Mamba2Config, Mamba2ForCausalLM, MambaConfig, MambaForCausalLM

from mamba_mender.inspection.dynamics import contribution, gramians, half_life, memory_radius, state_statistics
from mamba_mender.taps import record

SMALL = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1}


def build(kind):
    if kind == "mamba":
        return MambaForCausalLM(MambaConfig(**SMALL, state_size=4)).eval()
    return Mamba2ForCausalLM(
        Mamba2Config(**SMALL, state_size=8, num_heads=4, head_dim=8, n_groups=2, chunk_size=4)
    ).eval()


@pytest.mark.parametrize("kind", ["mamba", "mamba2"])
def test_left_padding_changes_nothing(kind):
    model, tokens = build(kind), torch.randint(0, 20, (2, 9))
    with record(model) as bare:
        model(tokens)
    mask = torch.nn.functional.pad(torch.ones_like(tokens), (3, 0))
    with record(model) as padded:
        model(torch.nn.functional.pad(tokens, (3, 0)), attention_mask=mask)
    bare, padded = bare["mixer.scan"], padded["mixer.scan"]
    for measure in (gramians, half_life, memory_radius, contribution, state_statistics):
        one, other = measure(bare), measure(padded)
        for field in fields(one):
            x, y = getattr(one, field.name), getattr(other, field.name)
            if isinstance(x, torch.Tensor):
                along = [axis for axis in range(x.dim()) if x.shape[axis] != y.shape[axis]]
                y = y.narrow(along[0], 3, 9) if along else y
                assert_close(x, y, rtol=1e-3, atol=1e-5, equal_nan=True, check_dtype=False, msg=field.name)


def test_the_channels_of_a_head_forget_alike():
    model = build("mamba2")
    with record(model) as run:
        model(torch.randint(0, 20, (2, 9)))
    scan = run["mixer.scan"]
    by_head = half_life(scan).constant.unflatten(1, (scan.heads, -1))
    assert_close(by_head, by_head[:, :, :1].expand_as(by_head), rtol=0, atol=0)
    assert len(by_head[0, :, 0, 0].unique()) == 4
