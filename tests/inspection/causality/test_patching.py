import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import (
    activation_patching,
    agreement,
    attribution_patching,
    class_logit,
    logit_difference,
)
from mamba_mender.taps import NODES, StateKey, edit, record
from mamba_mender.taps.edit import Edit

CLEAN, CORRUPT = (
    torch.tensor([[0, 1, 2, 4, 3, 1], [3, 0, 3, 2, 3, 3]]),
    torch.tensor([[0, 1, 2, 0, 3, 1], [3, 0, 3, 1, 3, 3]]),
)
RIGHT, WRONG = CLEAN[:, 3], CORRUPT[:, 3]
METRIC = logit_difference(RIGHT, WRONG)


@pytest.mark.parametrize("mode", ["denoising", "noising"])
def test_the_copier_keeps_its_letter_where_it_should(copier, mode):
    """The embedding matters at token 3 only; the state matters from token 3 to the end, wherever it is read."""
    whole = activation_patching(copier, CLEAN, CORRUPT, METRIC, node="h", blocks=[-1], mode=mode)
    assert_close(whole.strength, torch.tensor([[0, 0, 0, 1, 0, 0]]).double(), atol=1e-6, rtol=0)
    state = activation_patching(copier, CLEAN, CORRUPT, METRIC, node="state", mode=mode)
    assert_close(state.strength, torch.tensor([[0, 0, 0, 1, 1, 1]]).double(), atol=1e-6, rtol=0)
    write = activation_patching(copier, CLEAN, CORRUPT, METRIC, node="write", mode=mode)
    assert_close(write.strength, torch.tensor([[0, 0, 0, 1, 0, 0]]).double(), atol=1e-6, rtol=0)
    assert state.change[0, :3].abs().max() < 1e-12
    assert (state.recovered[0, 3].item() > 0.99) == (mode == "denoising")


@pytest.mark.parametrize("node", NODES)
def test_a_patch_is_what_an_edit_makes_of_it(vim, images, donors, node):
    metric = class_logit(0)
    found = activation_patching(vim, images, donors, metric, node=node, blocks=[1], positions=[1, 3])
    assert found.patched.shape == (1, 2, 3)
    with record(vim) as run:
        clean = metric(vim(images))
    assert_close(found.clean, clean.detach())
    assert_close(found.corrupt, metric(vim(donors)).detach())
    if node in "cs":
        edits = [
            Edit(node, run.states[StateKey(1, node, d)].detach()[:, 3:4], blocks=[1], direction=d, positions=[3])
            for d in ("forward", "backward")
        ]
        with torch.no_grad(), edit(vim, *edits):
            assert_close(found.patched[0, 1], metric(vim(donors)), rtol=1e-9, atol=1e-12)


def test_all_of_it_is_everything(vim, images, donors):
    """The class token after the last block is all that the head reads."""
    found = activation_patching(vim, images, donors, class_logit(2), node="h", blocks=[1])
    assert_close(found.recovered[0], torch.tensor([0.0, 0, 1, 0, 0]).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("mode", ["denoising", "noising"])
@pytest.mark.parametrize("node", NODES)
def test_first_order_is_exact_for_a_small_change(vim, images, node, mode):
    near = images + 1e-4 * torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    options = {"node": node, "mode": mode, "positions": [0, 2], "blocks": [0]}
    exact = activation_patching(vim, images, near, class_logit(0), **options)
    screen = attribution_patching(vim, images, near, class_logit(0), **options)
    assert_close(screen.change, exact.change, rtol=1e-9, atol=1e-15)
    assert_close(screen.effect, exact.effect, rtol=2e-2, atol=1e-10)
    assert exact.effect.abs().max() > 1e-10


def test_agreement_of_the_screen(vim, images, donors):
    screens = {
        size: agreement(
            attribution_patching(vim, images, images + size * (donors - images), class_logit(1), node="u"),
            activation_patching(vim, images, images + size * (donors - images), class_logit(1), node="u"),
        )
        for size in (1e-3, 1.0)
    }
    assert screens[1e-3].rank_correlation > 0.99
    assert screens[1e-3].sign_agreement == 1
    assert screens[1e-3].relative_error < 0.01 < screens[1.0].relative_error
    assert screens[1.0].chance < 0.9


def test_agreement_has_a_worst_and_a_best_case(copier):
    truth = activation_patching(copier, CLEAN, CORRUPT, METRIC, node="state")
    assert agreement(truth, truth).rank_correlation == pytest.approx(1)
    with pytest.raises(ValueError, match="their node differ"):
        agreement(attribution_patching(copier, CLEAN, CORRUPT, METRIC, node="write"), truth)


def test_nothing_to_recover(copier):
    found = activation_patching(copier, CLEAN, CLEAN, METRIC, node="y")
    assert found.recovered.isnan().all()
    assert found.effect.abs().max() < 1e-12


def test_the_interval_holds_the_mean(vim, images, donors):
    found = activation_patching(vim, images, donors, class_logit(0), node="y", positions=[2])
    interval = found.interval()
    assert (interval.low <= found.effect.mean(-1)).all()
    assert (interval.high >= found.effect.mean(-1)).all()
    assert interval.inputs == 3


def test_says_how_far_it_is(copier):
    said = []
    activation_patching(copier, CLEAN, CORRUPT, METRIC, node="y", progress=lambda done, of: said.append((done, of)))
    assert said == [(i, 6) for i in range(1, 7)]


def test_refuses(copier):
    with pytest.raises(ValueError, match=r"one shape, got \(2, 6\) and \(1, 6\)"):
        activation_patching(copier, CLEAN, CORRUPT[:1], METRIC)
    with pytest.raises(ValueError, match="mode must be"):
        attribution_patching(copier, CLEAN, CORRUPT, METRIC, mode="both")
