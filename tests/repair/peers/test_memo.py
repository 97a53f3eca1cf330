import copy

import pytest
import torch
from torch import nn

from mamba_mender.data import Augment, Batch
from mamba_mender.repair.peers import memo


def answer_by_hand(model, image, views, lr, steps, augment, generator):
    """Adapt a copy by the gradient of the marginal entropy, as autograd gives it."""
    model = copy.deepcopy(model).requires_grad_(True)
    for _ in range(steps):
        none, number = torch.zeros(views, dtype=torch.bool), torch.arange(views)
        batch = Batch(image.repeat(views, 1, 1, 1), number, None, none, number)
        mean = model(augment(batch, generator).images).softmax(1).mean(0)
        model.zero_grad()
        (-(mean * mean.log()).sum()).backward()
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.data -= lr * parameter.grad
    return model(image[None]).detach()[0]


@pytest.mark.parametrize("steps", [1, 2])
def test_each_image_has_its_own_step(vim, pixels, steps):
    augment = Augment(shift=0.25)
    peer = memo(vim, lr=0.05, steps=steps, views=5, augment=augment, seed=4)
    generator = torch.Generator().manual_seed(4)
    answers = peer(pixels(3))
    expected = [answer_by_hand(vim, image, 5, 0.05, steps, augment, generator) for image in pixels(3)]
    torch.testing.assert_close(answers, torch.stack(expected))
    assert (answers - vim(pixels(3))).abs().max() > 1e-3


def test_the_weights_are_as_before_also_when_the_model_fails(vim, pixels):
    peer = memo(vim, views=3, lr=0.5)
    before = copy.deepcopy(peer.model.state_dict())
    peer(pixels(2))
    assert all(torch.equal(value, before[key]) for key, value in peer.model.state_dict().items())
    calls = []

    def fail(*_):
        calls.append(0)
        if len(calls) == 2:
            raise ZeroDivisionError

    peer.model.register_forward_hook(fail)
    with pytest.raises(ZeroDivisionError):
        peer(pixels(1))
    assert len(calls) == 2
    assert all(torch.equal(value, before[key]) for key, value in peer.model.state_dict().items())


def test_an_answer_does_not_depend_on_what_came_before_but_for_the_views(vim, pixels):
    """With views that are all the image itself nothing is random."""
    peer = memo(vim, views=2, augment=Augment(), lr=0.05)
    together = peer(pixels(4))
    apart = torch.cat([peer(image) for image in pixels(4).flip(0).split(1)]).flip(0)
    torch.testing.assert_close(together, apart)


def test_views_are_drawn_by_the_seed_and_anew_after_a_reset(vim, pixels):
    peer = memo(vim, views=3, seed=1, lr=0.5)
    first, second = peer(pixels(1)), peer(pixels(1))
    assert not torch.equal(first, second)
    peer.reset()
    assert torch.equal(peer(pixels(1)), first)
    assert torch.equal(memo(vim, views=3, seed=1, lr=0.5)(pixels(1)), first)
    assert not torch.equal(memo(vim, views=3, seed=2, lr=0.5)(pixels(1)), first)


def test_held_it_is_the_model(vim, pixels):
    peer = memo(vim, views=3)
    with peer.held():
        assert torch.equal(peer(pixels(3)), vim(pixels(3)))


def test_answers_become_surer(trained, digits):
    images = digits.test.batch(torch.arange(12)).images
    peer = memo(trained, lr=0.02, views=8, augment=Augment(shift=0.125))
    assert peer(images).softmax(1).max(1).values.mean() > trained(images).softmax(1).max(1).values.mean()


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"lr": -1.0}, "-1.0, 1 and 32"), ({"steps": 0}, "0.005, 0 and 32"), ({"views": 0}, "0.005, 1 and 0")],
)
def test_bad_settings_are_refused(vim, settings, words):
    with pytest.raises(ValueError, match=f"memo: lr must be above 0, steps and views at least 1, got {words}"):
        memo(vim, **settings)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="memo: the model has no parameters to adapt"):
        memo(nn.Flatten())
