"""Attention-weighted, gradient-guided and rollout neurons."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mamba_mender.inspection.neurons import attention_weighted_neurons, gradient_guided_neurons, rollout_neurons
from mamba_mender.models import create_model
from mamba_mender.taps import Edit, StateKey, edit, record


def attention(scan):
    """Write out alpha_ij of each channel, (batch, channels, i, j), from its definition."""
    scan = scan.in_scan_order()
    groups, length = scan.channels // scan.B.shape[1], scan.length
    B, C = (t.repeat_interleave(groups, 1) for t in (scan.B, scan.C))
    total = scan.step.cumsum(-1)
    alpha = torch.zeros(scan.batch, scan.channels, length, length, dtype=scan.u.dtype)
    for i in range(length):
        for j in range(i + 1):
            decay = ((total[..., i] - total[..., j])[..., None] * scan.A).exp()
            alpha[:, :, i, j] = (C[..., i] * decay * B[..., j]).sum(-1) * scan.step[..., j]
    return alpha


@pytest.mark.parametrize(
    "given",
    [{}, {"groups": 3}, {"reverse": True}, {"length": 1}, {"initial": True}, {"reverse": True, "initial": True}],
    ids=str,
)
def test_attention_weighted_is_its_definition_at_every_target(make_record, given):
    scan = make_record(**given)
    alpha = attention(scan)
    alpha = alpha.flip(-1, -2) if scan.reverse else alpha
    for target in range(scan.length):
        found = attention_weighted_neurons(scan, target)
        parts = alpha[:, :, target] * scan.u
        torch.testing.assert_close(found.score, parts.sum(-1))
        torch.testing.assert_close(found.magnitude, parts.abs().sum(-1))


@pytest.mark.parametrize("reverse", [False, True])
def test_the_score_is_what_the_scan_reads(make_record, reverse):
    scan = make_record(reverse=reverse)
    last = 0 if reverse else 8
    expected = scan.y[..., last] - scan.D * scan.u[..., last]
    torch.testing.assert_close(attention_weighted_neurons(scan).score, expected)
    own = torch.tensor([3, 5])
    expected = torch.stack([scan.y[i, :, t] - scan.D * scan.u[i, :, t] for i, t in enumerate(own)])
    torch.testing.assert_close(attention_weighted_neurons(scan, own).score, expected)


@pytest.mark.parametrize(("reverse", "left"), [(False, True), (False, False), (True, True), (True, False)])
def test_padding_is_left_out_and_the_last_real_token_is_the_target(make_record, reverse, left):
    scan = make_record(reverse=reverse)
    mask = torch.ones(2, 9).bool()
    mask[1, :4] = False
    mask = mask if left else mask.flip(1)
    found = attention_weighted_neurons(replace(scan, mask=mask))
    row = attention(scan)
    row = row.flip(-1, -2) if reverse else row
    places = mask[1].nonzero()[:, 0]
    target = places[0] if reverse else places[-1]
    parts = row[1, :, target] * scan.u[1] * mask[1]
    torch.testing.assert_close(found.score[1], parts.sum(-1))
    with pytest.raises(ValueError, match=r"target of inputs \[1\] is padding"):
        attention_weighted_neurons(replace(scan, mask=mask), int((~mask[1]).nonzero()[0]))


def test_a_scan_that_copies_one_token_reads_that_token(make_record):
    """Token 3 is written (step 5) and kept (step 0 afterwards); nothing else is."""
    scan = make_record(batch=1, channels=2, state=1, length=7)
    step = torch.zeros(1, 2, 7, dtype=torch.float64)
    step[..., 3] = 5.0
    ones = torch.ones(1, 1, 1, 7, dtype=torch.float64)
    scan = replace(scan, delta=step, delta_bias=None, delta_softplus=False, B=ones, C=ones)
    found = attention_weighted_neurons(scan)
    torch.testing.assert_close(found.score, 5 * scan.u[..., 3])
    torch.testing.assert_close(found.magnitude, found.score.abs())
    silent = attention_weighted_neurons(scan, 2)
    assert not silent.score.any()
    assert not silent.magnitude.any()


def test_half_precision_and_no_grad_give_single(make_record):
    scan = make_record(length=5)
    with torch.no_grad():
        found = attention_weighted_neurons(scan.to(torch.bfloat16))
    assert found.score.dtype == torch.float32
    assert not found.score.requires_grad
    torch.testing.assert_close(found.score.double(), attention_weighted_neurons(scan).score, atol=0.5, rtol=0.1)


def test_bad_targets_are_named(make_record):
    with pytest.raises(ValueError, match=r"target must lie in 0..8, got 9"):
        attention_weighted_neurons(make_record(), 9)
    with pytest.raises(ValueError, match=r"got \[0, -1\]"):
        attention_weighted_neurons(make_record(), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="was edited"):
        attention_weighted_neurons(replace(make_record(), edits=(object(),)))


def test_gradient_guided_is_the_loss_of_a_linear_target():
    activation = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 3, dtype=torch.float64)

    def target(a):
        return (a * weight).sum((1, 2))

    (gradient,) = torch.autograd.grad(target(activation).sum(), activation)
    found = gradient_guided_neurons(activation, gradient)
    for channel in range(3):
        off = torch.where(torch.arange(3) == channel, 0.0, activation)
        torch.testing.assert_close(found.score[:, channel], (target(activation) - target(off)).detach())
    assert (found.score.abs() <= found.magnitude + 1e-12).all()
    assert not found.score.requires_grad


def test_gradient_guided_in_a_model_is_what_scaling_a_channel_does():
    model = create_model("vim_micro", num_classes=3, img_size=8).double().eval()
    images, key = torch.rand(2, 3, 8, 8, dtype=torch.float64), StateKey(1, "c", "backward")
    with record(model, "c", scans=False) as run:
        logits = model(images)
    found = gradient_guided_neurons(run.states[key], run.gradients(logits[:, 0], [key])[key])
    for channel in (0, 7):
        scaled = []
        for factor in (1 - 1e-4, 1 + 1e-4):
            change = Edit("c", lambda c, by=factor: c * by, blocks=[1], direction="backward", channels=[channel])
            with torch.no_grad(), edit(model, change):
                scaled.append(model(images)[:, 0])
        slope = (scaled[1] - scaled[0]) / 2e-4
        torch.testing.assert_close(found.score[:, channel], slope, rtol=1e-4, atol=1e-9)


def test_rollout_weights_tokens():
    activation, weights = torch.randn(2, 5, 3), torch.rand(2, 5)
    found = rollout_neurons(activation, weights)
    torch.testing.assert_close(found.score, torch.einsum("btd,bt->bd", activation, weights))
    torch.testing.assert_close(found.magnitude, torch.einsum("btd,bt->bd", activation.abs(), weights))
    one = F.one_hot(torch.tensor([2, 4]), 5).float()
    assert torch.equal(rollout_neurons(activation, one).score, activation[[0, 1], [2, 4]])


@pytest.mark.parametrize("function", [gradient_guided_neurons, rollout_neurons])
def test_what_lies_in_padding_does_not_count(function):
    activation, mask = torch.randn(2, 5, 3), torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    other = torch.randn(2, 5, 3) if function is gradient_guided_neurons else torch.rand(2, 5)
    spoilt = torch.where(mask[..., None], activation, torch.inf)
    found = function(spoilt, other, mask=mask)
    torch.testing.assert_close(found.score[0], function(activation[:1, 1:], other[:1, 1:]).score[0])
    with pytest.raises(ValueError, match="tokens=4"):
        function(activation, other[:, :4])
