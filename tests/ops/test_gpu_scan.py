"""The Triton scan against its reference, on a GPU, or where there is none by Triton's interpreter on the CPU."""

import pytest
import torch
from torch.library import opcheck
from torch.testing import assert_close

from mamba_mender.ops import gpu_memory, gpu_scan, kernels, selective_scan
from mamba_mender.ops.reference import selective_scan as slow_scan

CHUNK = gpu_memory.CHUNK
OPS = torch.ops.mamba_mender
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Make chunks short, so that short sequences have several."""
    monkeypatch.setattr(gpu_memory, "CHUNK", 4)


def scan(device, backend="triton", **settings):
    """Make a scan of tensors on the CPU that runs on a device."""
    settings = {"delta_softplus": True} | settings

    def run(**inputs):
        moved = {name: tensor.to(device) for name, tensor in inputs.items()}
        y, last = selective_scan(**moved, **settings, return_last_state=True, backend=backend)
        return y.cpu(), last.cpu()

    return run


def op_inputs(ladder, device, optional=True, constant="", **shape):
    """The nine inputs of the custom ops, in order."""
    inputs = ladder.scan_inputs(groups=1, optional=optional, constant=constant, **shape)
    return [inputs[name].to(device).requires_grad_() if name in inputs else None for name in NAMES]


def detached(tensors):
    return [None if tensor is None else tensor.detach() for tensor in tensors]


def test_agrees_on_every_pair_of_settings(ladder, triton_device, gpu_scan_case):
    case = dict(gpu_scan_case)
    settings = {name: case.pop(name) for name in ("delta_softplus", "reverse")}
    order, groups = case.pop("order"), max(case["groups"], 1)
    inputs = ladder.scan_inputs(channels=case.pop("width") * groups, **case)
    if not settings["delta_softplus"]:  # a step is never negative
        inputs |= {name: inputs[name].abs() / 10 for name in ("delta", "delta_bias") if name in inputs}
    expected = ladder.derivatives(scan("cpu", "reference", **settings), inputs, order=order)
    found = ladder.derivatives(scan(triton_device, **settings), inputs, order=order)
    ladder.assert_agree(found, expected, ladder.exact)


def test_chunks_have_their_true_length(ladder, triton_device, monkeypatch):
    monkeypatch.setattr(gpu_memory, "CHUNK", CHUNK)
    inputs = ladder.scan_inputs(1, 2, CHUNK + 2, 2)
    expected = ladder.derivatives(scan("cpu", "reference"), inputs, order=1)
    ladder.assert_agree(ladder.derivatives(scan(triton_device), inputs, order=1), expected, ladder.exact)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_float32_errors_are_rounding_errors(ladder, triton_device, reverse):
    inputs = ladder.scan_inputs(1, 32, 20, 16)
    expected = ladder.derivatives(scan("cpu", "reference", reverse=reverse), inputs)
    found = ladder.derivatives(scan(triton_device, reverse=reverse), inputs, torch.float32)
    ladder.assert_agree(found, expected, (1e-6, 1e-5, 1e-5))


@pytest.mark.parametrize("shift", [-20.0, -6.0, 15.0], ids=str)
def test_float32_steps_keep_their_digits_however_small(ladder, triton_device, shift):
    inputs = ladder.scan_inputs(1, 8, 4, 2, optional=False)
    inputs["delta"] += shift
    expected = ladder.derivatives(scan("cpu", "reference"), inputs, order=1)
    found = ladder.derivatives(scan(triton_device), inputs, torch.float32, order=1)
    ladder.assert_agree(found, expected, (3e-6, 1e-5))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 5e-3), (torch.float16, 5e-4)], ids=str)
def test_half_precision_is_read_and_written_but_not_computed_in(ladder, triton_device, dtype, bound):
    inputs = {name: t.to(triton_device, dtype) for name, t in ladder.scan_inputs(2, 5, 9, 3).items()}
    wide = {name: t.cpu().float() for name, t in inputs.items()}

    def run(kernel, tensors):
        leaves = [tensors[name].requires_grad_() for name in NAMES]
        y, last = kernel(*leaves, True, False)
        grad_y = torch.linspace(-1, 1, y.numel()).view(y.shape).to(y)
        return (y, last, *torch.autograd.grad((y, last), leaves, (grad_y, last.detach())))

    found, expected = run(gpu_scan.selective_scan, inputs), run(slow_scan, wide)
    assert [t.dtype for t in found] == [dtype, torch.float32, *[dtype] * 9]
    names = ("output y", "output last", *(f"d {name}" for name in NAMES))
    found = {name: tensor.cpu() for name, tensor in zip(names, found, strict=True)}
    ladder.assert_agree(found, dict(zip(names, expected, strict=True)), (bound, bound))
    assert_close(found["output last"], expected[1].detach(), rtol=1e-5, atol=1e-6)  # the state was never rounded


def test_parameters_may_be_wider_than_the_sequences(ladder, triton_device):
    inputs = {name: t.to(triton_device).float() for name, t in ladder.scan_inputs(1, 2, 3, 2).items()}
    mixed = inputs | {name: inputs[name].bfloat16() for name in ("u", "delta", "B", "C", "z")}
    rounded = {name: t.cpu().float().requires_grad_() for name, t in mixed.items()}
    leaves = {name: t.requires_grad_() for name, t in mixed.items()}
    y, last = gpu_scan.selective_scan(*(leaves[name] for name in NAMES), True, False)
    expected, expected_last = slow_scan(*(rounded[name] for name in NAMES), True, False)
    assert (y.dtype, last.dtype) == (torch.bfloat16, torch.float32)
    (y.float().sum() + last.sum()).backward()
    (expected.sum() + expected_last.sum()).backward()
    assert_close(last.cpu(), expected_last)
    for name, leaf in leaves.items():
        assert leaf.grad.dtype == leaf.dtype
        assert_close(leaf.grad.cpu().float(), rounded[name].grad, rtol=2e-2, atol=2e-2, msg=name)


def test_two_matrices_may_have_different_numbers_of_groups(ladder, triton_device):
    inputs = ladder.scan_inputs(1, 12, 3, 2, groups=4) | {"C": torch.randn(1, 2, 2, 3, dtype=torch.float64)}
    expected = ladder.derivatives(scan("cpu", "reference"), inputs)
    ladder.assert_agree(ladder.derivatives(scan(triton_device), inputs), expected, ladder.exact)
    with pytest.raises(ValueError, match="B has 4 groups and C 3, but one must be a multiple of the other"):
        scan(triton_device)(**inputs | {"C": torch.randn(1, 3, 2, 3)})


def test_every_order_runs_in_the_kernel(ladder, triton_device, monkeypatch):
    ran, launch = [], gpu_memory.gpu.launch
    monkeypatch.setattr(gpu_memory.gpu, "launch", lambda name, *rest: (ran.append(name), launch(name, *rest)))
    ladder.derivatives(scan(triton_device), ladder.scan_inputs(1, 2, 3, 2))
    assert ran == ["scan_forward", "scan_backward"] * 2


@pytest.mark.parametrize("optional", [True, False], ids=["all", "required"])
@pytest.mark.parametrize("constant", ["", "BC"], ids=["selective", "constant"])
def test_gradcheck_to_second_order(ladder, triton_device, optional, constant):
    inputs = ladder.scan_inputs(1, 1, 2, 1, optional=optional, constant=constant)
    tensors = tuple(tensor.requires_grad_() for tensor in inputs.values())

    def run(*values):
        return scan(triton_device)(**dict(zip(inputs, values, strict=True)))

    torch.autograd.gradcheck(run, tensors, fast_mode=True)
    torch.autograd.gradgradcheck(run, tensors, fast_mode=True)


@pytest.mark.parametrize("optional", [True, False], ids=["all", "required"])
def test_opcheck(ladder, triton_device, optional):
    inputs = op_inputs(ladder, triton_device, optional, "" if optional else "B", batch=1, channels=3, length=3, state=2)
    grad_y = torch.randn(1, 3, 3, dtype=torch.float64, device=triton_device, requires_grad=True)
    grad_last = torch.randn_like(grad_y[..., :2]).requires_grad_() if optional else None
    saved = OPS.gpu_scan_forward(*detached(inputs), True, [0], 1, True)[2]
    opcheck(OPS.gpu_scan_forward.default, (*inputs, True, [1], 1, optional))
    opcheck(OPS.gpu_scan_backward.default, (grad_y, grad_last, saved, *inputs, True, [0], 1))
    tangents = [torch.randn_like(t) if t is not None and (optional or i % 2) else None for i, t in enumerate(inputs)]
    opcheck(OPS.gpu_scan_second.default, (*tangents, *detached([grad_y, grad_last, *inputs]), True, [0], 1))


def test_compiles_whole_with_its_backward(ladder, triton_device):
    torch.compiler.reset()
    inputs = op_inputs(ladder, triton_device, batch=1, channels=2, length=3, state=2)

    def gated(*tensors):
        y, last = selective_scan(*tensors[:8], True, True, initial_state=tensors[8], backend="triton")
        return y.square().sum() + last.sum()

    expected = torch.autograd.grad(gated(*inputs), inputs)
    found = torch.compile(gated, fullgraph=True, backend="aot_eager")(*inputs)
    assert_close(torch.autograd.grad(found, inputs), expected)


def test_third_order_names_the_backend_that_has_it(ladder, triton_device):
    with pytest.raises(NotImplementedError, match="up to second order; pass backend='reference' for more"):
        ladder.derivatives(scan(triton_device), ladder.scan_inputs(1, 1, 2, 1), order=3)


def test_sums_over_channels_are_the_same_every_time(ladder, triton_device):
    inputs = ladder.scan_inputs(1, 70, 3, 2)
    first, second = (ladder.derivatives(scan(triton_device), inputs, torch.float32, order=1) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def scan_along(orders, rows, u, delta, A, B, C, D, delta_bias, initial_state):
    """Scan each group along its path by the reference, put what it gives back into the grid's order, and add up."""
    y, lasts, width = 0, [], u.shape[1]
    grid = torch.arange(u.shape[2]).view(rows, -1)
    for group, order in enumerate(orders):
        path = (grid.T if order >= 2 else grid).flatten()
        path = path.flip(0) if order % 2 else path
        own = slice(group * width, (group + 1) * width)
        sequences = (u[..., path], delta[:, own][..., path], A[own], B[:, [group]][..., path], C[:, [group]][..., path])
        out, last = slow_scan(*sequences, D[own], None, delta_bias[own], initial_state[:, own], True, False)
        y, lasts = y + out[..., path.argsort()], [*lasts, last]
    return y, torch.cat(lasts, dim=1)


@pytest.mark.parametrize(("orders", "rows"), [([0, 1, 2, 3], 2), ([3, 2], 3), ([2], 3)], ids=str)
def test_a_grid_is_scanned_in_the_order_of_each_group(ladder, triton_device, orders, rows):
    inputs = ladder.scan_inputs(2, 2 * len(orders), 6, 2, groups=len(orders))
    del inputs["z"]
    inputs["u"] = inputs["u"][:, :2].contiguous()
    names = ("u", "delta", "A", "B", "C", "D", "delta_bias", "initial_state")

    def run(**tensors):
        moved = [tensors[name].to(triton_device) for name in names]
        y, last = gpu_scan.cross_selective_scan(*moved, True, orders, rows)
        return y.cpu(), last.cpu()

    expected = ladder.derivatives(lambda **tensors: scan_along(orders, rows, *(tensors[n] for n in names)), inputs)
    ladder.assert_agree(ladder.derivatives(run, inputs), expected, ladder.exact)


def test_what_groups_share_is_summed_in_float32(ladder, triton_device):
    inputs = ladder.scan_inputs(1, 4, 4, 2, groups=2, optional=False)
    u, delta, A, B, C = (inputs[name].to(triton_device, torch.bfloat16) for name in NAMES[:5])
    u = u[:, :2].clone().requires_grad_()
    y, _ = gpu_scan.cross_selective_scan(u, delta, A, B, C, None, None, None, True, [0, 3], 2)
    y.sum().backward()
    assert (y.dtype, u.grad.dtype) == (torch.float32, torch.bfloat16)


def test_more_orders_than_fit_into_a_number_are_refused(ladder, triton_device):
    u, delta, matrix = torch.ones(1, 1, 4), torch.ones(1, 32, 4), torch.ones(1, 32, 1, 4)
    tensors = [t.to(triton_device) for t in (u, delta, -torch.ones(32, 1), matrix, matrix)]
    with pytest.raises(ValueError, match="cross_selective_scan: backend 'triton' takes at most 31 groups, got 32"):
        gpu_scan.cross_selective_scan(*tensors, None, None, None, True, [0] * 32, 2)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_two_halves_make_a_whole(ladder, triton_device, reverse):
    inputs, run = ladder.scan_inputs(1, 3, 11, 2), scan(triton_device, reverse=reverse)
    whole, last = run(**inputs)
    parts, state = [slice(None, 6), slice(6, None)], inputs["initial_state"]
    ys = {}
    for part in reversed(parts) if reverse else parts:
        piece = {name: t[..., part] if t.shape[-1] == 11 else t for name, t in inputs.items()}
        ys[part.start], state = run(**piece | {"initial_state": state})
    assert_close(torch.cat([ys[None], ys[6]], dim=-1), whole)
    assert_close(state, last)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_nothing_ahead_is_seen(ladder, triton_device, reverse):
    inputs, run = ladder.scan_inputs(1, 3, 7, 2), scan(triton_device, reverse=reverse)
    seen, ahead = (slice(3, None), slice(None, 3)) if reverse else (slice(None, 3), slice(3, None))
    before, _ = run(**inputs)
    for name in ("u", "delta", "B", "C", "z"):
        inputs[name][..., ahead] = torch.nan
    after, _ = run(**inputs)
    assert torch.equal(after[..., seen], before[..., seen])
    assert after[..., ahead].isnan().all()


def test_rows_of_a_batch_are_independent(ladder, triton_device):
    inputs = ladder.scan_inputs(3, 2, 5, 2)
    whole = scan(triton_device)(**inputs)
    row = {name: t if name in ("A", "D", "delta_bias") else t[1:2] for name, t in inputs.items()}
    for found, expected in zip(scan(triton_device)(**row), whole, strict=True):
        assert torch.equal(found, expected[1:2])


@pytest.mark.parametrize(("batch", "channels"), [(0, 3), (2, 0)])
def test_empty_batches_have_empty_results(ladder, triton_device, batch, channels):
    inputs = {name: tensor.requires_grad_() for name, tensor in ladder.scan_inputs(batch, channels).items()}
    y, last = scan(triton_device)(**inputs)
    assert (y.shape, last.shape) == ((batch, channels, 7), (batch, channels, 4))
    gradients = torch.autograd.grad(y.sum() + last.sum(), list(inputs.values()))
    assert all(not gradient.any() for gradient in gradients)


def with_another_groups_gradient(run):
    def wrong(u, delta, A, B, *rest):
        if B.requires_grad:
            B = B.view_as(B)
            B.register_hook(lambda gradient: gradient.roll(1, dims=1))
        return run(u, delta, A, B, *rest)

    return wrong


def without_last_chunk(run):
    def wrong(*args):
        y, last = run(*args)
        return torch.cat([y[..., :4], y[..., 4:] * 0], dim=-1), last

    return wrong


WRONG = {
    "A is off by a thousandth": lambda run: lambda u, delta, A, *rest: run(u, delta, A * 1.001, *rest),
    "the last chunk is missing": without_last_chunk,
    "the initial state is ignored": lambda run: lambda *args: run(*args[:8], args[8] * 0, *args[9:]),
    "dB is another group's": with_another_groups_gradient,
}


@pytest.mark.parametrize("break_it", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_kernel_is_found(ladder, triton_device, monkeypatch, break_it):
    inputs = ladder.scan_inputs(1, 2, 6, 2, groups=2)
    expected = ladder.derivatives(scan("cpu", "reference"), inputs, order=1)
    ladder.assert_agree(ladder.derivatives(scan(triton_device), inputs, order=1), expected, ladder.exact)
    monkeypatch.setitem(kernels.SCAN, "triton", break_it(kernels.SCAN["triton"]))
    for dtype, bounds in ((torch.float64, ladder.exact), (torch.float32, ladder.single)):
        found = ladder.derivatives(scan(triton_device), inputs, dtype, order=1)
        with pytest.raises(AssertionError, match="relative error"):
            ladder.assert_agree(found, expected, bounds)
