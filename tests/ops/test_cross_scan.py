"""The scan of a grid in several directions: each direction is a plain scan of reordered positions."""

import pytest
import torch
from torch.library import opcheck

from mamba_mender.ops import cross_selective_scan, kernels, selective_scan
from mamba_mender.ops.cross_scan import DIRECTIONS, VMAMBA, visiting_order

GRIDS = {"square": (6, 6), "wide": (3, 13), "tall": (35, 2), "one row": (1, 33)}


def draw(ladder, grid, *, groups=4, channels=5, state=3, batch=2, layout="", optional=True):
    """Draw the inputs of all directions in float64."""
    shape = {"batch": batch, "length": grid[0] * grid[1], "state": state}
    inputs = ladder.scan_inputs(channels=groups * channels, groups=groups, layout=layout, optional=optional, **shape)
    inputs.pop("z", None)
    one = ladder.scan_inputs(channels=channels, layout=layout, optional=False, seed=3, **shape)
    return inputs | {"u": one["u"]}


def cross(backend, **settings):
    return lambda **inputs: cross_selective_scan(**inputs, **{"delta_softplus": True} | settings, backend=backend)


def by_hand(grid, directions=VMAMBA):
    """Reorder, scan and put back each direction by itself."""

    def run(u, delta, A, B, C, D=None, delta_bias=None, initial_state=None):
        y, states, width = 0, [], u.shape[1]
        for k, direction in enumerate(directions):
            visit, own = visiting_order(grid, direction), slice(k * width, (k + 1) * width)
            pick = {"D": D, "delta_bias": delta_bias}
            pick = {name: tensor if tensor is None else tensor[own] for name, tensor in pick.items()}
            if initial_state is not None:
                pick["initial_state"] = initial_state[:, own]
            sequences = (u[..., visit], delta[:, own][..., visit], A[own], B[:, k][..., visit], C[:, k][..., visit])
            part, last = selective_scan(
                *sequences, **pick, delta_softplus=True, return_last_state=True, backend="reference"
            )
            y, states = y + part[..., visit.argsort()], [*states, last]
        return y, torch.cat(states, dim=1)

    return run


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("layout", ["channel-last", "channel-first", "sliced"])
@pytest.mark.parametrize("optional", [True, False], ids=["all", "required"])
def test_is_the_sum_of_its_directions(ladder, kernel, grid, layout, optional):
    inputs = draw(ladder, grid, layout=layout, optional=optional)
    expected = ladder.derivatives(by_hand(grid), inputs)
    for backend in (kernel, "reference"):
        ladder.assert_agree(ladder.derivatives(cross(backend, grid=grid), inputs), expected, ladder.exact)
    found = ladder.derivatives(cross(kernel, grid=grid), inputs, torch.float32)
    ladder.assert_agree(found, expected, (1e-5, 1e-4, 1e-3))


@pytest.mark.parametrize("directions", [("column",), ("row-reversed", "row"), (*VMAMBA, "column")], ids=len)
def test_any_directions(ladder, kernel, directions):
    inputs = draw(ladder, (5, 7), groups=len(directions), channels=17)
    expected = ladder.derivatives(by_hand((5, 7), directions), inputs)
    found = ladder.derivatives(cross(kernel, grid=(5, 7), directions=directions), inputs)
    ladder.assert_agree(found, expected, ladder.exact)


def test_gradcheck_to_second_order(ladder):
    inputs = draw(ladder, (2, 2), channels=1, state=2, batch=1)
    tensors = tuple(tensor.requires_grad_() for tensor in inputs.values())

    def run(*tensors):
        return cross("cpu", grid=(2, 2))(**dict(zip(inputs, tensors, strict=True)))

    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_sums_in_float32(ladder, kernel, dtype):
    names = ("u", "delta", "B", "C")
    inputs = {n: t.to(dtype) if n in names else t.float() for n, t in draw(ladder, (5, 7), channels=20).items()}
    leaves = {name: tensor.requires_grad_() for name, tensor in inputs.items()}
    y, last = cross(kernel, grid=(5, 7))(**leaves)
    expected, right_last = by_hand((5, 7))(**{n: t.detach().double() for n, t in inputs.items()})
    assert y.dtype == last.dtype == torch.float32
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(last.double(), right_last, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(y.sum() + last.sum(), list(leaves.values()))
    assert [g.dtype for g in gradients] == [t.dtype for t in leaves.values()]
    assert all(g.isfinite().all() for g in gradients)


def test_one_direction_is_not_rounded_either(ladder, backend):
    inputs = draw(ladder, (3, 4), groups=1)
    u = inputs["u"].bfloat16()
    y, _ = cross(backend, grid=(3, 4), directions=("row",))(**inputs | {"u": u, "delta": inputs["delta"].float()})
    exact, _ = by_hand((3, 4), ("row",))(**inputs | {"u": u.double()})
    assert y.dtype == torch.float64  # the widest of the inputs
    halves = {n: t.bfloat16() if n in ("u", "delta", "B", "C") else t.float() for n, t in inputs.items()}
    assert cross(backend, grid=(3, 4), directions=("row",))(**halves)[0].dtype == torch.float32
    torch.testing.assert_close(y, exact, rtol=1e-5, atol=1e-5)


def test_the_number_of_threads_changes_no_bit(ladder, kernel):
    inputs = draw(ladder, (9, 9), channels=64, state=16)
    found = ladder.by_threads(lambda: ladder.derivatives(cross(kernel, grid=(9, 9)), inputs, torch.float32))
    for name, tensor in found[0].items():
        assert all(torch.equal(tensor, other[name]) for other in found[1:]), name


def test_opcheck_with_merged_groups(ladder):
    inputs = draw(ladder, (3, 4), layout="channel-last")
    names = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
    leaves = [inputs[name].requires_grad_() if name in inputs else None for name in names]
    opcheck(torch.ops.mamba_mender.scan_forward.default, (*leaves, True, [0, 2, 1, 3], 3, True))


WRONG = {
    "columns are scanned as rows": lambda run: lambda *args: run(*args[:9], [order & 1 for order in args[9]], args[10]),
    "a direction is forgotten": lambda run: lambda *args: run(*forget_last_direction(args)),
    "the grid is turned": lambda run: lambda *args: run(*args[:10], args[0].shape[-1] // args[10]),
}


def forget_last_direction(args):
    u, delta, A, B, *rest = args
    return u, delta, A, torch.cat([B[:, :-1], B[:, -1:] * 0], dim=1), *rest


@pytest.mark.parametrize("break_it", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_kernel_is_found(ladder, monkeypatch, break_it):
    inputs = draw(ladder, (3, 7))
    expected = ladder.derivatives(by_hand((3, 7)), inputs)
    monkeypatch.setitem(kernels.CROSS_SCAN, "cpu", break_it(kernels.CROSS_SCAN["cpu"]))
    with pytest.raises(AssertionError, match="relative error"):
        ladder.assert_agree(ladder.derivatives(cross("cpu", grid=(3, 7)), inputs), expected, ladder.exact)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_position_is_visited_once(direction):
    assert visiting_order((4, 7), direction).sort().values.tolist() == list(range(28))


def test_known_orders():
    assert visiting_order((2, 2), "row-reversed").tolist() == [3, 2, 1, 0]
    assert visiting_order((2, 3), "column-reversed").tolist() == [5, 2, 4, 1, 3, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": (3, 5)}, r"grid \(3, 5\) must be rows and columns of the 12 positions"),
        ({"grid": (12,)}, "must be rows and columns"),
        ({"directions": ("row", "diagonal")}, "directions must be some of"),
        ({"directions": ("row",)}, r"delta has directions\*channels=20"),
        ({"D": torch.ones(5)}, r"D has directions\*channels=5"),
        ({"B": torch.ones(2, 3, 3, 12)}, "B has directions=3"),
    ],
    ids=["grid", "flat grid", "unknown direction", "too few directions", "D", "B"],
)
def test_bad_input(ladder, change, message):
    with pytest.raises(ValueError, match=f"cross_selective_scan: .*{message}"):
        cross_selective_scan(**draw(ladder, (3, 4)) | {"grid": (3, 4)} | change)
