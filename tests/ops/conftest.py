"""The comparison that every kernel must pass: outputs, first and second derivatives against the reference."""

import functools
import importlib
import itertools
from types import SimpleNamespace

import pytest
import torch

from mamba_mender.ops import cpu, gpu

SCAN_AXES = {
    "state": [1, 2, 5, 16, 17, 64, 256],
    "length": [1, 31, 32, 33, 65],
    "width": [1, 7, 16, 33],  # channels of a group
    "groups": [0, 1, 3],
    "constant": ["", "B", "C", "BC"],
    "layout": ["channel-first", "channel-last", "sliced", "expanded"],
    "optional": [True, False],
    "delta_softplus": [True, False],
    "reverse": [False, True],
}
GPU_SCAN_AXES = SCAN_AXES | {  # for the interpreter, with chunks of four steps; the first goes on to second order
    "order": [2, 1],
    "state": [1, 2, 5, 16],
    "length": [1, 3, 4, 5, 9],
    "width": [1, 3, 33],
}
CONV_AXES = {
    "width": [1, 2, 3, 4, 7],
    "length": [1, 31, 32, 33, 65],
    "channels": [1, 7, 16, 33],
    "layout": ["channel-first", "channel-last", "sliced", "expanded"],
    "bias": [True, False],
    "activation": ["silu", None],
    "symmetric": [False, True],
    "reverse": [False, True],
}


def pytest_generate_tests(metafunc):
    """Run tests that take `kernel` once per instruction set found here, and those that take a case once per case."""
    if "kernel" in metafunc.fixturenames:
        found = cpu.instruction_sets() if cpu.is_built() else []
        metafunc.parametrize("kernel", found, indirect=True)
    if "triton_device" in metafunc.fixturenames:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        metafunc.parametrize("triton_device", [device] if gpu.is_installed() else [], indirect=True)
    for name, axes in (("scan_case", SCAN_AXES), ("gpu_scan_case", GPU_SCAN_AXES), ("conv_case", CONV_AXES)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, pairwise(axes), ids=lambda case: "-".join(map(str, case.values())))


@pytest.fixture
def kernel(request):
    """The name of a backend, while it runs with one instruction set."""
    with cpu.force_instruction_set(request.param):
        yield "cpu"


@pytest.fixture
def triton_device(request, monkeypatch):
    """Where Triton's kernels run: a GPU, or the CPU with the interpreter in its stead."""
    if request.param == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        interpreter = importlib.import_module("triton.runtime.interpreter")
        monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", interpret_once_prepared)
    return request.param


def interpret_once_prepared(function, *args, **kwargs):
    """Call a function from within a kernel; the interpreter's own way prepares its module each time."""
    if id(function.fn.__globals__) not in prepared:
        importlib.import_module("triton.runtime.interpreter")._patch_lang(function.fn)
        prepared.add(id(function.fn.__globals__))
    return function.rewrite()(*args, **kwargs)


prepared = set()


@pytest.fixture(autouse=True)
def memory_full_of_nan():
    """Fill new memory with NaN, so that what a kernel forgets to write is seen."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]


def draw(generator, *shape):
    """Draw numbers that float32 and float64 hold alike."""
    return torch.randn(shape, generator=generator).double()


def lay(tensor, layout):
    """Bring (..., channels, length) to other memory; numbers change only where memory is shared."""
    if layout == "channel-last":
        return tensor.mT.contiguous().mT
    if layout == "sliced":  # as a part of a wider projection, every second step
        *rows, channels, length = tensor.shape
        wide = torch.full((*rows, 2 * length, channels + 5), torch.nan, dtype=tensor.dtype)
        part = wide[..., ::2, 2 : channels + 2].mT
        return part.copy_(tensor)
    if layout == "expanded":  # one row for the whole batch
        return tensor[:1].expand(tensor.shape)
    return tensor.contiguous()


def scan_inputs(batch=2, channels=3, length=7, state=4, groups=1, *, constant="", layout="", optional=True, seed=0):
    """Draw the inputs of a scan in float64; groups=0 leaves the axis out."""
    random = torch.Generator().manual_seed(seed)

    def matrix(name):
        if name in constant:
            return draw(random, channels, state)
        rows = (batch, groups) if groups else (batch,)
        return lay(draw(random, *rows, state, length), layout)

    inputs = {
        "u": lay(draw(random, batch, channels, length), layout),
        "delta": lay(draw(random, batch, channels, length), layout),
        "A": -draw(random, channels, state).abs(),
        "B": matrix("B"),
        "C": matrix("C"),
    }
    if optional:
        inputs |= {"D": draw(random, channels), "z": lay(draw(random, batch, channels, length), layout)}
        inputs |= {"delta_bias": draw(random, channels), "initial_state": draw(random, batch, channels, state)}
    return inputs


def conv_inputs(batch=2, channels=3, length=7, width=4, *, bias=True, layout="", seed=0):
    random = torch.Generator().manual_seed(seed)
    inputs = {"x": lay(draw(random, batch, channels, length), layout), "weight": draw(random, channels, width)}
    return inputs | ({"bias": draw(random, channels)} if bias else {})


def derivatives(op, inputs, dtype=torch.float64, order=2):
    """Run an op and differentiate it along random directions: outputs, and derivatives named like "d u", "dd u"."""
    leaves = {name: in_dtype(tensor, dtype).requires_grad_() for name, tensor in inputs.items()}
    outputs = op(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    found = {f"output {i}": tensor for i, tensor in enumerate(outputs)}
    random = torch.Generator().manual_seed(1)
    weights = [draw(random, *out.shape).to(dtype).requires_grad_() for out in outputs]
    by = dict(leaves)
    for k in range(1, order + 1):
        scalar = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
        outputs = torch.autograd.grad(
            scalar, list(by.values()), create_graph=k < order, allow_unused=True, materialize_grads=True
        )
        found |= {f"{'d' * k} {name}": gradient for name, gradient in zip(by, outputs, strict=True)}
        if k == 1:  # the second derivatives are taken by these too
            by |= {f"grad {i}": weight for i, weight in enumerate(weights)}
        weights = [draw(random, *out.shape).to(dtype) for out in outputs]
    return {name: tensor.detach() for name, tensor in found.items()}


def in_dtype(tensor, dtype):
    """Cast a tensor, and keep its strides."""
    if tensor.dtype == dtype:
        return tensor.detach()
    like = torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype)
    return like.copy_(tensor) if 0 not in tensor.stride() else tensor[:1].to(dtype).expand(tensor.shape)


def by_threads(run, counts=(1, 2, 3)):
    """Run the same thing with several numbers of threads."""
    before, found = torch.get_num_threads(), []
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            found.append(run())
    finally:
        torch.set_num_threads(before)
    return found


def assert_agree(found, expected, bounds):
    """Assert that relative norm errors keep to the bounds for outputs, first and second derivatives."""
    assert found.keys() == expected.keys()
    faults = []
    for name, right in expected.items():
        tensor, order = found[name], {"d": 1, "dd": 2}.get(name.split()[0], 0)
        assert tensor.shape == right.shape, f"{name}: shape {tuple(tensor.shape)} instead of {tuple(right.shape)}"
        error = (tensor.double() - right.double()).norm().item() / (right.double().norm().item() + 1e-30)
        if not error <= bounds[order]:  # NaN is a fault too
            faults.append(f"{name}: relative error {error:.1e} above {bounds[order]:.0e}")
    assert not faults, "; ".join(faults)


def pairwise(axes):
    """Choose few cases in which every pair of values of any two axes meets at least once (greedily)."""
    pairs = itertools.combinations(axes, 2)
    missing = [((a, x), (b, y)) for a, b in pairs for x in axes[a] for y in axes[b]]
    cases = []
    while missing:
        case = dict(missing[0])
        for name in [name for name in axes if name not in case]:
            case[name] = max(axes[name], key=functools.partial(pairs_met, missing, case, name))
        missing = [pair for pair in missing if not dict(pair).items() <= case.items()]
        cases.append({name: case[name] for name in axes})
    return cases


def pairs_met(missing, case, name, value):
    extended = case | {name: value}
    return sum(dict(pair).items() <= extended.items() for pair in missing)


@pytest.fixture(scope="session")
def ladder():
    """What the tests of all ops share."""
    return SimpleNamespace(
        scan_inputs=scan_inputs,
        conv_inputs=conv_inputs,
        derivatives=derivatives,
        assert_agree=assert_agree,
        by_threads=by_threads,
        in_dtype=in_dtype,
        lay=lay,
        exact=(1e-12, 1e-12, 1e-12),
        single=(1e-6, 1e-5, 1e-4),
    )
