"""One step of the scan: T of them are the scan, on every backend, instruction set, dtype and layout."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.library import opcheck
from torch.testing import assert_close

from mamba_mender.ops import kernels, selective_scan, selective_state_update

BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
HALVES = [torch.bfloat16, torch.float16]


def draw(batch=2, dim=5, state=4, groups=0, heads=0, *, optional=True, dtype=torch.float32, seed=0):
    """Draw the arguments of a step; groups=0 and heads=0 leave those axes out."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape, to=dtype):
        return torch.randn(shape, generator=random).to(to)

    channels = (heads, dim) if heads else (dim,)
    matrix = (batch, groups, state) if groups else (batch, state)
    wide = torch.promote_types(dtype, torch.float32)
    step = {
        "state": normal(batch, *channels, state, to=wide),
        "x": normal(batch, *channels),
        "dt": normal(batch, *channels),
        "A": -normal(*channels, state, to=wide).abs(),
        "B": normal(*matrix),
        "C": normal(*matrix),
    }
    if optional:
        step |= {"D": normal(*channels), "z": normal(batch, *channels), "dt_bias": normal(*channels)}
    return step


def ran(step, backend, **settings):
    """Run a step on copies with the same strides; return the output and the new state."""
    state = step["state"].clone(memory_format=torch.preserve_format)
    return selective_state_update(**step | {"state": state}, **settings, backend=backend), state


def relative(found, expected):
    return ((found.double() - expected.double()).norm() / (expected.double().norm() + 1e-30)).item()


def steps_of(inputs, t):
    """Take what a scan sees at position t."""
    named = {"x": "u", "dt": "delta", "z": "z", "B": "B", "C": "C"}
    found = {name: inputs[other][..., t] for name, other in named.items() if other in inputs}
    found |= {name: inputs[name] for name in ("A", "D") if name in inputs}
    return found | ({"dt_bias": inputs["delta_bias"]} if "delta_bias" in inputs else {})


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("size", [1, 2, 5, 16, 17, 64])
def test_steps_are_the_scan(ladder, kernel, size, dtype):
    for channels, groups, optional in [(1, 0, True), (7, 1, False), (33, 3, True), (64, 0, True)]:
        inputs = ladder.scan_inputs(2, channels, 9, size, groups, optional=optional)
        inputs = {name: tensor.to(dtype) for name, tensor in inputs.items()}
        wide = torch.promote_types(dtype, torch.float32)
        inputs |= {name: inputs[name].to(wide) for name in ("A", "initial_state") if name in inputs}
        double = {name: tensor.double() for name, tensor in inputs.items()}
        expected, last = selective_scan(**double, delta_softplus=True, return_last_state=True, backend="reference")
        state = inputs["initial_state"].clone() if optional else torch.zeros(2, channels, size, dtype=wide)
        outputs = [
            selective_state_update(state, **steps_of(inputs, t), dt_softplus=True, backend=kernel) for t in range(9)
        ]
        assert {out.dtype for out in outputs} == {dtype}
        assert relative(torch.stack(outputs, -1), expected) < BOUNDS[dtype]
        assert relative(state, last) < BOUNDS[wide]


@pytest.mark.parametrize("case", ["plain", "groups", "heads", "heads and groups"])
@pytest.mark.parametrize("softplus", [True, False], ids=["softplus", "plain step"])
def test_agrees_with_the_reference(kernel, case, softplus):
    axes = {"groups": {"dim": 6, "groups": 3}, "heads": {"heads": 4}, "heads and groups": {"heads": 4, "groups": 2}}
    for optional in (True, False):
        step = draw(**axes.get(case, {}), optional=optional, dtype=torch.float64)
        found, expected = (ran(step, name, dt_softplus=softplus) for name in (kernel, "reference"))
        assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_heads_are_channels_laid_side_by_side(backend):
    step = draw(heads=3, dim=4, dtype=torch.float64)
    flat = {
        name: t if name in "BC" else t.flatten(0, 1) if name in ("A", "D", "dt_bias") else t.flatten(1, 2)
        for name, t in step.items()
    }
    (y, state), (flat_y, flat_state) = ran(step, backend), ran(flat, backend)
    assert_close((y.flatten(1, 2), state.flatten(1, 2)), (flat_y, flat_state), rtol=1e-12, atol=1e-12)


def test_a_head_may_share_its_numbers_among_channels_without_a_copy(kernel):
    step = draw(heads=3, dim=4, dtype=torch.float64)
    step["A"] = step["A"][:, :1, :1].expand(3, 4, 4)
    step["dt_bias"] = step["dt_bias"][:, :1].expand(3, 4)
    assert_close(ran(step, kernel), ran(step, "reference"), rtol=1e-12, atol=1e-12)


def test_a_step_made_by_hand(backend):
    state = torch.tensor([[[1.0, 2.0]]], dtype=torch.float64)
    A, B, C = -torch.tensor([[1.0, 2.0]]).log().double(), torch.tensor([[3.0, 5.0]]), torch.tensor([[1.0, 10.0]])
    one = torch.ones(1, 1, dtype=torch.float64)
    y = selective_state_update(state, 7 * one, one, A, B, C, D=torch.tensor([100.0]), backend=backend)
    assert_close(state, torch.tensor([[[22.0, 36.0]]], dtype=torch.float64))  # 1 * 1 + 3 * 7 and 2 / 2 + 5 * 7
    assert_close(y, (22 + 360 + 700) * one)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_the_dtypes_of_the_state_and_of_the_inputs_are_their_own(kernel, dtype):
    for other in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        step = draw(dim=37, state=17, dtype=other)
        step |= {"state": step["state"].to(dtype), "A": step["A"].to(dtype)}
        (y, state), (right, right_state) = (ran(step, name, dt_softplus=True) for name in (kernel, "reference"))
        assert (y.dtype, state.dtype) == (other, dtype)
        assert relative(y, right) < BOUNDS[other]
        assert relative(state, right_state) < BOUNDS[dtype]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_halves_are_rounded_to_the_nearest_as_torch_does(kernel, dtype):
    x = torch.cat(
        [torch.randn(900), torch.randn(100) * 1e-6, torch.logspace(-45, 38, 500), -torch.logspace(-9, 6, 500)]
    )
    x = torch.cat([x, torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 65519.9, 65520.0, 2049.0, 2051.0])])
    step = {"dt": torch.zeros(1, len(x)), "A": torch.zeros(len(x), 1), "B": torch.zeros(1, 1), "C": torch.ones(1, 1)}
    state = torch.zeros(1, len(x), 1, dtype=dtype)
    state[0, :, 0] = x
    y = selective_state_update(state, torch.zeros(1, len(x)), **step, backend=kernel)
    assert_close(y[0], x.to(dtype).float(), rtol=0, atol=0, equal_nan=True)  # read exactly, zero is written back
    out = selective_state_update(x[None, :, None].clone(), torch.zeros(1, len(x), dtype=dtype), **step, backend=kernel)
    assert_close(out[0], x.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias"])
def test_takes_views_of_any_strides(kernel, name):
    step = draw(3, 18, 16, dtype=torch.float64)
    dense = ran(step, "reference", dt_softplus=True)
    wide = torch.full([2 * size for size in step[name].shape], torch.nan, dtype=torch.float64)
    view = wide[tuple(slice(None, None, 2) for _ in step[name].shape)].copy_(step[name])
    step[name] = view
    y = selective_state_update(**step, dt_softplus=True, backend=kernel)
    assert_close((y, step["state"]), dense, rtol=1e-12, atol=1e-12)
    assert wide.isnan().sum() == wide.numel() - view.numel()  # what lies between is left alone


def test_the_state_may_lie_the_other_way_round(kernel):
    step = draw(2, 18, 16, dtype=torch.float64)
    dense = ran(step, "reference")
    step["state"] = step["state"].mT.contiguous().mT
    assert_close(ran(step, kernel), dense, rtol=1e-12, atol=1e-12)


def test_only_the_state_is_changed_and_autograd_is_told(backend):
    step = draw()
    before, version = {name: tensor.clone() for name, tensor in step.items()}, step["state"]._version
    selective_state_update(**step, backend=backend)
    assert step["state"]._version > version
    assert not torch.equal(step["state"], before.pop("state"))
    assert all(torch.equal(step[name], tensor) for name, tensor in before.items())


def test_works_in_inference_mode(backend):
    with torch.inference_mode():
        step = draw()
        assert selective_state_update(**step, backend=backend).isfinite().all()


@given(batch=st.integers(1, 4), dim=st.integers(1, 70), state=st.integers(1, 40))
def test_rows_and_channels_are_independent(backend, batch, dim, state):
    step = draw(batch, dim, state)
    whole, after = ran(step, backend)
    rows, channels = slice(batch // 2, batch), slice(dim // 2, dim)
    cut = {"A": (channels,), "D": (channels,), "dt_bias": (channels,), "B": (rows,), "C": (rows,)}
    part = {name: tensor[cut.get(name, (rows, channels))] for name, tensor in step.items()}
    assert_close(ran(part, backend), (whole[rows, channels], after[rows, channels]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["state", "x", "dt", "B", "C", "z", "D"])
@pytest.mark.parametrize("size", [5, 16])
def test_nan_and_infinity_come_out_where_they_come_out_of_the_reference(kernel, name, value, size):
    step = draw(2, 37, size)
    step[name].view(-1)[step[name].numel() // 2] = value
    found, expected = ran(step, kernel, dt_softplus=True), ran(step, "reference", dt_softplus=True)
    assert not expected[0].isfinite().all()
    for mine, right in zip(found, expected, strict=True):
        assert torch.equal(mine.isnan(), right.isnan())
        assert torch.equal(mine.isinf(), right.isinf())


def test_the_number_of_threads_changes_no_bit(ladder, kernel):
    step = draw(3, 1000, 16)
    found = ladder.by_threads(lambda: ran(step, kernel))
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_an_empty_batch_has_an_empty_result(backend):
    y, _ = ran(draw(batch=0), backend)
    assert y.shape == (0, 5)


def wrong(change):
    """Make a kernel that is right but for what it is given."""
    right = kernels.STATE_UPDATE["cpu"]
    return lambda state, *rest: right(state, *change(*rest))


WRONG = {
    "A is off by a thousandth": lambda x, dt, A, *rest: (x, dt, A * 1.001, *rest),
    "the last state is forgotten": lambda x, dt, A, B, C, *rest: (x, dt, A, B, C * (torch.arange(16) < 15), *rest),
    "B comes from another row": lambda x, dt, A, B, *rest: (x, dt, A, B.flip(0), *rest),
    "the gate is left out": lambda x, dt, A, B, C, D, z, *rest: (x, dt, A, B, C, D, None, *rest),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_caught(ladder, monkeypatch, name):
    monkeypatch.setitem(kernels.STATE_UPDATE, "cpu", wrong(WRONG[name]))
    with pytest.raises(AssertionError):
        test_steps_are_the_scan(ladder, "cpu", 16, torch.float32)


@pytest.mark.parametrize("case", ["plain", "heads", "bare"])
def test_opcheck(case):
    step = draw(heads=2 if case == "heads" else 0, optional=case != "bare")
    arguments = [step.get(name) for name in ("state", "x", "dt", "A", "B", "C", "D", "z", "dt_bias")]
    opcheck(torch.ops.mamba_mender.state_update.default, (*arguments, True))


def test_compiles_whole():
    def surrounded(state, x, **rest):
        return selective_state_update(state, x.sin(), **rest, dt_softplus=True) * 2

    torch.compiler.reset()
    step = draw()
    mine, theirs = (step | {"state": step["state"].clone()} for _ in range(2))
    whole = torch.compile(surrounded, fullgraph=True, backend="aot_eager")
    assert_close(whole(**mine), surrounded(**theirs))
    assert_close(mine["state"], theirs["state"])
    assert not torch.equal(mine["state"], step["state"])


BAD = {
    "axes of the state": (lambda s: {"state": s["state"][0]}, r"state must be \(batch, dim, state\) or .* \(5, 4\)"),
    "x": (lambda s: {"x": s["x"][:, :3]}, r"x has dim=3 in shape \(2, 3\), but an earlier argument has dim=5"),
    "dt": (lambda s: {"dt": s["dt"][:1]}, r"dt has batch=1"),
    "A": (lambda s: {"A": s["A"][:, :2]}, r"A has state=2"),
    "B": (lambda s: {"B": s["B"][:, :2]}, r"B has state=2"),
    "axes of C": (lambda s: {"C": s["C"][:, None]}, r"C must be \(batch, state\), got shape \(2, 1, 4\)"),
    "groups": (lambda s: {n: s[n][:, None].expand(2, 2, 4) for n in "BC"}, r"B has 2 groups, .* divide the 5 dim"),
    "D": (lambda s: {"D": s["D"][:2]}, r"D has dim=2"),
    "z": (lambda s: {"z": s["z"][..., None]}, r"z must be \(batch, dim\)"),
    "dt_bias": (lambda s: {"dt_bias": s["dt_bias"][:2]}, r"dt_bias has dim=2"),
    "shared state": (lambda s: {"state": s["state"][:1].expand(2, 5, 4)}, r"several of its elements share memory"),
    "quarters": (
        lambda s: {"x": s["x"].to(torch.float8_e5m2)},
        r"tensors must be float32, float64, bfloat16 or float16, got \['torch.float8_e5m2'\]; cast them",
    ),
    "whole numbers": (lambda s: {"x": s["x"].long()}, r"must be real floating point, got .*torch.int64"),
    "backend": (lambda s: {"backend": "abacus"}, r"backend must be one of .*, got 'abacus'"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD.keys())
def test_refuses_what_does_not_fit_also_after_what_did(backend, spoil, message):
    step = draw()
    selective_state_update(**step, backend=backend)
    before = step["state"].clone()
    with pytest.raises(ValueError, match="selective_state_update: .*" + message):
        selective_state_update(**{"backend": backend} | step | spoil(step))
    assert torch.equal(step["state"], before)


def test_has_no_gradient_and_says_so(backend):
    step = draw()
    step["x"].requires_grad_()
    with pytest.raises(RuntimeError, match=r"selective_state_update: has no gradient, .* torch.no_grad\(\)"):
        selective_state_update(**step, backend=backend)
    with torch.no_grad():
        assert not selective_state_update(**step, backend=backend).requires_grad


def test_is_called_without_the_dispatcher_unless_someone_listens():
    class Listener(torch.utils._python_dispatch.TorchDispatchMode):
        heard = ()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.heard = (*self.heard, str(func))
            return func(*args, **(kwargs or {}))

    with Listener() as listener:
        selective_state_update(**draw(), backend="cpu")
    assert "mamba_mender.state_update.default" in listener.heard
