"""Let another library's Mamba run on our kernels."""

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import Tensor, nn

from mamba_mender.ops import causal_conv1d, selective_scan, selective_state_update
from mamba_mender.ops.linear import linear
from mamba_mender.taps.foreign_places import is_mixer
from mamba_mender.taps.foreign_site import FUSED, SCANS, UPDATES, no_fusing
from mamba_mender.taps.rebind import calls, rebind

_SWAPPED = "_mamba_mender_swapped"  # what a mixer holds of its own while it runs on our kernels


def accelerate_model(model: nn.Module) -> list[str]:
    """Swap the scan of another library's Mamba for ours, in place.

    The mixers of Mamba, FalconMamba, Jamba and Zamba in transformers, and of ``mamba_ssm``, then call
    :func:`mamba_mender.ops.selective_scan`, :func:`mamba_mender.ops.causal_conv1d` and
    :func:`mamba_mender.ops.selective_state_update`, in prefill, decoding and training, on a CPU as well as on a GPU;
    and the model's linear layers multiply by whichever of torch's libraries is faster on this processor.
    The logits stay the same within rounding; parameters, caches and everything else are untouched.
    :func:`restore_model` undoes it.

    Args:
        model: the model.

    Returns:
        The names of the mixers that changed.

    Raises:
        ValueError: the model has no such mixer. Mamba-2's scan is a different one, and stays as it is.

    Example:
        >>> accelerate_model(nn.Linear(2, 2))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: accelerate_model: Linear has no mixer with Mamba's selective scan; it takes transformers' Mamba, ...
    """
    mixers = {name: mixer for name, mixer in model.named_modules() if is_mixer(mixer) and _scans_channels(mixer)}
    if not mixers:
        raise ValueError(
            f"accelerate_model: {type(model).__name__} has no mixer with Mamba's selective scan; it takes "
            "transformers' Mamba, FalconMamba, Jamba and Zamba, and mamba_ssm's Mamba layers."
        )
    for mixer in mixers.values():
        if _SWAPPED not in mixer.__dict__:
            _swap(mixer)
    for layer in model.modules():
        if type(layer) is nn.Linear and "forward" not in layer.__dict__:
            layer.forward = MethodType(_linear, layer)
            layer.__dict__[_SWAPPED] = {"methods": ["forward"], "fast_path": None}
    return list(mixers)


def restore_model(model: nn.Module) -> None:
    """Give back the scans that :func:`accelerate_model` took; a model that it never saw stays as it is."""
    for module in model.modules():
        before = module.__dict__.pop(_SWAPPED, None)
        if before is not None:
            for method in before["methods"]:
                delattr(module, method)
            if before["fast_path"] is not None:
                module.__dict__["use_fast_path"] = before["fast_path"]


def _scans_channels(mixer: nn.Module) -> bool:
    return calls(type(mixer).forward, set(SCANS))


def _swap(mixer: nn.Module) -> None:
    made: dict[str, Callable[[Any], Any]] = {name: lambda _original: _scan for name in SCANS}
    made |= {name: lambda _original: _update for name in UPDATES}
    made |= {"causal_conv1d_fn": lambda _original: _conv}
    made |= {name: no_fusing for name in FUSED}
    own = set(mixer.__dict__)
    rebind(mixer, made)
    fast_path = getattr(mixer, "use_fast_path", None)  # mamba_ssm's way around the scan
    mixer.__dict__[_SWAPPED] = {"methods": sorted(set(mixer.__dict__) - own), "fast_path": fast_path}
    if fast_path is not None:
        mixer.__dict__["use_fast_path"] = False


def _linear(layer: nn.Linear, input: Tensor) -> Tensor:
    product = linear(input, layer.weight)
    return product if layer.bias is None else product + layer.bias


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **_switches: Any,  # transformers' choice among its own ways to scan
) -> Any:
    y, last = selective_scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state=True)
    return (y, last) if return_last_state else y


def _update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    **_switches: Any,
) -> Tensor:
    return selective_state_update(state, x, dt, A, B, C, D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus)


def _conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None, **_switches: Any
) -> Tensor:
    return causal_conv1d(x, weight, bias, "silu" if activation in ("silu", "swish") else None)
