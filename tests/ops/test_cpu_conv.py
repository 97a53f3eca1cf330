"""The compiled convolution against its reference: outputs, gradients and second derivatives."""

import pytest
import torch
from torch.library import opcheck

from mamba_mender.ops import causal_conv1d, cpu, cpu_conv, kernels

OPS = torch.ops.mamba_mender


def conv(backend, activation="silu", **settings):
    return lambda **inputs: causal_conv1d(**inputs, activation=activation, **settings, backend=backend)


def test_agrees_on_every_pair_of_settings(ladder, conv_case):
    case = dict(conv_case)
    settings = {name: case.pop(name) for name in ("activation", "symmetric", "reverse")}
    inputs = ladder.conv_inputs(**case)
    expected = ladder.derivatives(conv("reference", **settings), inputs)
    for isa in cpu.instruction_sets():
        with cpu.force_instruction_set(isa):
            found = ladder.derivatives(conv("cpu", **settings), inputs)
            ladder.assert_agree(found, expected, (1e-12, 1e-12, 1e-12))
            found = ladder.derivatives(conv("cpu", **settings), inputs, torch.float32)
            ladder.assert_agree(found, expected, (1e-6, 1e-5, 1e-5))


def test_second_order_runs_in_the_kernel(ladder, monkeypatch):
    ran, run = [], cpu_conv._run
    monkeypatch.setattr(cpu_conv, "_run", lambda which, *args: (ran.append(which), run(which, *args)))
    ladder.derivatives(conv("cpu"), ladder.conv_inputs())
    assert ran == ["forward", "backward", "second"]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("activation", ["silu", None], ids=str)
def test_gradcheck_to_second_order(ladder, bias, activation):
    inputs = ladder.conv_inputs(1, 2, 5, 3, bias=bias)
    tensors = tuple(tensor.requires_grad_() for tensor in inputs.values())

    def run(*tensors):
        return conv("cpu", activation)(**dict(zip(inputs, tensors, strict=True)))

    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_gradients_of_one_input_alone(ladder, name):
    inputs = ladder.conv_inputs()

    def only(backend):
        return lambda **leaf: conv(backend)(**inputs | leaf)

    expected = ladder.derivatives(only("reference"), {name: inputs[name]})
    ladder.assert_agree(ladder.derivatives(only("cpu"), {name: inputs[name]}), expected, ladder.exact)


@pytest.mark.parametrize("layout", ["channel-first", "channel-last", "sliced", "expanded", "constant"])
def test_incoming_gradients_of_any_strides(ladder, kernel, layout):
    inputs = {name: tensor.requires_grad_() for name, tensor in ladder.conv_inputs(channels=17, length=40).items()}
    grad = torch.randn(1, 1, 1, dtype=torch.float64).expand(2, 17, 40)
    if layout != "constant":
        grad = ladder.lay(torch.randn(2, 17, 40, dtype=torch.float64), layout)
    found, expected = (
        torch.autograd.grad(conv(name)(**inputs), list(inputs.values()), grad) for name in (kernel, "reference")
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_number_of_threads_changes_no_bit(ladder, kernel):
    inputs = ladder.conv_inputs(3, 64, 197)
    found = ladder.by_threads(lambda: ladder.derivatives(conv(kernel), inputs, torch.float32))
    for name, tensor in found[0].items():
        assert all(torch.equal(tensor, other[name]) for other in found[1:]), name


def test_extremes_stay_finite_and_right(ladder, kernel):
    inputs = ladder.conv_inputs(channels=17, length=40)
    inputs["x"] = inputs["x"] * 100
    expected = ladder.derivatives(conv("reference"), inputs, order=1)
    found = ladder.derivatives(conv(kernel), inputs, torch.float32, order=1)
    ladder.assert_agree(found, expected, (1e-5, 1e-4))
    assert all(tensor.isfinite().all() for tensor in ladder.derivatives(conv(kernel), inputs, torch.float32).values())


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_nan_comes_out_where_it_comes_out_of_the_reference(ladder, kernel, name):
    inputs = ladder.conv_inputs(channels=17, length=40)
    inputs[name].view(-1)[inputs[name].numel() // 2] = torch.nan
    expected = ladder.derivatives(conv("reference"), inputs, torch.float32, order=1)
    found = ladder.derivatives(conv(kernel), inputs, torch.float32, order=1)
    assert found["output 0"].isnan().any()
    for key in ("output 0", "d x"):
        assert torch.equal(found[key].isnan(), expected[key].isnan()), key


HALVES = {torch.bfloat16: 4e-3, torch.float16: 5e-4}  # relative rounding error


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("layout", ["channel-first", "channel-last", "sliced", "expanded"])
def test_half_precision_is_rounded_once_on_its_way_out(ladder, kernel, dtype, layout):
    for channels, length, width, settings in [(37, 70, 4, {}), (16, 33, 3, {"reverse": True}), (1, 5, 7, {})]:
        inputs = {name: t.float() for name, t in ladder.conv_inputs(2, channels, length, width).items()}
        halved = inputs | {"x": ladder.lay(inputs["x"].to(dtype), layout)}
        wide = inputs | {"x": halved["x"].float()}
        found, expected = (conv(kernel, **settings)(**tensors) for tensors in (halved, wide))
        assert found.dtype == dtype
        assert found.stride() == expected.stride()
        assert torch.equal(found, expected.to(dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_derivatives_in_half_precision(ladder, kernel, dtype):
    inputs = {name: t.float() for name, t in ladder.conv_inputs(2, 37, 70).items()}
    inputs["x"] = inputs["x"].to(dtype)
    exact, halved = {}, {}
    for tensors, of in ((exact, {name: t.double() for name, t in inputs.items()}), (halved, inputs)):
        leaves = {name: t.clone().requires_grad_() for name, t in of.items()}
        y = conv(kernel)(**leaves)
        weight = torch.cos(torch.arange(y.numel())).view(y.shape).to(dtype).to(y.dtype)
        first = torch.autograd.grad(y, list(leaves.values()), weight, create_graph=True)
        scalar = sum(gradient.double().square().sum() for gradient in first)
        second = torch.autograd.grad(scalar, list(leaves.values()))
        for order, gradients in (("d", first), ("dd", second)):
            tensors |= {f"{order} {name}": t.detach() for name, t in zip(leaves, gradients, strict=True)}
    assert all(tensor.dtype == inputs[name.split()[1]].dtype for name, tensor in halved.items())
    ladder.assert_agree(halved, exact, (0, HALVES[dtype], 3 * HALVES[dtype]))
    assert (halved["d weight"] - exact["d weight"]).norm() < 1e-5 * exact["d weight"].norm()


def test_opcheck_in_half_precision(ladder):
    inputs = {name: t.float().requires_grad_() for name, t in ladder.conv_inputs(channels=17, length=35).items()}
    x, grad = (torch.randn(2, 17, 35, dtype=torch.bfloat16, requires_grad=True) for _ in range(2))
    opcheck(OPS.conv_forward.default, (x, inputs["weight"], inputs["bias"], True, 3, False))
    opcheck(OPS.conv_backward.default, (grad, x, inputs["weight"], inputs["bias"], True, 3, False))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_opcheck(ladder, bias):
    inputs = [tensor.requires_grad_() for tensor in ladder.conv_inputs(channels=17, length=35, bias=bias).values()]
    inputs += [] if bias else [None]
    grad = torch.randn(2, 17, 35, dtype=torch.float64, requires_grad=True)
    opcheck(OPS.conv_forward.default, (*inputs, True, 3, False))
    opcheck(OPS.conv_backward.default, (grad, *inputs, True, 3, False))
    fixed = [None if tensor is None else tensor.detach() for tensor in (grad, *inputs)]
    tangents = [None if tensor is None else torch.randn_like(tensor) for tensor in fixed[1:]]
    opcheck(OPS.conv_second.default, (*tangents, *fixed, True, 3, True))
    opcheck(OPS.conv_second.default, (tangents[0], None, None, *fixed, False, 1, True))


def test_compiles_whole_with_its_backward(ladder):
    def surrounded(x, weight, bias):
        return conv(None)(x=x.sin(), weight=weight, bias=bias).mT * 2

    torch.compiler.reset()
    inputs = ladder.conv_inputs(layout="channel-last")
    whole = torch.compile(surrounded, fullgraph=True, backend="aot_eager")
    found, expected = (ladder.derivatives(op, inputs, order=1) for op in (whole, surrounded))
    ladder.assert_agree(found, expected, ladder.exact)


def test_double_backward_through_a_compiled_convolution_is_refused(ladder):
    torch.compiler.reset()
    inputs = {name: tensor.requires_grad_() for name, tensor in ladder.conv_inputs().items()}
    y = torch.compile(conv("cpu"), backend="aot_eager")(**inputs)
    (gradient,) = torch.autograd.grad(y.sum(), inputs["x"], create_graph=True)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        gradient.sum().backward()


def test_third_order_names_the_backend_that_has_it(ladder):
    inputs = ladder.conv_inputs()
    with pytest.raises(NotImplementedError, match="up to second order; pass backend='reference' for more"):
        ladder.derivatives(conv("cpu"), inputs, order=3)
    assert ladder.derivatives(conv("reference"), inputs, order=3)["ddd x"].isfinite().all()


class Forgetful(torch.autograd.Function):
    """Hand a gradient on, but hide that it depends on anything."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, *grads):
        return grads[0].detach()


WRONG = {
    "the weights are off by a thousandth": lambda run: lambda x, weight, *rest: run(x, weight * 1.001, *rest),
    "the bias is ignored": lambda run: lambda x, weight, bias, *rest: run(x, weight, bias * 0, *rest),
    "the last step is missing": lambda run: lambda *args: run(*args) * (torch.arange(args[0].shape[2]) < 39),
    "the second order is missing": lambda run: lambda x, *rest: run(Forgetful.apply(x), *rest),
}


@pytest.mark.parametrize("break_it", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_kernel_is_found(ladder, monkeypatch, break_it):
    inputs = ladder.conv_inputs(length=40)
    expected = ladder.derivatives(conv("reference"), inputs)
    ladder.assert_agree(ladder.derivatives(conv("cpu"), inputs), expected, ladder.exact)
    monkeypatch.setitem(kernels.CONV, "cpu", break_it(kernels.CONV["cpu"]))
    for dtype, bounds in ((torch.float64, ladder.exact), (torch.float32, ladder.single)):
        found = ladder.derivatives(conv("cpu"), inputs, dtype)
        with pytest.raises(AssertionError, match="relative error"):
            ladder.assert_agree(found, expected, bounds)
