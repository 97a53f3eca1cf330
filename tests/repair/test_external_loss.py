"""The external constraint on hand-made states, and its exact second order on a real Vim."""

import pytest
import torch
from torch.func import functional_call
from torch.testing import assert_close

from mamba_mender.repair import external_loss
from mamba_mender.taps import Run, StateKey, record

KEY = StateKey(-1, "h")
KEYS = (KEY, StateKey(0, "s", "forward"))
LEFT = torch.zeros(1, 1, 2, 4, dtype=torch.bool)
LEFT[..., :2] = True  # of a grid of 1 x 2, the first token is foreground


def hand_made(weights, *, scale=1.0, count=1):
    """A run whose logits are the state times weights, (tokens, channels): what matters is known."""
    run = Run()
    state = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], dtype=torch.float64).repeat(count, 1, 1).requires_grad_()
    state = run.add_state(KEY, state)
    score = scale * (state * torch.tensor(weights, dtype=torch.float64)).sum((1, 2))
    return run, torch.stack([score, torch.zeros_like(score)], dim=1)


def loss_of(run, logits, masks=LEFT, has_mask=None, **options):
    count = len(logits)
    has_mask = torch.ones(count, dtype=torch.bool) if has_mask is None else has_mask
    masks = masks.expand(count, -1, -1, -1)
    return external_loss(
        run, logits, torch.zeros(count, dtype=torch.long), masks, has_mask, [KEY], grid=(1, 2), **options
    )


@pytest.mark.parametrize("measure", ["share", "channel-share", "gradient-share"])
@pytest.mark.parametrize(("weights", "expected"), [([[1, 1], [0, 0]], 0.0), ([[0, 0], [1, 1]], 1.0)])
def test_is_0_when_all_relevance_is_inside_and_1_when_none_is(measure, weights, expected):
    assert loss_of(*hand_made(weights), measure=measure).item() == pytest.approx(expected)


@pytest.mark.parametrize(("measure", "expected"), [("share", 7 / 10), ("gradient-share", 1 / 2), ("paper", 7 / 10)])
def test_known_shares(measure, expected):
    assert loss_of(*hand_made([[1, 1], [1, 1]]), measure=measure).item() == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 30.0])
def test_scale_of_the_logits_changes_nothing(scale):
    assert_close(loss_of(*hand_made([[1, 2], [3, 1]], scale=scale)), loss_of(*hand_made([[1, 2], [3, 1]])))


def test_size_of_the_batch_changes_nothing():
    assert_close(loss_of(*hand_made([[1, 2], [3, 1]], count=7)), loss_of(*hand_made([[1, 2], [3, 1]])))


def test_a_sample_without_a_mask_does_not_count():
    run, logits = hand_made([[1, 2], [3, 1]], count=2)
    masks = torch.cat([LEFT, torch.ones_like(LEFT)])
    assert_close(loss_of(run, logits, masks, torch.tensor([True, False])), loss_of(*hand_made([[1, 2], [3, 1]])))


def test_squared_gradient_is_what_the_target_moves_by():
    run, logits = hand_made([[1, 2], [3, 1]])
    assert loss_of(run, logits, measure="squared-gradient", target="logit").item() == pytest.approx((9 + 1) * 7.5)


def test_authors_measure_adds_the_directions_first():
    run = Run()
    forward, backward = StateKey(0, "c", "forward"), StateKey(0, "c", "backward")
    for key in (forward, backward):
        run.add_state(key, torch.rand(1, 2, 2, dtype=torch.float64).requires_grad_())
    both = run.states[forward] + run.states[backward]
    weights = torch.tensor([[1.0, -2.0], [3.0, 1.0]], dtype=torch.float64)
    logits = torch.stack([(both * weights).sum((1, 2)), both.new_zeros(1)], dim=1)
    inputs = logits, torch.tensor([0]), LEFT, torch.tensor([True]), [forward, backward]
    loss = external_loss(run, *inputs, grid=(1, 2), measure="authors", target="logit")
    gain = (2 * weights).relu().mean(0)
    e = (both[0].relu() * gain).mean(-1)
    assert_close(loss, e[1] / e.sum())


def vim_loss(model, images, parameters, *, detach=False):
    masks = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    masks[..., 2:, 2:] = False
    with record(model, "hs", scans=False) as run:
        logits = functional_call(model, parameters, (images,))
    labels, has_mask = torch.tensor([0, 2]), torch.tensor([True, True])
    return external_loss(run, logits, labels, masks, has_mask, KEYS, grid=(2, 2), detach_gradient=detach)


def test_second_order_is_exact(tiny):
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    named = dict(tiny.named_parameters())
    chosen = {name: named[name] for name in ("layers.0.mixer.A_log", "layers.0.mixer.dt_proj_b.bias", "norm_f.weight")}

    def loss(*values):
        return vim_loss(tiny, images, {**named, **dict(zip(chosen, values, strict=True))})

    torch.autograd.gradcheck(loss, tuple(t.detach().clone().requires_grad_() for t in chosen.values()))


def test_detached_gradient_has_the_same_value_and_another_slope(tiny):
    images, named = torch.randn(2, 1, 4, 4, dtype=torch.float64), dict(tiny.named_parameters())
    exact, detached = (vim_loss(tiny, images, named, detach=detach) for detach in (False, True))
    assert_close(exact, detached)
    weight = named["patch_embed.proj.weight"]
    slopes = [torch.autograd.grad(loss, weight)[0] for loss in (exact, detached)]
    assert not torch.allclose(*slopes)


def test_class_token_is_no_place_in_the_image():
    run = Run()
    run.add_state(KEY, torch.ones(1, 3, 2).requires_grad_())
    logits = torch.cat(
        [(run.states[KEY] * torch.tensor([[1.0], [50.0], [1.0]])).sum((1, 2))[:, None], torch.zeros(1, 1)], 1
    )
    assert loss_of(run, logits, class_token=1).item() == pytest.approx(0.5)


def test_refuses_no_mask_and_no_state():
    run, logits = hand_made([[1, 1], [0, 0]])
    with pytest.raises(ValueError, match="none of the 1 samples has a mask"):
        loss_of(run, logits, has_mask=torch.tensor([False]))
    with pytest.raises(ValueError, match="no state to constrain"):
        external_loss(run, logits, torch.tensor([0]), LEFT, torch.tensor([True]), [], grid=(1, 2))
