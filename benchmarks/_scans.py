"""The ways to scan that scan.py compares: ours, a plain loop, and those of transformers and mambapy."""

import importlib.util
import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mamba_mender.ops import selective_scan

Scan = Callable[..., Tensor]
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that its loop is slow, which is known here


def kernel(u, delta, A, B, C, D, z, delta_bias):
    return selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True, backend="cpu")


def plain_loop(u, delta, A, B, C, D, z, delta_bias):
    """Loop over steps in torch, the fastest of the three we wrote: its backward is linear in the length.

    Time goes first, so that a step is one piece of memory; what does not depend on the state is computed at once,
    before; ``unbind`` has one backward for all steps, where indexing has one, of the whole length, for each.
    """
    step = F.softplus(delta + delta_bias[:, None]).permute(2, 0, 1)
    decay = torch.exp(step[..., None] * A)  # (length, batch, channels, state)
    write = (step * u.permute(2, 0, 1))[..., None] * B.permute(2, 0, 1)[:, :, None]
    read = C.permute(2, 0, 1)[..., None]
    h, ys = torch.zeros_like(write[0]), []
    for a, b, c in zip(decay.unbind(0), write.unbind(0), read.unbind(0), strict=True):
        h = torch.addcmul(b, a, h)
        ys.append((h @ c)[..., 0])
    return (torch.stack(ys, dim=-1) + D[:, None] * u) * F.silu(z)


def transformers_loop(u, delta, A, B, C, D, z, delta_bias):
    """What transformers' Mamba runs on a CPU. Each of its slices has a backward of the whole length: quadratic."""
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    return mamba_selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True)


def mambapy(u, delta, A, B, C, D, z, delta_bias):
    """mambapy's parallel scan, with its mixer's arithmetic around it."""
    from mambapy.pscan import pscan

    step, x = F.softplus(delta + delta_bias[:, None]).mT, u.mT
    decay = torch.exp(step[..., None] * A)  # (batch, length, channels, state)
    states = pscan(decay, step[..., None] * B.mT[:, :, None] * x[..., None])
    y = (states @ C.mT[..., None])[..., 0] + D * x
    return y.mT * F.silu(z)


# name: function, layout of its inputs, package it needs, tensors of (batch, channels, length, state) that it holds
# at once, forward and with a backward (estimates, which only keep a run from filling the memory)
WAYS: dict[str, tuple[Scan, str, str | None, tuple[int, int]]] = {
    "ours, channel-last": (kernel, "channel-last", None, (0, 0)),
    "ours, channel-first": (kernel, "channel-first", None, (0, 0)),
    "plain loop": (plain_loop, "channel-last", None, (4, 8)),
    "transformers": (transformers_loop, "channel-first", "transformers", (5, 12)),
    "mambapy": (mambapy, "channel-first", "mambapy", (6, 16)),
}
MOST_MEMORY = 6e9


def why_not(way: str, sizes: tuple[int, int, int, int], what: str) -> str | None:
    """Say why a way is not timed, or None if it is."""
    _, _, package, tensors = WAYS[way]
    batch, channels, length, state = sizes
    if package and not importlib.util.find_spec(package):
        return f"{package} is not installed"
    if what == "second order" and way == "mambapy":
        return "its backward works in place and cannot be differentiated"
    if what != "forward" and way == "transformers" and (length > 100 or what == "second order"):
        return "its backward is quadratic in the length"
    needs = tensors[what != "forward"] * 4 * batch * channels * length * state
    if needs > MOST_MEMORY:
        return f"needs about {needs / 1e9:.0f} GB"
    return None


def draw(sizes: tuple[int, int, int, int], layout: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Draw inputs as a trained layer has them, with gradients wanted."""
    batch, channels, length, state = sizes
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(dtype)

    def sequence(width: int) -> Tensor:
        drawn = normal(batch, length, width).mT
        return drawn if layout == "channel-last" else drawn.contiguous()

    inputs = {
        "u": sequence(channels),
        "delta": sequence(channels) * 0.5,
        "A": -torch.arange(1.0, state + 1).repeat(channels, 1).to(dtype),
        "B": sequence(state),
        "C": sequence(state),
        "D": normal(channels),
        "z": sequence(channels),
        "delta_bias": normal(channels) - 4,
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}
