"""The rollout by scans, against products of dense matrices; and the records of one block at a time."""

from dataclasses import replace

import pytest
import torch

from mamba_mender.inspection.attention import BlockwiseScans, attention_rollout, hidden_attention
from mamba_mender.models import create_model
from mamba_mender.taps import record


@pytest.fixture
def layers(make_record):
    """Three layers of one scan each."""
    return [replace(make_record(seed=i, groups=2), block=i) for i in range(3)]


def dense_rollout(matrices, position, normalise):
    """Multiply R[L] ... R[1], (batch, ..., length, length), and take a row; and what it is before each layer."""
    eye = torch.eye(matrices[0].shape[-1], dtype=torch.float64)
    row, before = eye[position], []
    for matrix in reversed(matrices):
        R = eye + matrix
        row = (row[..., None, :] @ (R / R.sum(-1, keepdim=True) if normalise else R))[..., 0, :]
        before.insert(0, row)
    return torch.stack(before, -2)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("of", ["scan", "block"])
@pytest.mark.parametrize("channels", [None, (5, 1)])
def test_rollout_is_a_product_of_matrices(layers, normalise, of, channels):
    dense = [hidden_attention(scan, of=of, channels=channels).values for scan in layers]
    expected = dense_rollout(dense, 6, normalise)
    found = attention_rollout(layers, 6, of=of, channels=channels, normalise=normalise)
    torch.testing.assert_close(found.layers, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.values, expected[..., 0, :], rtol=1e-9, atol=1e-9)
    assert (found.position, found.blocks) == (6, (0, 1, 2))
    if normalise:
        torch.testing.assert_close(found.values.sum(-1), torch.ones_like(found.values[..., 0]), rtol=1e-8, atol=1e-8)


def test_directions_of_a_block_are_one_layer(make_record):
    pairs = [[make_record(seed=2 * i), make_record(seed=2 * i + 1, reverse=True)] for i in range(2)]
    flat = [replace(scan, block=i) for i, pair in enumerate(pairs) for scan in pair]
    expected = dense_rollout([hidden_attention(pair).values for pair in pairs], 4, True)
    torch.testing.assert_close(attention_rollout(flat, 4).layers, expected, rtol=1e-9, atol=1e-9)


def test_rollout_of_a_planted_chain(planted_copy):
    """Layers that copy token 3 to all later positions and keep half of what was there."""
    scans = [replace(planted_copy, block=i) for i in range(3)]
    found = attention_rollout(scans).values[0]
    assert found[3] == pytest.approx(1 - 0.5**3, abs=1e-5)
    assert found[-1] == pytest.approx(0.5**3, abs=1e-5)
    assert found[0] == pytest.approx(0, abs=1e-5)


def test_rollout_in_float32_is_near(layers):
    exact = attention_rollout(layers).values
    found = attention_rollout([scan.to(torch.float32) for scan in layers]).values
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-3 * exact.abs().max().item())


@pytest.mark.parametrize("every", [1, 3])
def test_scans_of_one_block_at_a_time_are_those_of_the_whole_model(every):
    model = create_model("vim_micro", num_classes=3, img_size=16).eval()
    image = torch.randn(2, 3, 16, 16)
    with torch.no_grad(), record(model, "h") as run:
        model(image)
    hidden = next(value for key, value in run.states.items() if str(key) == "embedding")
    blockwise = BlockwiseScans(model.layers, hidden, every=every)
    whole = list(run.scans.values())
    found = [scan for scans in blockwise for scan in scans]
    assert [(scan.block, scan.direction) for scan in found] == [(scan.block, scan.direction) for scan in whole]
    for mine, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(mine.y, theirs.y)
    torch.testing.assert_close(blockwise.output(), run.states[max(run.states)])
    expected = attention_rollout(whole, of="block")
    torch.testing.assert_close(attention_rollout(blockwise, of="block").layers, expected.layers)


def test_what_cannot_be_rolled_out_is_refused(layers):
    with pytest.raises(ValueError, match="attention_rollout: there is no scan"):
        attention_rollout([])
    with pytest.raises(ValueError, match=r"attention_rollout: positions must be among -9 to 8, got \[9\]"):
        attention_rollout(layers, 9)
    with pytest.raises(ValueError, match=r"BlockwiseScans: needs blocks and every >= 1, got 0 blocks, every=1"):
        BlockwiseScans([], torch.zeros(1, 2, 3))
