import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender.nn import Scan, StatePoint
from mamba_mender.taps import STATES, StateKey, record


def untouched(model):
    scans = [module for module in model.modules() if isinstance(module, Scan)]
    return not any(module._forward_hooks for module in model.modules()) and all(scan.tap is None for scan in scans)


@pytest.mark.parametrize("pool", ["class", "mean"])
def test_recording_leaves_the_logits_as_they_are(make_vim, images, pool):
    model = make_vim(pool)
    with record(model):
        tapped = model(images)
    assert_close(tapped, model(images), rtol=0, atol=1e-14)


def test_recording_leaves_the_parameter_gradients_as_they_are(vim, images):
    def gradients(model):
        return torch.autograd.grad(model(images).square().sum(), list(model.parameters()))

    plain = gradients(vim)
    with record(vim):
        tapped = gradients(vim)
    assert_close(tapped, plain)


def test_records_every_state_of_every_block(vim, images):
    with record(vim) as run:
        vim(images)
    both = [f"{state}.{direction}" for state in "xcsz" for direction in ("forward", "backward")]
    expected = {"embedding"} | {f"{block}.{state}" for block in range(2) for state in [*both, "y", "h"]}
    assert {str(key) for key in run.states} == expected
    for key, state in run.states.items():
        assert state.shape == (3, 5, 6 if key.state in "yh" else 12), str(key)


def test_states_are_what_the_block_computes(vim, images):
    with record(vim) as run:
        vim(images)
    mixer, states = vim.layers[1].mixer, run.states
    hidden = vim.layers[1].norm(states[StateKey(0, "h")])
    x, z = mixer.in_proj(hidden).chunk(2, dim=-1)
    gated = 0
    for direction in ("forward", "backward"):
        assert_close(states[StateKey(1, "x", direction)], x)
        assert_close(states[StateKey(1, "z", direction)], z)
        gated = gated + states[StateKey(1, "s", direction)] * torch.nn.functional.silu(z)
    assert_close(states[StateKey(1, "y")], mixer.out_proj(gated / 2))
    assert_close(states[StateKey(1, "h")], states[StateKey(0, "h")] + states[StateKey(1, "y")])
    assert_close(vim.forward_head(vim.norm_f(states[StateKey(1, "h")])), vim(images))


def test_both_directions_are_in_image_order(vim, images):
    """What changes in the last patch reaches only that token of the forward branch, and all of the backward one."""
    changed = images.clone()
    changed[:, :, 2:, 2:] += 1

    def states(pictures):
        with record(vim, "cs", blocks=[0]) as run:
            vim(pictures)
        return run.states

    before, after = states(images), states(changed)
    for state in "cs":
        moved = {
            direction: (after[key] - before[key]).abs().amax((0, 2)) > 1e-9
            for direction in ("forward", "backward")
            for key in [StateKey(0, state, direction)]
        }
        assert moved["forward"].tolist() == [False, False, False, False, True]
        assert moved["backward"][-1]
        assert moved["backward"][-2]


def test_takes_only_what_is_asked_for(vim, images):
    with record(vim, ["c"], scans=False, blocks=[1]) as run:
        vim(images)
    assert [str(key) for key in run.states] == ["1.c.forward", "1.c.backward"]
    assert run.scans == {}
    assert [scan.tap for scan in vim.modules() if isinstance(scan, Scan)] == [None] * 4


def test_embedding_is_block_minus_one(vim, images):
    with record(vim, ["h"], scans=False, blocks=[-1]) as run:
        vim(images)
    assert list(run.states) == [StateKey(-1, "h", "")]


def test_works_without_a_graph(vim, images):
    with torch.no_grad(), record(vim) as run:
        vim(images)
    assert not any(state.requires_grad for state in run.states.values())


def test_leaves_nothing_behind(vim, images):
    with record(vim):
        vim(images)
    assert untouched(vim)
    with record(vim):  # and can be recorded again
        vim(images)


def test_leaves_nothing_behind_on_error(vim):
    with pytest.raises(ZeroDivisionError), record(vim):
        raise ZeroDivisionError
    assert untouched(vim)


def test_leaves_nothing_behind_when_the_forward_pass_fails(vim):
    with pytest.raises(ValueError, match="9"), record(vim):
        vim(torch.zeros(1, 1, 9, 9, dtype=torch.float64))
    assert untouched(vim)


def test_refuses_a_second_record(vim, images):
    with record(vim, ["c"]) as run:
        with pytest.raises(RuntimeError, match="is being recorded already; leave the outer"), record(vim, ["c"]):
            pass
        vim(images)  # the outer one still works
    assert run.states


def test_refuses_a_second_pass(vim, images):
    def run_twice():
        with record(vim):
            vim(images)
            vim(images)

    with pytest.raises(RuntimeError, match="ran twice in one block"):
        run_twice()
    assert untouched(vim)


def test_silence_is_an_error(vim):
    with pytest.raises(RuntimeError, match=r"'0\.s\.forward'.*never ran"), record(vim):
        pass


def test_a_branch_that_never_ran_is_an_error():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = StatePoint("h")
            self.layers = nn.ModuleList([StatePoint("y")])

        def forward(self, x):
            return self.embedding(x)

    model = Half()
    with pytest.raises(RuntimeError, match=r"\['0.y'\] never ran"), record(model):
        model(torch.ones(1, 2, 3))


def test_refuses_two_points_of_one_name():
    model = nn.ModuleList([nn.Sequential(StatePoint("y"), StatePoint("y"))])
    with pytest.raises(ValueError, match=r"both '0\.y'"), record(model):
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"states": ["q"]}, "no state 'q'"),
        ({"blocks": [2]}, r"no block \[2\]; the model has blocks \[-1, 0, 1\]"),
        ({"states": ["c"], "blocks": [-1], "scans": False}, r"blocks \[-1\] have no state \['c'\]"),
    ],
)
def test_rejects_what_the_model_lacks(vim, settings, message):
    with pytest.raises(ValueError, match=message), record(vim, **settings):
        pass


def test_rejects_a_model_without_states():
    with pytest.raises(ValueError, match="Linear has no state to record"), record(nn.Linear(2, 2)):
        pass


def test_refuses_a_compiled_model(vim):
    compiled = torch.compile(vim, backend="eager")
    with pytest.raises(RuntimeError, match="a compiled model skips its taps"), record(compiled):
        pass


def test_records_in_half_precision_too(make_vim, images):
    model = make_vim(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), record(model) as run:
        logits = model(images.float())
    gradients = run.gradients(logits.float()[:, 0])
    assert set(gradients) == set(run.states)
    assert len({key.state for key in gradients}) == len(STATES)
