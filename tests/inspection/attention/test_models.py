"""The attention of models of transformers: against what they compute, and against TransformerLens."""

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender.inspection.attention import (
    BlockwiseScans,
    attention_product,
    attention_rollout,
    attention_rows,
    block_offset,
    hidden_attention,
)
from mamba_mender.taps import record


@pytest.fixture
def ids():
    return torch.randint(3, 40, (2, 9), generator=torch.Generator().manual_seed(3))


def test_the_matrices_compute_what_the_model_computes(make_family, family, ids):
    model = make_family(family)
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[0, :3] = 0
    with torch.no_grad(), record(model, "") as run:
        model(ids, attention_mask=mask, use_cache=False)
    for scan in run.scans.values():
        scan = scan.to(torch.float64)
        seen = mask[:, None].bool().expand_as(scan.y)
        channels = range(scan.channels)
        y, _ = scan.scan()
        alpha = hidden_attention(scan, channels=channels)
        u = (alpha.values @ scan.u[..., None])[..., 0] + scan.D[:, None] * scan.u
        assert_close(u[seen], y[seen])
        gated = y * F.silu(scan.z)
        H = hidden_attention(scan, of="block", channels=channels)
        assert_close((H.values @ scan.conv.x[..., None])[..., 0][seen] + block_offset(scan)[seen], gated[seen])
        assert_close((attention_product(scan, scan.conv.x, of="block") + block_offset(scan))[seen], gated[seen])
        assert_close(attention_rows(scan, [-1], channels=channels).values, alpha.values[..., -1:, :])


@pytest.mark.parametrize("name", ["Mamba", "Mamba2"])
def test_transformer_lens_finds_the_same(make_family, name, ids):
    build = import_module("transformer_lens.model_bridge.sources._bridge_builder").build_bridge_from_module
    model = make_family(name)
    with torch.no_grad(), record(model, "") as run:
        model(ids, use_cache=False)
    bridge = build(model, f"{name}ForCausalLM", hf_config=model.config)  # changes the model for good
    for block in bridge.blocks:
        block.mixer.eager_scan = True
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids, use_cache=False)
        theirs = cache.compute_ssm_effective_attention(include_dt_scaling=True)
        states = cache.compute_ssm_state()
    for scan, expected, state in zip(run.scans.values(), theirs, states, strict=True):
        # Mamba-2: one matrix a head, which its channels share
        expected = expected.repeat_interleave(scan.channels // expected.shape[1], 1)
        near = {"rtol": 1e-4, "atol": 1e-6 * expected.abs().max().item()}
        assert_close(hidden_attention(scan, channels=range(scan.channels)).values, expected, **near)
        assert_close(attention_rows(scan, [4, 8]).values, expected.mean(1)[:, [4, 8]], **near)
        last = state[:, :, -1]  # (batch, channels, state), or (batch, heads, channels of a head, state)
        assert_close(scan.last_state, last.reshape(scan.last_state.shape), rtol=1e-4, atol=1e-6)


def test_blocks_of_transformers_are_recorded_one_at_a_time(make_family, ids):
    model = make_family("Mamba")
    with torch.no_grad(), record(model, "") as run:
        model(ids, use_cache=False)
        hidden = model.backbone.embeddings(ids)
    expected = attention_rollout(list(run.scans.values()))
    found = attention_rollout(BlockwiseScans(model.backbone.layers, hidden))
    assert_close(found.values, expected.values)
    assert found.blocks == expected.blocks == (0, 1, 2)
