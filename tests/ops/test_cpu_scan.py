"""The compiled scan against its reference: outputs, gradients and second derivatives, on every instruction set."""

import pytest
import torch
from torch.library import opcheck

from mamba_mender.ops import cpu, cpu_scan, kernels, scan_memory, selective_scan

OPS = torch.ops.mamba_mender


def scan(backend, **settings):
    settings = {"delta_softplus": True} | settings
    return lambda **inputs: selective_scan(**inputs, **settings, return_last_state=True, backend=backend)


def op_inputs(ladder, optional=True, constant="", **shape):
    """The nine inputs of the custom ops, in order."""
    inputs = ladder.scan_inputs(groups=1, optional=optional, constant=constant, **shape)
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
    return [inputs[name].requires_grad_() if name in inputs else None for name in names]


def detached(tensors):
    return [None if tensor is None else tensor.detach() for tensor in tensors]


def test_an_instruction_set_was_built_and_runs():
    assert cpu.instruction_sets()[-1] == "baseline"
    assert cpu.instruction_set() == cpu.instruction_sets()[0]


def test_agrees_on_every_pair_of_settings(ladder, scan_case):
    case = dict(scan_case)
    settings = {name: case.pop(name) for name in ("delta_softplus", "reverse")}
    order = 2 if case["state"] <= 64 else 1
    inputs = ladder.scan_inputs(channels=case.pop("width") * max(case["groups"], 1), **case)
    if not settings["delta_softplus"]:  # a step is never negative
        inputs |= {name: inputs[name].abs() / 10 for name in ("delta", "delta_bias") if name in inputs}
    expected = ladder.derivatives(scan("reference", **settings), inputs, order=order)
    for isa in cpu.instruction_sets():
        with cpu.force_instruction_set(isa):
            found = ladder.derivatives(scan("cpu", **settings), inputs, order=order)
            ladder.assert_agree(found, expected, (1e-12, 1e-12, 1e-12))
            found = ladder.derivatives(scan("cpu", **settings), inputs, torch.float32, order=order)
            ladder.assert_agree(found, expected, (1e-5, 1e-4, 1e-3))  # a few numbers only: cancellation shows


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", [(2, 48, 65, 16), (1, 21, 197, 8), (3, 32, 40, 1)], ids=str)
def test_float32_errors_are_rounding_errors(ladder, kernel, shape, reverse):
    inputs = ladder.scan_inputs(*shape)
    expected = ladder.derivatives(scan("reference", reverse=reverse), inputs)
    found = ladder.derivatives(scan(kernel, reverse=reverse), inputs, torch.float32)
    ladder.assert_agree(found, expected, (1e-6, 1e-5, 1e-5))


def test_two_matrices_may_have_different_numbers_of_groups(ladder, kernel):
    inputs = ladder.scan_inputs(channels=12, groups=6) | {"C": torch.randn(2, 3, 4, 7, dtype=torch.float64)}
    expected = ladder.derivatives(scan("reference"), inputs)
    ladder.assert_agree(ladder.derivatives(scan(kernel), inputs), expected, ladder.exact)
    with pytest.raises(ValueError, match="B has 6 groups and C 4, but one must be a multiple of the other"):
        scan(kernel)(**inputs | {"C": torch.randn(2, 4, 4, 7)})


def test_second_order_runs_in_the_kernel(ladder, monkeypatch):
    ran, run = [], cpu_scan._run
    monkeypatch.setattr(cpu_scan, "_run", lambda which, *args: (ran.append(which), run(which, *args)))
    ladder.derivatives(scan("cpu"), ladder.scan_inputs())
    assert ran == ["forward", "backward", "second"]


@pytest.mark.parametrize("optional", [True, False], ids=["all", "required"])
@pytest.mark.parametrize("constant", ["", "BC"], ids=["selective", "constant"])
def test_gradcheck_to_second_order(ladder, optional, constant):
    inputs = ladder.scan_inputs(1, 2, 3, 2, optional=optional, constant=constant)
    tensors = tuple(tensor.requires_grad_() for tensor in inputs.values())

    def run(*tensors):
        return scan("cpu")(**dict(zip(inputs, tensors, strict=True)))

    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


@pytest.mark.parametrize("which", [0, 1], ids=["y", "last state"])
def test_gradients_through_one_output_alone(ladder, kernel, which):
    def one(backend):
        return lambda **inputs: scan(backend)(**inputs)[which]

    inputs = ladder.scan_inputs(channels=5, length=40)
    expected = ladder.derivatives(one("reference"), inputs)
    ladder.assert_agree(ladder.derivatives(one(kernel), inputs), expected, ladder.exact)


@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state"])
def test_gradients_of_one_input_alone(ladder, name):
    inputs = ladder.scan_inputs()

    def only(backend):
        return lambda **leaf: scan(backend)(**inputs | leaf)

    expected = ladder.derivatives(only("reference"), {name: inputs[name]})
    ladder.assert_agree(ladder.derivatives(only("cpu"), {name: inputs[name]}), expected, ladder.exact)


@pytest.mark.parametrize("layout", ["channel-first", "channel-last", "sliced", "expanded", "constant"])
def test_incoming_gradients_of_any_strides(ladder, kernel, layout):
    inputs = {name: tensor.requires_grad_() for name, tensor in ladder.scan_inputs(channels=17, length=40).items()}
    grad = torch.randn(1, 1, 1, dtype=torch.float64).expand(2, 17, 40)
    if layout != "constant":
        grad = ladder.lay(torch.randn(2, 17, 40, dtype=torch.float64), layout)
    found, expected = (
        torch.autograd.grad(scan(name)(**inputs)[0], list(inputs.values()), grad) for name in (kernel, "reference")
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


WIDE = [(1, 48, 40, 5), (1, 272, 40, 16), (2, 600, 33, 4)]  # several shares of the channels, and blocks of tiles


@pytest.mark.parametrize("shape", WIDE, ids=str)
def test_shares_of_the_channels_make_a_whole(ladder, kernel, shape):
    inputs = ladder.scan_inputs(*shape)
    assert scan_memory.sizes_of(list(inputs.values())).slots > 1
    expected = ladder.derivatives(scan("reference"), inputs)
    ladder.assert_agree(ladder.derivatives(scan(kernel), inputs), expected, ladder.exact)


@pytest.mark.parametrize("name", ["B", "C"])
@pytest.mark.parametrize("value", [torch.inf, torch.nan], ids=str)
def test_lanes_without_a_channel_add_nothing_to_a_sum(ladder, kernel, name, value):
    """Three channels fill a part of a vector only; what infinity makes of its other lanes is nobody's."""
    inputs = ladder.scan_inputs(channels=3, length=9)
    inputs[name][0, 0, 2, 4] = value
    found, expected = (
        torch.autograd.grad(scan(backend)(**leaves)[0].sum(), list(leaves.values()))
        for backend in (kernel, "reference")
        for leaves in [{n: t.detach().clone().requires_grad_() for n, t in inputs.items()}]
    )
    for mine, right in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.isnan(), right.isnan())
        torch.testing.assert_close(mine, right, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_exponential_that_overflows_is_infinite(kernel, dtype):
    one = torch.ones(1, 1, 2, dtype=dtype)
    settings = {"initial_state": one[..., :1], "return_last_state": True}
    for backend in (kernel, "reference"):
        y, last = selective_scan(one, one * 800, one[0, :, :1], one, one, backend=backend, **settings)
        assert (y == torch.inf).all()
        assert (last == torch.inf).all()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # torch's own, once
def test_forward_mode_is_refused_rather_than_dropped(ladder):
    inputs = ladder.scan_inputs()
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="no forward-mode derivative"):
        scan("cpu")(**inputs | {"u": torch.autograd.forward_ad.make_dual(inputs["u"], inputs["u"])})


@pytest.mark.parametrize("shape", [(2, 64, 65, 16), (1, 80, 40, 16), *WIDE], ids=str)
def test_the_number_of_threads_changes_no_bit(ladder, kernel, shape):
    inputs = ladder.scan_inputs(*shape)
    found = ladder.by_threads(lambda: ladder.derivatives(scan(kernel), inputs, torch.float32))
    for name, tensor in found[0].items():
        assert all(torch.equal(tensor, other[name]) for other in found[1:]), name


@pytest.fixture
def many_cores(monkeypatch):
    """Let a machine of many cores cut short sequences into segments, and count how many there are."""
    monkeypatch.setattr(scan_memory.os, "cpu_count", lambda: 16)
    monkeypatch.setattr(scan_memory, "SEGMENT", 40)
    return lambda inputs: scan_memory.sizes_of(list(inputs.values())).segments


@pytest.mark.parametrize("constant", ["", "B", "BC"], ids=["selective", "constant B", "constant"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_segments_make_a_whole(ladder, kernel, many_cores, constant, reverse):
    inputs = ladder.scan_inputs(1, 19, 333, 5, constant=constant)
    assert many_cores(inputs) == 8
    expected = ladder.derivatives(scan("reference", reverse=reverse), inputs)
    ladder.assert_agree(ladder.derivatives(scan(kernel, reverse=reverse), inputs), expected, ladder.exact)
    found = ladder.derivatives(scan(kernel, reverse=reverse), inputs, torch.float32)
    ladder.assert_agree(found, expected, (1e-5, 1e-4, 1e-3))


def test_segments_only_where_cores_would_idle(ladder, many_cores):
    assert many_cores(ladder.scan_inputs(4, 33, 333)) == 1
    assert many_cores(ladder.scan_inputs(1, 16, 79)) == 1


def test_the_number_of_threads_changes_no_bit_of_segments(ladder, kernel, many_cores):
    inputs = ladder.scan_inputs(2, 16, 333, 8)
    assert many_cores(inputs) == 8
    found = ladder.by_threads(lambda: ladder.derivatives(scan(kernel), inputs, torch.float32), (1, 3))
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


HALVES = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # with the largest relative rounding error


def in_half(ladder, inputs, dtype, leave=()):
    """Bring sequences to half precision, and the rest to float32; every number is then what float64 holds too."""
    sequences = {name for name in ("u", "delta", "B", "C", "z") if inputs.get(name) is not None} - set(leave)
    rest = {name: tensor.float() for name, tensor in inputs.items()}
    return rest | {name: ladder.in_dtype(inputs[name], dtype) for name in sequences if inputs[name].dim() > 2}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channel-last", "channel-first", "sliced"])
@pytest.mark.parametrize("leave", [(), ("delta",), ("u", "C")], ids=["all", "delta exact", "u and C exact"])
def test_half_precision_rounds_only_results(ladder, kernel, dtype, layout, leave):
    inputs = in_half(ladder, ladder.scan_inputs(channels=37, length=45, layout=layout), dtype, leave)
    leaves = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in inputs.items()}
    found, expected = scan(kernel)(**leaves), scan("reference")(**exact)
    assert (found[0].dtype, found[1].dtype) == (inputs["u"].dtype, torch.float32)
    weight = torch.randn(found[0].shape).to(dtype)
    for outputs, by in ((found, leaves), (expected, exact)):
        loss = (outputs[0] * weight.to(outputs[0].dtype)).sum() + outputs[1].sin().sum()
        by["gradients"] = torch.autograd.grad(loss, list(by.values()))
    pairs = [*zip(found, expected, strict=True), *zip(leaves["gradients"], exact["gradients"], strict=True)]
    for mine, right in pairs:
        bound = HALVES.get(mine.dtype, 1e-5)
        assert mine.shape == right.shape
        # an element is off by its own rounding, and by float32's against the largest
        assert ((mine.double() - right).abs() <= bound * right.abs() + 1e-5 * right.abs().max()).all()


def test_half_precision_is_read_without_a_copy(ladder, monkeypatch):
    seen, run = {}, cpu_scan._run
    monkeypatch.setattr(cpu_scan, "_run", lambda *args: (seen.update(args[-1]), run(*args)))
    inputs = in_half(ladder, ladder.scan_inputs(layout="channel-last"), torch.bfloat16)
    scan("cpu")(**inputs)
    for name in ("u", "delta", "B", "C", "z"):
        assert seen[name][0] == inputs[name].data_ptr(), name


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_special_halves_survive(kernel, dtype):
    """Infinities, NaN, zeros of both signs and numbers below the smallest normal one go in and out unchanged."""
    tiny, largest = torch.finfo(dtype).smallest_normal, torch.finfo(dtype).max
    row = torch.tensor([0.0, -0.0, tiny / 2, -tiny / 4, largest, -largest, torch.inf, -torch.inf, torch.nan, 1.0])
    u = row.to(dtype).repeat(2)[None, :, None]  # 20 channels: a whole tile, and a part of one
    zero = torch.zeros(1, 1, 1, dtype=dtype)
    y = selective_scan(u, torch.zeros_like(u), -torch.ones(20, 1), zero, zero, torch.ones(20), backend=kernel)
    kept = torch.tensor([i % 10 not in (6, 7, 8) for i in range(20)])  # infinity times a step of 0 is NaN
    assert torch.equal(y[0, kept, 0], u[0, kept, 0])
    assert y[0, ~kept, 0].isnan().all()


def test_second_order_of_halves_is_that_of_float32(ladder):
    inputs = in_half(ladder, ladder.scan_inputs(channels=5, length=40), torch.bfloat16)
    found = []
    for cast in (lambda t: t, lambda t: t.float()):
        leaves = [cast(t).requires_grad_() for t in inputs.values()]
        _, last = scan("cpu")(**dict(zip(inputs, leaves, strict=True)))
        first = torch.autograd.grad(last.sum(), leaves[0], create_graph=True)[0]
        found.append(torch.autograd.grad(first.sum(), leaves[1])[0])
    assert found[0].dtype == torch.bfloat16
    torch.testing.assert_close(found[0], found[1].bfloat16())


EXTREMES = {
    "large delta": {"delta": 50.0},
    "tiny steps": {"delta": 1e-3, "delta_bias": -40.0},
    "huge steps": {"delta_bias": 30.0},
    "large gate": {"z": 100.0},
    "fast decay": {"A": 1e4},
    "all": {"delta": 50.0, "z": 100.0, "A": 100.0},
}


@pytest.mark.parametrize("factors", EXTREMES.values(), ids=EXTREMES.keys())
def test_extremes_stay_finite_and_right(ladder, kernel, factors):
    inputs = ladder.scan_inputs(channels=17, length=40)
    inputs |= {name: inputs[name] * factor for name, factor in factors.items()}
    if "delta_bias" in factors:
        inputs["delta_bias"] = torch.full((17,), factors["delta_bias"], dtype=torch.float64)
    expected = ladder.derivatives(scan("reference"), inputs)
    ladder.assert_agree(ladder.derivatives(scan(kernel), inputs), expected, (1e-11, 1e-11, 1e-11))
    found = ladder.derivatives(scan(kernel), inputs, torch.float32, order=1)
    ladder.assert_agree(found, {name: expected[name] for name in found}, (1e-5, 1e-4))
    assert all(tensor.isfinite().all() for tensor in ladder.derivatives(scan(kernel), inputs, torch.float32).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state"])
def test_nan_comes_out_where_it_comes_out_of_the_reference(ladder, kernel, name, dtype):
    inputs = ladder.scan_inputs(channels=17, length=40)
    inputs[name].view(-1)[inputs[name].numel() // 2] = torch.nan
    expected = ladder.derivatives(scan("reference"), inputs, dtype, order=1)
    found = ladder.derivatives(scan(kernel), inputs, dtype, order=1)
    assert found["output 0"].isnan().any()
    for key in ("output 0", "output 1", "d u", "d delta"):
        assert torch.equal(found[key].isnan(), expected[key].isnan()), key


@pytest.mark.parametrize("optional", [True, False], ids=["all", "required"])
@pytest.mark.parametrize("constant", ["", "C"], ids=["selective", "constant"])
def test_opcheck(ladder, optional, constant):
    inputs = op_inputs(ladder, optional, constant, channels=33, length=35)
    grad_y = torch.randn(2, 33, 35, dtype=torch.float64, requires_grad=True)
    grad_last = torch.randn(2, 33, 4, dtype=torch.float64, requires_grad=True) if optional else None
    saved = OPS.scan_forward(*detached(inputs), True, [0], 1, True)[2]
    opcheck(OPS.scan_forward.default, (*inputs, True, [1], 1, optional))
    opcheck(OPS.scan_backward.default, (grad_y, grad_last, saved, *inputs, True, [0], 1))
    tangents = [torch.randn_like(t) if t is not None and (optional or i % 2) else None for i, t in enumerate(inputs)]
    opcheck(OPS.scan_second.default, (*tangents, *detached([grad_y, grad_last, *inputs]), True, [0], 1))


def scan_amid_other_ops(**inputs):
    y, last = scan(None)(**inputs | {"u": inputs["u"].sin()})
    return y.mT * 2, last + 1


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize(
    ("compiler", "op"),
    [("aot_eager", scan_amid_other_ops), ("inductor", scan(None))],  # alone: no C++ for inductor to compile
    ids=["aot_eager", "inductor"],
)
def test_compiles_whole_with_its_backward(ladder, compiler, op):
    torch.compiler.reset()
    inputs = ladder.scan_inputs(channels=5, length=35, layout="channel-last")
    whole = torch.compile(op, fullgraph=True, backend=compiler)
    found, expected = (ladder.derivatives(run, inputs, order=1) for run in (whole, op))
    ladder.assert_agree(found, expected, ladder.exact)


def test_double_backward_through_a_compiled_scan_is_refused(ladder):
    torch.compiler.reset()
    inputs = {name: tensor.requires_grad_() for name, tensor in ladder.scan_inputs().items()}
    y, _ = torch.compile(scan("cpu"), backend="aot_eager")(**inputs)
    (gradient,) = torch.autograd.grad(y.sum(), inputs["u"], create_graph=True)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        gradient.sum().backward()


def test_third_order_names_the_backend_that_has_it(ladder):
    inputs = ladder.scan_inputs()
    with pytest.raises(NotImplementedError, match="up to second order; pass backend='reference' for more"):
        ladder.derivatives(scan("cpu"), inputs, order=3)
    assert ladder.derivatives(scan("reference"), inputs, order=3)["ddd u"].isfinite().all()


def with_another_groups_gradient(run):
    def wrong(u, delta, A, B, *rest):
        if B.requires_grad:
            B = B.view_as(B)
            B.register_hook(lambda gradient: gradient.roll(1, dims=1))
        return run(u, delta, A, B, *rest)

    return wrong


class Forgetful(torch.autograd.Function):
    """Hand a gradient on, but hide that it depends on anything."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, *grads):
        return grads[0].detach()


WRONG = {
    "A is off by a thousandth": lambda run: lambda u, delta, A, *rest: run(u, delta, A * 1.001, *rest),
    "the last chunk is missing": lambda run: lambda *args: zero_last_chunk(*run(*args)),
    "the initial state is ignored": lambda run: lambda *args: run(*args[:8], args[8] * 0, *args[9:]),
    "dB is another group's": with_another_groups_gradient,
    "the second order is missing": lambda run: lambda u, *rest: run(Forgetful.apply(u), *rest),
    "some output is not written": lambda run: lambda *args: leave_unwritten(*run(*args)),
}


def zero_last_chunk(y, last):
    return torch.cat([y[..., :32], y[..., 32:] * 0], dim=-1), last


def leave_unwritten(y, last):
    return torch.cat([y[..., :-1], y.new_empty(*y.shape[:-1], 1)], dim=-1), last


@pytest.mark.parametrize("break_it", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_kernel_is_found(ladder, monkeypatch, break_it):
    inputs = ladder.scan_inputs(channels=6, length=40, groups=3)
    expected = ladder.derivatives(scan("reference"), inputs)
    ladder.assert_agree(ladder.derivatives(scan("cpu"), inputs), expected, ladder.exact)
    monkeypatch.setitem(kernels.SCAN, "cpu", break_it(kernels.SCAN["cpu"]))
    for dtype, bounds in ((torch.float64, ladder.exact), (torch.float32, ladder.single)):
        found = ladder.derivatives(scan("cpu"), inputs, dtype)
        with pytest.raises(AssertionError, match="relative error"):
            ladder.assert_agree(found, expected, bounds)
