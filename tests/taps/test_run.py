import pytest
import torch
from torch.testing import assert_close

from mamba_mender.taps import StateKey, record


def scan_backend(monkeypatch, name):
    """Run every op of the model on one backend."""
    from mamba_mender.nn import causal_conv, scan

    for module, op in ((scan, "selective_scan"), (causal_conv, "causal_conv1d")):
        original = getattr(module, op)
        monkeypatch.setattr(module, op, lambda *a, original=original, **k: original(*a, **k, backend=name))


def test_gradient_of_the_last_state_is_the_head_s(vim, images):
    with record(vim, ["h"], scans=False) as run:
        logits = vim(images)
    key = StateKey(1, "h")
    state = run.states[key].detach().requires_grad_()
    (expected,) = torch.autograd.grad(vim.forward_head(vim.norm_f(state))[:, 1].sum(), state)
    assert_close(run.gradients(logits[:, 1], [key]), {key: expected})


def test_gradients_agree_with_finite_differences(vim, images):
    """Move one state along a direction, and let the model go on with it."""
    torch.manual_seed(0)
    with record(vim) as run:
        logits = vim(images)
    gradients = run.gradients(logits[:, 0])
    points = {"0.c.backward": vim.layers[0].mixer.c_backward, "0.x.forward": vim.layers[0].mixer.x_forward}
    points |= {"embedding": vim.embedding, "1.y": vim.layers[1].mixer.y}
    for name, point in points.items():
        key = StateKey.parse(name)
        direction, ends = torch.randn_like(run.states[key]), []
        for step in (1e-5, -1e-5):
            handle = point.register_forward_hook(lambda _m, _i, out, move=step * direction: out + move)
            ends.append(vim(images)[:, 0].detach())
            handle.remove()
        slope = (ends[0] - ends[1]) / 2e-5
        assert_close((gradients[key] * direction).sum((1, 2)), slope, rtol=1e-5, atol=1e-9)


def test_branches_that_read_one_tensor_have_gradients_of_their_own(vim, images):
    with record(vim, "x", scans=False) as run:
        logits = vim(images)
    gradients = run.gradients(logits[:, 0])
    forward, backward = StateKey(0, "x", "forward"), StateKey(0, "x", "backward")
    assert_close(run.states[forward], run.states[backward])
    assert not torch.allclose(gradients[forward], gradients[backward])


def test_each_sample_s_gradient_is_its_own(vim, images):
    def gradients(pictures):
        with record(vim) as run:
            logits = vim(pictures)
        return run.gradients(logits.log_softmax(1)[:, 2])

    together, alone = gradients(images), gradients(images[1:2])
    for key, gradient in alone.items():
        assert_close(together[key][1:2], gradient, msg=str(key))


def test_frozen_model_has_the_same_gradients(vim, images):
    def gradients():
        with record(vim) as run:
            logits = vim(images)
        return run.gradients(logits[:, 0])

    expected = gradients()
    vim.requires_grad_(False)
    assert_close(gradients(), expected)


def test_second_order_is_exact_through_the_scans(make_vim, images, monkeypatch):
    """Gradcheck a loss that is made of gradients by every kind of state, by the images and by a scan's parameters."""
    scan_backend(monkeypatch, "reference")
    vim = make_vim("mean")
    mixer = vim.layers[0].mixer
    moved = [mixer.A_log, mixer.D_b, mixer.dt_proj.bias, mixer.x_proj_b.weight]

    def loss(pictures, *parameters):
        named = dict(vim.named_parameters())
        names = [next(name for name, p in named.items() if p is old) for old in moved]
        with record(vim, scans=False) as run:
            logits = torch.func.functional_call(vim, dict(zip(names, parameters, strict=True)), pictures)
        gradients = run.gradients(logits.softmax(1)[:, 0], create_graph=True)
        return sum((run.states[key] * gradient).square().sum() for key, gradient in gradients.items())

    inputs = (images[:1].clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in moved))
    assert torch.autograd.gradcheck(loss, inputs)


def test_second_order_agrees_between_backends(make_vim, images, backend, monkeypatch):
    scan_backend(monkeypatch, backend)
    vim = make_vim("mean")

    def second_order():
        with record(vim, scans=False) as run:
            logits = vim(images)
        gradients = run.gradients(logits.log_softmax(1)[:, 0], create_graph=True)
        loss = sum((run.states[key] * gradient).square().sum() for key, gradient in gradients.items())
        return torch.autograd.grad(loss, list(vim.parameters()))

    found = second_order()
    monkeypatch.undo()
    scan_backend(monkeypatch, "reference")
    assert_close(found, second_order())


def test_graph_can_be_used_again(vim, images):
    with record(vim, ["c"]) as run:
        logits = vim(images)
    first = run.gradients(logits[:, 0])
    assert_close(run.gradients(logits[:, 0]), first)
    logits.sum().backward()


def test_first_order_gradients_carry_no_graph(vim, images):
    with record(vim, ["c"]) as run:
        logits = vim(images)
    assert not any(gradient.requires_grad for gradient in run.gradients(logits[:, 0]).values())


def test_unknown_key_offers_near_ones(vim, images):
    with record(vim, ["c"]) as run:
        logits = vim(images)
    with pytest.raises(KeyError, match=r"no state '1\.c\.foward' was recorded; the nearest are"):
        run.gradients(logits[:, 0], [StateKey(1, "c", "foward")])


def test_unknown_scan_offers_near_ones(vim, images):
    with record(vim) as run:
        vim(images)
    with pytest.raises(KeyError, match=r"no scan 'layers.1.mixr.forward_scan'; the nearest are"):
        run["layers.1.mixr.forward_scan"]


def test_target_must_come_from_this_run(vim, images):
    with record(vim, ["c"]) as run:
        vim(images)
    with pytest.raises(RuntimeError, match=r"does not depend on \['0\.c\.forward'"):
        run.gradients(vim(images)[:, 0])


def test_target_must_have_a_graph(vim, images):
    with torch.no_grad(), record(vim, ["c"]) as run:
        logits = vim(images)
    with pytest.raises(RuntimeError, match="has no autograd graph"):
        run.gradients(logits[:, 0])


def test_target_must_be_one_number_per_sample(vim, images):
    with record(vim, ["c"]) as run:
        logits = vim(images)
    with pytest.raises(ValueError, match=r"must be a number or \(batch\), got shape \(3, 3\)"):
        run.gradients(logits)


def test_needs_a_state(vim, images):
    with record(vim, []) as run:
        logits = vim(images)
    with pytest.raises(ValueError, match="no state to differentiate by"):
        run.gradients(logits[:, 0])
