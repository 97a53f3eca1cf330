"""`mamba-mender doctor`: say which kernels run here, and measure them against the reference."""

import importlib.metadata
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.console import Console
from rich.table import Column, Table

from mamba_mender import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from mamba_mender.ops import Backend

EXAMPLE = "mamba-mender doctor"
PACKAGES = ("torch", "numpy", "accelerate", "safetensors", "kornia", "scikit-learn")
REINSTALL = "pip install --force-reinstall --no-cache-dir --no-deps mamba-mender"


def doctor(
    device: Annotated[str, typer.Option(help="The device to check.")] = "cpu",
    tolerance: Annotated[float, typer.Option(help="Largest relative error allowed in float32.")] = 1e-4,
) -> None:
    """Check that the kernels on this machine run, and that they give the right answer.

    Each backend runs the ops it has in float32, forward and backward, in both directions, and is compared
    with the reference in float64. Ends with exit code 1 if an error is above the tolerance.
    """
    import torch

    from mamba_mender.ops.backends import Backend, why_not

    _check_device(device)
    torch.manual_seed(0)
    console, wrong, hints = Console(), [], []
    table = Table(
        Column("backend", no_wrap=True), "scan forward", "scan backward", "conv forward", "conv backward", "verdict"
    )
    for backend in get_args(Backend):
        if reason := why_not(backend, torch.device(device)):
            table.add_row(backend, *"----", "cannot run")
            hints.append(f"{backend} cannot run: {reason}.")
            continue
        for name, errors in measured(backend, device):
            good = max(errors) <= tolerance
            wrong += [] if good else [name]
            told = [*(f"{error:.1e}" for error in errors), *"--"][:4]  # not every backend has the convolution
            table.add_row(name, *told, "ok" if good else "WRONG")
    console.print(table)
    console.print(facts())
    if wrong:
        hints.append(f"WRONG: {', '.join(wrong)}: off from the float64 reference by more than {tolerance:g}.")
    if wrong or why_not("cpu", torch.device("cpu")):
        hints.append(f"To build the kernels anew: {REINSTALL}")
    if hints:
        console.print(*hints, sep="\n", highlight=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def _check_device(device: str) -> None:
    """Refuse a device that is not there, before anything runs on it."""
    import torch

    from mamba_mender._check import UserError

    known = ["cpu"]
    if count := torch.cuda.device_count():
        known += ["cuda", *(f"cuda:{number}" for number in range(count))]
    if device not in known:
        raise UserError(f"doctor: there is no device {device!r} here; --device must be one of {known}.")


def measured(backend: "Backend", device: str) -> "Iterator[tuple[str, tuple[float, ...]]]":
    """Measure a backend, once with each instruction set that it can use here: its name, the errors of its ops."""
    import torch

    from mamba_mender.ops import cpu
    from mamba_mender.ops.backends import why_not

    def errors() -> tuple[float, ...]:
        lacking = why_not(backend, torch.device(device), "causal_conv1d")
        return (*scan_errors(backend, device), *(() if lacking else conv_errors(backend, device)))

    if backend != "cpu":
        yield backend, errors()
        return
    for name in cpu.instruction_sets():
        with cpu.force_instruction_set(name):
            yield f"cpu, {name}", errors()


def scan_errors(backend: "Backend", device: str) -> tuple[float, float]:
    """Measure the relative error of a backend's selective scan: of its outputs, of its gradients."""
    import torch

    from mamba_mender.ops import selective_scan

    batch, channels, length, state = 2, 37, 67, 16  # no multiples of a vector or of a chunk
    u, delta, z = (torch.randn(batch, length, channels, device=device).mT for _ in range(3))
    B, C = (torch.randn(batch, length, state, device=device).mT for _ in range(2))
    A = -torch.rand(channels, state, device=device) - 0.1
    D, bias = torch.randn(channels, device=device), torch.rand(channels, device=device)
    inputs = [u, delta, A, B, C, D, z, bias]

    def run(tensors: "list[Tensor]", name: "Backend", reverse: bool) -> "tuple[Tensor, ...]":
        outputs = selective_scan(*tensors, delta_softplus=True, return_last_state=True, reverse=reverse, backend=name)
        return outputs[:1] if backend == "mamba_ssm" else outputs  # which has no gradient of the last state

    return _largest_errors(run, inputs, backend)


def conv_errors(backend: "Backend", device: str) -> tuple[float, float]:
    """Measure the relative error of a backend's convolution: of its output, of its gradients."""
    import torch

    from mamba_mender.ops import causal_conv1d

    x, weight = torch.randn(2, 67, 37, device=device).mT, torch.randn(37, 4, device=device)
    inputs = [x, weight, torch.randn(37, device=device)]

    def run(tensors: "list[Tensor]", name: "Backend", reverse: bool) -> "tuple[Tensor, ...]":
        return (causal_conv1d(*tensors, activation="silu", reverse=reverse, backend=name),)

    return _largest_errors(run, inputs, backend)


def _largest_errors(
    run: "Callable[..., tuple[Tensor, ...]]", inputs: "list[Tensor]", backend: "Backend"
) -> tuple[float, float]:
    """Compare a backend in float32 with the reference in float64, over both directions of time."""
    import torch

    forward, backward = [], []
    for reverse in (False, True):
        results = []
        for name, dtype in (("reference", torch.float64), (backend, torch.float32)):
            leaves = [tensor.detach().to(dtype).requires_grad_() for tensor in inputs]
            outputs = run(leaves, name, reverse)
            total = torch.stack([output.square().sum() for output in outputs]).sum()
            results.append((outputs, torch.autograd.grad(total, leaves)))
        (expected, expected_gradients), (actual, gradients) = results
        forward += map(_relative_error, actual, expected)
        backward += map(_relative_error, gradients, expected_gradients)
    return max(forward), max(backward)


def _relative_error(actual: "Tensor", expected: "Tensor") -> float:
    error = ((actual.double() - expected).abs().max() / expected.abs().max()).item()
    return error if error == error else float("inf")  # max() would lose a NaN


def facts() -> Table:
    """Tabulate what else decides how fast it is here: processor, instruction set, threads, versions."""
    import torch

    from mamba_mender.ops import cpu

    table = Table("", Column("", overflow="fold"), show_header=False, box=None)
    table.add_row("processor", f"{platform.machine()}; torch uses {torch.backends.cpu.get_cpu_capability()}")
    if cpu.is_built():
        lacking = ", ".join(cpu.lacking_instruction_sets())
        found = f"use {cpu.instruction_set()}, the first of {', '.join(cpu.instruction_sets())}"
        table.add_row("kernels", found + (f"; not on this processor: {lacking}" if lacking else ""))
    table.add_row("threads", f"{torch.get_num_threads()} (set OMP_NUM_THREADS to change)")
    if runtimes := openmp_runtimes():
        table.add_row("OpenMP", "\n".join(runtimes))
    versions = [f"mamba-mender {__version__}", f"Python {platform.python_version()}"]
    versions += [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    table.add_row("versions", ", ".join(versions))
    return table


def openmp_runtimes(maps: Path = Path("/proc/self/maps")) -> list[str]:
    """List the OpenMP libraries in this process's memory; empty where the system does not tell."""
    if not maps.is_file():
        return []
    return sorted(set(re.findall(r"/\S*lib(?:g|i|)omp[^/\s]*\.so\S*", maps.read_text())))
