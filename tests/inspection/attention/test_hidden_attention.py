"""The matrix, its rows, columns, sums and products, against the definition written out in loops."""

import math
from dataclasses import replace
from importlib import import_module

import pytest
import torch
import torch.nn.functional as F

from mamba_mender.inspection.attention import (
    attention_columns,
    attention_product,
    attention_row_sums,
    attention_rows,
    attention_top_k,
    block_offset,
    hidden_attention,
    initial_state_output,
)
from mamba_mender.inspection.attention import attention_matrix as matrix_module

CASES = {
    "plain": {},
    "one token": {"length": 1},
    "two tokens": {"length": 2, "batch": 1},
    "reversed": {"reverse": True},
    "groups": {"groups": 3, "length": 7},
    "reversed groups with a state before": {"groups": 2, "reverse": True, "initial": True, "length": 5},
    "a state before": {"initial": True},
    "one coordinate": {"state": 1, "channels": 1},
}


def alpha_of(record, rows=None):
    """Write alpha out by its definition, (batch, channels, length, length); only some rows of it."""
    batch, channels, length = record.u.shape
    step, size = record.step.tolist(), channels // record.B.shape[1]
    A, B, C = record.A.tolist(), record.B.tolist(), record.C.tolist()
    alpha = torch.zeros(batch, channels, length, length, dtype=torch.float64)
    for b in range(batch):
        for d in range(channels):
            for i in range(length) if rows is None else rows:
                for j in range(i, length) if record.reverse else range(i + 1):
                    between = range(i, j) if record.reverse else range(j + 1, i + 1)
                    passed = math.fsum(step[b][d][k] for k in between)
                    alpha[b, d, i, j] = sum(
                        C[b][d // size][n][i] * math.exp(A[d][n] * passed) * step[b][d][j] * B[b][d // size][n][j]
                        for n in range(record.state)
                    )
    return alpha


def block_of(record):
    """Write H out as a product of four dense matrices, (batch, channels, length, length)."""
    length, width = record.length, record.conv.weight.shape[1]
    M = torch.zeros(record.channels, length, length, dtype=torch.float64)
    for i in range(length):
        for k in range(width):
            j = i + (width - 1 - k) * (1 if record.reverse else -1)
            if 0 <= j < length:
                M[:, i, j] = record.conv.weight[:, k]
    inside = torch.einsum("dij,bdj->bdi", M, record.conv.x) + record.conv.bias[:, None]
    alpha = alpha_of(record) + torch.diag_embed(record.D[:, None].expand(-1, length))
    return F.silu(record.z)[..., None] * alpha * torch.sigmoid(inside)[..., None, :] @ M


def definition(record, of):
    return alpha_of(record) if of == "scan" else block_of(record)


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
def scan(request, make_record):
    return make_record(**CASES[request.param])


@pytest.fixture(params=["scan", "block"])
def of(request):
    return request.param


@pytest.fixture(params=["whole", "in parts"], autouse=True)
def parts(request, monkeypatch):
    """Compute everything at once, and again a channel or a few rows at a time."""
    if request.param == "in parts":
        small = {"directions.BUDGET": 40, "tiles.BUDGET": 150, "tiles.ROWS": 4, "attention_top_k.AT_A_TIME": 2}
        for place, value in small.items():
            module, name = place.split(".")
            monkeypatch.setattr(import_module(f"mamba_mender.inspection.attention.{module}"), name, value)


def test_the_matrix_is_its_definition(scan, of):
    expected = definition(scan, of)
    channels = range(scan.channels)
    found = hidden_attention(scan, of=of, channels=channels)
    torch.testing.assert_close(found.values, expected, rtol=1e-11, atol=1e-12)
    assert (found.queries, found.keys) == (tuple(range(scan.length)),) * 2
    torch.testing.assert_close(hidden_attention(scan, of=of).values, expected.mean(1), rtol=1e-11, atol=1e-12)
    some = [scan.channels - 1, 0]
    torch.testing.assert_close(hidden_attention(scan, of=of, channels=some).values, expected[:, some])


def test_the_matrix_computes_what_the_model_computes(scan):
    """y = (alpha + diag D) u + initial, and the gated y = H x + offset, exactly."""
    alpha = hidden_attention(scan, channels=range(scan.channels)).values
    y = (alpha @ scan.u[..., None])[..., 0] + scan.D[:, None] * scan.u + initial_state_output(scan)
    torch.testing.assert_close(y, scan.y, rtol=1e-11, atol=1e-12)
    H = hidden_attention(scan, of="block", channels=range(scan.channels)).values
    gated = (H @ scan.conv.x[..., None])[..., 0] + block_offset(scan)
    torch.testing.assert_close(gated, scan.y * F.silu(scan.z), rtol=1e-11, atol=1e-12)


def test_rows_columns_sums_and_products_are_those_of_the_matrix(scan, of):
    expected = definition(scan, of)
    every, all_channels = list(range(scan.length)), range(scan.channels)
    near = {"rtol": 1e-11, "atol": 1e-12}
    torch.testing.assert_close(attention_rows(scan, every, of=of).values, expected.mean(1), **near)
    torch.testing.assert_close(attention_rows(scan, every, of=of, channels=all_channels).values, expected, **near)
    torch.testing.assert_close(attention_columns(scan, every, of=of).values, expected.mean(1), **near)
    torch.testing.assert_close(attention_columns(scan, every, of=of, channels=all_channels).values, expected, **near)
    torch.testing.assert_close(attention_row_sums(scan, of=of), expected.mean(1).sum(-1), **near)
    v = torch.randn_like(scan.u)
    torch.testing.assert_close(attention_product(scan, v, of=of), (expected @ v[..., None])[..., 0], **near)
    left = attention_product(scan, v, of=of, transpose=True)
    torch.testing.assert_close(left, (v[..., None, :] @ expected)[..., 0, :], **near)
    one = torch.randn_like(v[:, :1])
    torch.testing.assert_close(attention_product(scan, one, of=of), (expected @ one[..., None])[..., 0], **near)


def test_top_k_finds_the_largest(scan, of):
    expected = definition(scan, of).mean(1)
    k = min(3, scan.length)
    found = attention_top_k(scan, range(scan.length), k, of=of)
    best = expected.abs().sort(-1, descending=True).values[..., :k]
    torch.testing.assert_close(found.values.abs(), best, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(expected.gather(-1, found.keys), found.values, rtol=1e-11, atol=1e-12)


def test_directions_are_summed_in_image_order(make_record, of):
    scans = [make_record(length=7), make_record(length=7, reverse=True, seed=1)]
    expected = sum(definition(scan, of) for scan in scans)
    torch.testing.assert_close(hidden_attention(scans, of=of, channels=range(6)).values, expected)
    torch.testing.assert_close(hidden_attention(scans, of=of).values, expected.mean(1))
    torch.testing.assert_close(attention_rows(scans, [2, -1], of=of).values, expected.mean(1)[:, [2, 6]])
    torch.testing.assert_close(attention_columns(scans, [-2], of=of).values, expected.mean(1)[..., [5]])
    torch.testing.assert_close(attention_row_sums(scans, of=of), expected.mean(1).sum(-1))
    with pytest.raises(ValueError, match=r"attention_rows: the scans of one block must have one \(batch, channels"):
        attention_rows([scans[0], make_record(length=5)], [0])


def test_padding_neither_attends_nor_is_attended_to(make_record, of):
    """Padded on the left as decoders are: the real tokens see exactly what they see alone."""
    alone = make_record(length=4, batch=1)
    padded = make_record(length=7, batch=1, seed=5)
    mask = torch.tensor([[False] * 3 + [True] * 4])

    def put(t, first):
        return torch.cat([first[..., :3], t], -1)

    conv = replace(padded.conv, x=put(alone.conv.x, torch.zeros_like(padded.conv.x)), weight=alone.conv.weight)
    conv = replace(conv, bias=alone.conv.bias)
    padded = replace(
        alone,
        conv=conv,
        mask=mask,
        u=conv.convolve() * mask[:, None],
        **{name: put(getattr(alone, name), getattr(padded, name)) for name in ("delta", "B", "C", "z", "y")},
    )
    expected = F.pad(definition(alone, of), (3, 0, 3, 0))
    torch.testing.assert_close(hidden_attention(padded, of=of, channels=range(6)).values, expected)
    torch.testing.assert_close(hidden_attention(padded, of=of).values, expected.mean(1))
    torch.testing.assert_close(attention_rows(padded, range(7), of=of).values, expected.mean(1))
    torch.testing.assert_close(attention_columns(padded, range(7), of=of).values, expected.mean(1))
    torch.testing.assert_close(attention_row_sums(padded, of=of), expected.mean(1).sum(-1))
    gated = (definition(alone, "block") @ alone.conv.x[..., None])[..., 0] + block_offset(alone)
    torch.testing.assert_close(block_offset(padded)[..., 3:] + gated - block_offset(alone), gated)


def test_the_products_are_stable_where_ratios_of_products_are_not(make_record):
    """Decays that underflow within a few steps, and steps of exactly 0, in float32."""
    exact = make_record(length=300, channels=2, state=16, batch=1)
    exact = replace(exact, A=-torch.arange(1.0, 17).double().expand(2, 16), delta=exact.delta * 0 + 3.0)
    exact.delta[..., 100:110] = -200.0  # softplus gives 0 in float32
    rounded = exact.to(torch.float32)
    assert rounded.step[..., 105].max() == 0
    expected = alpha_of(exact, rows := [50, 105, 299])[:, :, rows]
    for found in (
        attention_rows(rounded, rows, channels=[0, 1]).values,
        hidden_attention(rounded, channels=[0, 1]).values[:, :, rows],
    ):
        assert found.isfinite().all()
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_scan_that_copies_token_three_points_to_it(planted_copy):
    last = attention_rows(planted_copy, [-1]).values[0, 0]
    assert last.argmax() == 3
    assert last[3] == pytest.approx(1, abs=1e-6)
    assert last.sum() == pytest.approx(1, abs=1e-6)
    assert attention_top_k(planted_copy, [-1], 1).keys.item() == 3


def test_what_cannot_be_computed_is_refused(make_record):
    scan = make_record()
    with pytest.raises(ValueError, match=r"hidden_attention: channels must be among 0 to 5, got \[6\]"):
        hidden_attention(scan, channels=[6])
    with pytest.raises(ValueError, match=r"attention_rows: positions must be among -9 to 8, got \[9\]"):
        attention_rows(scan, [9])
    with pytest.raises(ValueError, match="attention_top_k: k must be from 1 to the length, 9, got 10"):
        attention_top_k(scan, [0], 10)
    with pytest.raises(ValueError, match="of must be 'scan' or 'block', got 'mixer'"):
        hidden_attention(scan, of="mixer")
    with pytest.raises(ValueError, match=r"layers.0.mixer.forward_scan has no recorded convolution; take of='scan'"):
        attention_rows(replace(scan, conv=None), [0], of="block")
    with pytest.raises(ValueError, match="is not the output of its convolution"):
        hidden_attention(replace(scan, u=scan.u + 1), of="block")
    with pytest.raises(ValueError, match=r"attention_product: v must be \(2, 6, 9\) or \(2, 1, 9\), got \(2, 9\)"):
        attention_product(scan, scan.u[:, 0])
    edited = replace(scan, edits=(object(),))
    for compute in (
        lambda: hidden_attention(edited),
        lambda: attention_rows(edited, [0]),
        lambda: attention_columns(edited, [0]),
        lambda: attention_row_sums(edited),
        lambda: initial_state_output(edited),
        lambda: block_offset(edited),
    ):
        with pytest.raises(ValueError, match="was edited"):
            compute()
    with pytest.raises(ValueError, match="attention_rows: there is no scan"):
        attention_rows([], [0])
    with pytest.raises(ValueError, match="has negative steps"):
        attention_rows(replace(scan, delta_softplus=False, delta_bias=None), [0])


def test_the_block_of_a_record_without_gate_skip_and_bias(make_record):
    """What is missing counts as 1, 0 and 0."""
    scan = make_record(batch=1, length=5)
    conv = replace(scan.conv, bias=None, activation=None)
    bare = replace(scan, u=conv.convolve(), conv=conv, z=None, D=None)
    H = hidden_attention(bare, of="block", channels=range(6)).values
    torch.testing.assert_close((H @ conv.x[..., None])[..., 0] + block_offset(bare), bare.scan()[0])
    assert not block_offset(bare).any()
    torch.testing.assert_close(attention_rows(bare, range(5), of="block").values, H.mean(1))


def test_inputs_before_the_first_are_in_the_offset(make_record):
    """A record of decoding starts in the middle: its convolution has seen three inputs already."""
    scan = make_record(batch=1, length=5, initial=True)
    conv = replace(scan.conv, before=torch.randn(1, 6, 3, dtype=torch.float64), start=3)
    later = replace(scan, u=conv.convolve(), conv=conv, start=3)
    H = hidden_attention(later, of="block", channels=range(6)).values
    gated = later.scan()[0] * F.silu(later.z)
    torch.testing.assert_close((H @ conv.x[..., None])[..., 0] + block_offset(later), gated)


def test_nothing_is_kept_for_autograd(make_record):
    scan = make_record(batch=1)
    scan = replace(scan, u=scan.u.requires_grad_(), delta=scan.delta.requires_grad_())
    assert not attention_rows(scan, [0]).values.requires_grad
    assert not hidden_attention(scan).values.requires_grad
    assert torch.finfo(torch.float32).tiny < matrix_module.SMALLEST_STEP


def test_half_precision_is_computed_in_float32(make_record, of):
    rounded = make_record(groups=2, reverse=True).to(torch.bfloat16)
    exact = rounded.to(torch.float64)  # the same numbers
    for compute in (
        lambda scan: hidden_attention(scan, of=of).values,
        lambda scan: attention_rows(scan, [0, 4], of=of).values,
        lambda scan: attention_columns(scan, [0, 4], of=of).values,
        lambda scan: attention_row_sums(scan, of=of),
    ):
        found = compute(rounded)
        assert found.dtype == torch.float32
        near = 1e-4 if of == "scan" else 3e-2  # the convolution's output is rounded before its sigmoid
        torch.testing.assert_close(found.double(), compute(exact), rtol=near, atol=near)
