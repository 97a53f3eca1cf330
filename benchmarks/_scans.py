"""The ways to scan that are compared: ours, a plain loop, and those of released packages."""

import functools
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from _mamba_ssm import selective_scan_ref
from torch import Tensor

from mamba_mender.ops import selective_scan

Sizes = tuple[int, int, int, int]  # batch, channels, length, state
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it warns that its loop is slow, which is known here
MOST_MEMORY = 6e9
FORWARD, BOTH, SECOND = PASSES = ("forward", "forward + backward", "second order")


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


def mamba_ssm_reference(u, delta, A, B, C, D, z, delta_bias):
    """mamba_ssm's own reference; indexed as transformers' loop is, so quadratic too. It computes in float32."""
    return selective_scan_ref()(u, delta, A, B, C, D, z, delta_bias, delta_softplus=True)


@functools.cache
def compiled_loop() -> Callable[..., Tensor]:
    """torch.compile of the plain loop, which it unrolls: for short lengths only."""
    return torch.compile(plain_loop, dynamic=False)


@dataclass(frozen=True)
class Way:
    """One way to scan.

    tensors: of (batch, channels, length, state), held at once, forward and with a backward; estimates, which only
    keep a run from filling the memory. quadratic: its backward is, in the length. float64: whether it computes in it.
    """

    scan: Callable[..., Tensor]
    layout: str = "channel-last"
    package: str | None = None
    tensors: tuple[int, int] = (0, 0)
    dtype: torch.dtype = torch.float32
    quadratic: bool = False
    float64: bool = True


OURS, HALF, LOOP, COMPILED = "ours, channel-last", "ours, bfloat16", "plain loop", "plain loop, compiled"
WAYS = {
    OURS: Way(kernel),
    "ours, channel-first": Way(kernel, "channel-first"),
    HALF: Way(kernel, dtype=torch.bfloat16, float64=False),
    LOOP: Way(plain_loop, tensors=(4, 8)),
    "transformers": Way(transformers_loop, "channel-first", "transformers", (5, 12), quadratic=True, float64=False),
    "mambapy": Way(mambapy, "channel-first", "mambapy", (6, 16)),
    "mamba_ssm reference": Way(
        mamba_ssm_reference, "channel-first", "mamba_ssm", (5, 12), quadratic=True, float64=False
    ),
}


def why_not(name: str, sizes: Sizes, what: str) -> str | None:
    """Say why a way is not timed, or None if it is."""
    way = WAYS[name]
    batch, channels, length, state = sizes
    if way.package and not importlib.util.find_spec(way.package):
        return f"{way.package} is not installed"
    if what == SECOND and name == "mambapy":
        return "its backward works in place and cannot be differentiated"
    if what == SECOND and name == HALF:
        return "mending is done in float32"
    if way.quadratic and (what == SECOND or (what == BOTH and length > 100)):
        return "its backward is quadratic in the length"
    needs = way.tensors[what != FORWARD] * 4 * batch * channels * length * state
    if needs > MOST_MEMORY:
        return f"needs about {needs / 1e9:.0f} GB"
    return None


def draw(sizes: Sizes, layout: str = "channel-last", dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Draw inputs as a trained layer has them, with gradients wanted; A, D and the bias are never halved."""
    batch, channels, length, state = sizes
    random = torch.Generator().manual_seed(0)
    exact = torch.promote_types(dtype, torch.float32)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    def sequence(width: int, scale: float = 1.0) -> Tensor:
        drawn = (normal(batch, length, width) * scale).to(dtype).mT
        return drawn if layout == "channel-last" else drawn.contiguous()

    inputs = {
        "u": sequence(channels),
        "delta": sequence(channels, 0.5),
        "A": -torch.arange(1.0, state + 1).repeat(channels, 1).to(exact),
        "B": sequence(state),
        "C": sequence(state),
        "D": normal(channels).to(exact),
        "z": sequence(channels),
        "delta_bias": (normal(channels) - 4).to(exact),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def call_of(name: str, sizes: Sizes, what: str, scan: Callable[..., Tensor] | None = None) -> Callable[[], object]:
    """Make inputs, and the call that is timed."""
    way = WAYS[LOOP if name == COMPILED else name]
    scan = scan or way.scan
    inputs = draw(sizes, way.layout, way.dtype)
    leaves = list(inputs.values())
    weight = torch.randn_like(inputs["u"])

    def forward() -> object:
        with torch.no_grad():
            return scan(**inputs)

    def backward() -> object:
        return torch.autograd.grad(scan(**inputs), leaves, weight)

    def second() -> object:  # as a mending step does: a loss on the gradient of a state, to every input
        (gradient,) = torch.autograd.grad(scan(**inputs), inputs["u"], weight, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), leaves, allow_unused=True)

    return {FORWARD: forward, BOTH: backward, SECOND: second}[what]
