"""The Triton selective scan as three custom ops: forward, its backward, and the backward of that."""

from torch import Tensor

from mamba_mender.ops.gpu_memory import ScanMemory
from mamba_mender.ops.scan_ops import Inputs, Settings, scan_ops


def _run_forward(inputs: Inputs, settings: Settings, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, the last state, and (when asked) the states saved for the backward pass."""
    u, scan = inputs[0], ScanMemory(inputs, *settings)
    y, last, saved = scan.sequence(u), scan.last(), scan.saved(save)
    scan.run("scan_forward", _pairs(scan.sources(inputs)), scan.source(y), last, (saved, None) if save else None)
    return scan.joined(y, u), last, saved


def _fake_forward(inputs, settings, save):
    u, scan = inputs[0], ScanMemory(inputs, *settings)
    return scan.joined(scan.sequence(u), u), scan.last(), scan.saved(save)


def _run_backward(
    grad_y: Tensor, grad_last: Tensor | None, saved: Tensor, inputs: Inputs, settings: Settings
) -> tuple[Tensor, ...]:
    """Return the gradients of the nine inputs; an input that is missing gets an empty one."""
    if saved.numel() == 0:
        _, _, saved = _run_forward(inputs, settings, True)
    scan = ScanMemory(inputs, *settings)
    gradients = scan.gradients(inputs)
    grad_last = None if grad_last is None else grad_last.contiguous()
    pairs, out = _pairs(scan.sources(inputs)), scan.gradient_sources(gradients)
    scan.run("scan_backward", pairs, scan.shared_source(grad_y), grad_last, (saved, None), (scan.scratch(), None), out)
    return scan.finish(gradients, inputs)


def _fake_backward(grad_y, grad_last, saved, inputs, settings):
    scan = ScanMemory(inputs, *settings)
    return scan.finish(scan.gradients(inputs), inputs)


def _run_second(
    tangents: Inputs, grad_y: Tensor, grad_last: Tensor | None, inputs: Inputs, settings: Settings
) -> tuple[Tensor, ...]:
    """Return the gradients of <tangents, scan_backward(grad_y, grad_last, inputs)>.

    For grad_y and grad_last that is the derivative of the forward pass along the tangents; for the
    inputs, the derivative of the backward pass along them. Both kernels run on dual numbers.
    """
    u, scan = inputs[0], ScanMemory(inputs, *settings)
    slopes = [_or_zeros(t, x) for t, x in zip(tangents, inputs, strict=True)]
    pairs = _pairs(scan.sources(inputs), scan.sources(slopes))
    y, last, saved = scan.sequence(u), scan.last(), (scan.saved(), scan.saved())
    scan.run("scan_forward", pairs, scan.source(y), last, saved)
    gradients, scratch = scan.gradients(inputs), (scan.scratch(), scan.scratch())
    grad_last = None if grad_last is None else grad_last.contiguous()
    out = scan.gradient_sources(gradients)
    scan.run("scan_backward", pairs, scan.shared_source(grad_y), grad_last, saved, scratch, out)
    return (scan.joined(y, u), last, *scan.finish(gradients, inputs))


def _fake_second(tangents, grad_y, grad_last, inputs, settings):
    u, scan = inputs[0], ScanMemory(inputs, *settings)
    return (scan.joined(scan.sequence(u), u), scan.last(), *scan.finish(scan.gradients(inputs), inputs))


def _or_zeros(tangent: Tensor | None, like: Tensor | None) -> Tensor | None:
    """Take zeros for a tangent that is missing; those of a sequence take no memory."""
    if tangent is not None or like is None:
        return tangent
    return like.new_zeros(()).expand(like.shape)


def _pairs(values: list, slopes: list | None = None) -> tuple:
    """Join the sources of inputs and of their tangents."""
    slopes = slopes or [None] * len(values)
    return tuple(None if value is None else (value, slope) for value, slope in zip(values, slopes, strict=True))


OPS = scan_ops(
    "mamba_mender::gpu_scan",
    "Triton",
    forward=(_run_forward, _fake_forward),
    backward=(_run_backward, _fake_backward),
    second=(_run_second, _fake_second),
    device=("cpu", "cuda"),  # on the CPU only by Triton's interpreter
)
selective_scan, cross_selective_scan = OPS.selective_scan, OPS.cross_selective_scan
