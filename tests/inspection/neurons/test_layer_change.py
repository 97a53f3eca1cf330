from dataclasses import replace

import pytest
import torch

from mamba_mender.inspection.neurons import layer_change


def scan(make_record, u, step, **given):
    """Make a record with a given input and step, (batch, channels, length)."""
    template = make_record(batch=u.shape[0], channels=u.shape[1], length=u.shape[2])
    return replace(template, u=u, delta=step, delta_bias=None, delta_softplus=False, **given)


def test_over_tokens_is_its_definition(make_record):
    record = make_record(seed=1)
    found = layer_change([record])
    step, u = record.step, record.u
    assert found.step_over_tokens.item() == pytest.approx(
        ((step[..., 1:] - step[..., :-1]).abs().sum(1).mean() / step.sum(1).mean()).item()
    )
    assert found.activation_over_tokens.item() == pytest.approx(
        ((u[..., 1:] - u[..., :-1]).norm(dim=1).mean() / u.norm(dim=1).mean()).item()
    )
    assert found.step_over_layers.shape == found.activation_over_layers.shape == (0,)


def test_over_layers_is_its_definition(make_record):
    one, two = make_record(seed=1), replace(make_record(seed=2), name="two")
    found = layer_change([one, two])
    assert found.scans == (one.name, "two")
    assert found.step_over_layers.item() == pytest.approx(
        ((two.step - one.step).abs().sum(1).mean() / one.step.sum(1).mean()).item()
    )
    assert found.activation_over_layers.item() == pytest.approx(
        ((two.u - one.u).norm(dim=1).mean() / one.u.norm(dim=1).mean()).item()
    )


def test_zero_one_and_root_two(make_record):
    still = torch.ones(1, 4, 6)
    halves = torch.tensor([0.0, 2.0]).repeat(3).expand(1, 4, 6)  # its mean is 1, its change 2
    found = layer_change([scan(make_record, still, halves), scan(make_record, 2 * still, halves, name="two")])
    assert found.activation_over_tokens.tolist() == [0.0, 0.0]
    assert found.step_over_tokens.tolist() == [2.0, 2.0]
    assert found.step_over_layers.tolist() == [0.0]
    assert found.activation_over_layers.tolist() == [1.0]
    noise = torch.randn(2, 200, 50, generator=torch.Generator().manual_seed(0))
    assert layer_change([scan(make_record, noise, noise.abs())]).activation_over_tokens.item() == pytest.approx(
        2**0.5, abs=0.02
    )


def test_both_directions_change_alike(make_record):
    forward = make_record(seed=3)
    one, other = layer_change([forward]), layer_change([replace(forward, reverse=True)])
    assert torch.equal(one.step_over_tokens, other.step_over_tokens)


@pytest.mark.parametrize("left", [True, False])
def test_padding_does_not_count(make_record, left):
    record = make_record(batch=1, length=10, seed=4)
    mask = torch.arange(10)[None] > 3 if left else torch.arange(10)[None] < 6
    spoilt = replace(record, u=torch.where(mask[:, None], record.u, 1e6), mask=mask)
    found = layer_change([spoilt, replace(spoilt, name="two", u=2 * spoilt.u)])
    u = record.u[..., mask[0]]
    assert found.activation_over_tokens[0].item() == pytest.approx(
        ((u[..., 1:] - u[..., :-1]).norm(dim=1).mean() / u.norm(dim=1).mean()).item()
    )
    assert found.activation_over_layers.tolist() == pytest.approx([1.0])


def test_widths_that_differ_have_no_change_over_layers(make_record):
    found = layer_change([make_record(), replace(make_record(channels=4), name="narrow")])
    assert found.step_over_layers.isnan().all()
    assert found.step_over_tokens.isfinite().all()


def test_bad_arguments_are_named(make_record):
    with pytest.raises(ValueError, match="at least one scan"):
        layer_change([])
    with pytest.raises(ValueError, match="same batch and length"):
        layer_change([make_record(), replace(make_record(length=5), name="short")])
    with pytest.raises(ValueError, match="no input has two real tokens"):
        layer_change([make_record(length=1)])
    with pytest.raises(ValueError, match="were edited"):
        layer_change([replace(make_record(), edits=(object(),))])
