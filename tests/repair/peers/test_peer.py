import copy

import pytest
import torch
from torch import nn

from mamba_mender.repair.peers import PEERS, Peer, make_peer

LEARNERS = ["tent", "eata", "sar", "memo"]
REMEMBER = ["tent", "eata", "sar", "t3a"]
SETTINGS = {
    "eata": {"similarity": 0.9, "margin": 0.95, "lr": 0.05},
    "sar": {"margin": 0.95, "lr": 0.05, "recovery": 0.0},
    "memo": {"views": 2},
    "t3a": {"filter": 3},
    "lame": {"neighbours": 2},
}


@pytest.fixture(params=PEERS)
def build(request, vim, source):
    def make(model=vim):
        return make_peer(request.param, model, source=source, **SETTINGS.get(request.param, {}))

    make.name = request.param
    return make


def test_the_model_that_is_given_is_left_alone(build, vim, pixels):
    before, needs = copy.deepcopy(vim.state_dict()), [p.requires_grad for p in vim.parameters()]
    vim.train()
    answers = vim(pixels(2))
    peer = build()
    for seed in range(3):
        peer(pixels(4, seed))
    assert all(torch.equal(value, before[key]) for key, value in vim.state_dict().items())
    assert [p.requires_grad for p in vim.parameters()] == needs
    assert all(p.grad is None for p in vim.parameters())
    assert all(module.training for module in vim.modules())
    assert not any(module._forward_pre_hooks for module in vim.modules())
    assert torch.equal(vim(pixels(2)), answers)


def test_a_reset_forgets_bit_for_bit(build, pixels):
    peer = build()
    start = copy.deepcopy(peer.state_dict())
    first = [peer(pixels(4, seed)) for seed in range(3)]
    peer.reset()
    assert all(torch.equal(value, start[key]) for key, value in peer.state_dict().items())
    again = [peer(pixels(4, seed)) for seed in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_what_remembers_is_changed_by_what_it_sees(build, pixels):
    peer = build()
    with peer.held():
        before = peer(pixels(4))
    for seed in range(1, 4):
        peer(pixels(9, seed))
    with peer.held():
        assert torch.equal(peer(pixels(4)), before) == (build.name not in REMEMBER)


def test_held_passes_leave_the_state_and_can_be_differentiated(build, pixels):
    peer, other = build(), build()
    for each in (peer, other):
        each(pixels(4, 1))
    images = pixels(5, 2).requires_grad_()
    with peer.held():
        with peer.held():
            loss = peer(images).square().sum()
        assert torch.equal(peer(images), peer(images))
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient.abs().sum() > 0
    assert all(p.grad is None for p in peer.parameters())
    assert torch.equal(peer(pixels(4, 3)), other(pixels(4, 3)))


def test_the_hold_ends_with_its_block_also_on_error(build, pixels):
    peer, other = build(), build()
    with pytest.raises(ZeroDivisionError), peer.held():
        raise ZeroDivisionError
    for seed in range(2):
        assert torch.equal(peer(pixels(4, seed)), other(pixels(4, seed)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_that_the_caller_switched_off_change_nothing(build, pixels, mode):
    peer, other = build(), build()
    for seed in range(3):
        with mode():
            answers = peer(pixels(4, seed))
        assert torch.equal(answers, other(pixels(4, seed)))
        assert not answers.requires_grad
    images = pixels(2).requires_grad_()
    with peer.held():
        torch.autograd.grad(peer(images).sum(), images)


def test_batches_of_one_image_work(build, pixels):
    peer = build()
    for image in pixels(4).split(1):
        answer = peer(image)
        assert answer.shape == (1, 4)
        assert answer.isfinite().all()


def test_a_copy_learns_by_itself(build, pixels):
    peer, alone, whole = build(), build(), build()
    for each in (peer, alone, whole):
        each(pixels(4, 0))
    copied = copy.deepcopy(peer)
    for each in (copied, whole):
        each(pixels(4, 1))
    assert torch.equal(peer(pixels(4, 2)), alone(pixels(4, 2)))  # its copy's images taught it nothing
    assert torch.equal(copied(pixels(4, 2)), whole(pixels(4, 2)))  # and the copy has learned them


def test_the_mode_is_evaluation_whatever_is_set(build, pixels):
    peer, other = build().train(), build()
    assert not any(module.training for module in peer.model.modules())
    assert torch.equal(peer(pixels(3)), other(pixels(3)))


def test_bad_images_are_refused(build, pixels):
    with pytest.raises(ValueError, match=rf"{build.name}: images must be \(batch, channels, height, width\), got"):
        build()(pixels(3)[0])
    with pytest.raises(ValueError, match=f"{build.name}: there is no image in the batch"):
        build()(pixels(0))


def test_gradients_through_learning_are_refused_and_others_given(build, pixels):
    images = pixels(3).requires_grad_()
    if build.name in LEARNERS:
        with pytest.raises(ValueError, match=f"{build.name}: gradients .* query it inside `with peer.held"):
            build()(images)
        with torch.no_grad():
            build()(images)
    else:
        assert torch.autograd.grad(build()(images).sum(), images)[0].isfinite().all()


def test_a_plain_peer_is_the_model(vim, pixels):
    peer = Peer(vim)
    assert torch.equal(peer(pixels(3)), vim(pixels(3)))
    assert peer.model is not vim
    assert isinstance(peer, nn.Module)
