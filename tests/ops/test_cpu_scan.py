"""The compiled scan against its reference: outputs, gradients and second derivatives, on every instruction set."""

import pytest
import torch
from torch.library import opcheck

from mamba_mender.ops import cpu, cpu_scan, kernels, selective_scan

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


@pytest.mark.parametrize("shape", [(2, 64, 65, 16), (1, 80, 40, 16)], ids=str)
def test_the_number_of_threads_changes_no_bit(ladder, kernel, shape):
    inputs, before, found = ladder.scan_inputs(*shape), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(ladder.derivatives(scan(kernel), inputs, torch.float32))
    finally:
        torch.set_num_threads(before)
    for name, tensor in found[0].items():
        assert all(torch.equal(tensor, other[name]) for other in found[1:]), name


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
