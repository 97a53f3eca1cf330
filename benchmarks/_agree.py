"""Compare ways to scan with the reference: before they are timed, and how far ours is from float64."""

import torch
from _scans import LOOP, OURS, PASSES, WAYS, Sizes, draw
from torch import Tensor

from mamba_mender.ops import selective_scan

BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 3e-2}  # relative norm, on the small problem


def assert_agree(sizes: Sizes, what: str, ways: list[str]) -> None:
    """Compare every way with the reference, on a smaller problem, and refuse to go on if one differs."""
    batch, channels, length, state = sizes
    small = (min(batch, 2), min(channels, 35), min(length, 70), state)
    order = PASSES.index(what)
    for name in ways:
        way = WAYS[name]
        inputs = draw(small, way.layout, torch.float64 if way.float64 else way.dtype)
        exact = {n: tensor.detach().double().requires_grad_() for n, tensor in inputs.items()}
        found, expected = derivatives(way.scan, inputs, order), derivatives(reference, exact, order)
        for label, error in errors(found, expected).items():
            if not error < BOUNDS[inputs["u"].dtype]:
                raise SystemExit(f"{name}: {what} differs from the reference by {error:.1e} in {label}; nothing timed")


def errors_at(shapes: dict[str, Sizes]) -> dict[str, dict[str, dict[str, float]]]:
    """Give the relative norm of ours and of the plain loop in float32 against float64, at full size."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for shape, sizes in shapes.items():
        inputs = draw(sizes)
        exact = {name: tensor.detach().double().requires_grad_() for name, tensor in inputs.items()}
        right = derivatives(WAYS[LOOP].scan, exact, 1)
        found[shape] = {name: errors(derivatives(WAYS[name].scan, inputs, 1), right) for name in (OURS, LOOP)}
        worst = {name: max(own.items(), key=lambda item: item[1]) for name, own in found[shape].items()}
        told = (f"{name}: y {found[shape][name]['y']:.1e}, worst {at} {most:.1e}" for name, (at, most) in worst.items())
        print(f"  {shape}: " + "; ".join(told), flush=True)
    return found


def errors(found: list[Tensor], expected: list[Tensor]) -> dict[str, float]:
    leaves = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    names = ("y", *(f"gradient of {leaf}" for leaf in leaves), *(f"second order of {leaf}" for leaf in leaves))
    pairs = zip(names, found, expected, strict=False)  # as many names as there are orders
    return {name: ((mine.double() - right).norm() / (right.norm() + 1e-30)).item() for name, mine, right in pairs}


def reference(u, delta, A, B, C, D, z, delta_bias):
    return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True, backend="reference")


def derivatives(scan, inputs: dict[str, Tensor], order: int) -> list[Tensor]:
    leaves, found = list(inputs.values()), [scan(**inputs)]
    weight = torch.arange(found[0].numel(), dtype=torch.float32).cos().view_as(found[0]).to(found[0].dtype)
    if order >= 1:
        found += torch.autograd.grad(found[0], leaves, weight, create_graph=order == 2)
    if order == 2:
        found += torch.autograd.grad(found[1].square().sum(), leaves, materialize_grads=True, allow_unused=True)
    return [tensor.detach() for tensor in found]
