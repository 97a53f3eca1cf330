"""A mixer of transformers or mamba_ssm, tapped where it calls its scan and its convolution."""

import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mamba_mender.ops import causal_conv1d, causal_conv1d_update, selective_state_update
from mamba_mender.taps.canonical import mamba1_call, mamba2_call, update_call
from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.eager import eager
from mamba_mender.taps.rebind import rebind
from mamba_mender.taps.scan_call import ScanCall
from mamba_mender.taps.spot import Point, Site

SCANS = ("mamba_selective_scan", "selective_scan_fn")
CHUNK_SCANS = ("mamba2_chunk_scan", "mamba_chunk_scan_combined")
UPDATES = ("mamba_selective_state_update", "mamba2_selective_state_update", "selective_state_update")
FUSED = ("mamba_inner_fn", "mamba2_split_conv1d_scan_combined")  # without these, a mixer takes its steps one by one
FLAGS = ("use_fast_path", "use_mem_eff_path")  # mamba_ssm's switches for the same


class ForeignSite(Site):
    """The scan of one mixer of another library.

    Args:
        mixer: the mixer.
    """

    def __init__(self, mixer: nn.Module) -> None:
        names = _called(mixer)
        self._heads = bool(names & set(CHUNK_SCANS))
        self._gated_norm = self._heads and bool(getattr(mixer, "mamba_rms_norm", getattr(mixer, "rmsnorm", True)))
        super().__init__(mixer, "scan", "xcs" if self._heads else "xczs")
        self._channels = int(_first(mixer, "intermediate_size", "d_ssm", "d_inner"))
        self._now = threading.local()

    def points(self) -> dict[str, Point]:
        own = super().points()
        return own | {"z": GatePoint(self.module, self._channels)} if self._heads else own

    def install(self) -> Callable[[], None]:
        self._now = threading.local()
        made = {name: self._wrap(self._scan1) for name in SCANS}
        made |= {name: self._wrap(self._scan2) for name in CHUNK_SCANS}
        made |= {name: self._wrap(self._update) for name in UPDATES}
        made |= {"causal_conv1d_fn": self._wrap(self._conv), "causal_conv1d_update": self._wrap(self._conv_update)}
        made |= {name: no_fusing for name in FUSED}
        undo = rebind(self.module, made, compiled=False)
        flags = {flag: getattr(self.module, flag) for flag in FLAGS if hasattr(self.module, flag)}
        projection_hook = self.module.get_submodule("in_proj").register_forward_hook(self._see_projection)
        for flag in flags:
            setattr(self.module, flag, False)

        def release() -> None:
            undo()
            projection_hook.remove()
            for flag, value in flags.items():
                setattr(self.module, flag, value)

        return release

    def _wrap(self, adapter: Callable[..., Any]) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            @eager
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return adapter(original, *args, **kwargs)

            return wrapper

        return make

    def _see_projection(self, _module: nn.Module, _inputs: Any, projected: Tensor) -> None:
        """Keep the number of new tokens, and Mamba-2's gate, which comes after the scan."""
        self._now.length = projected.shape[1]
        if self._heads:
            self._now.gate = gate_of(self.module, projected, self._channels).mT

    def _scan1(self, original, u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
               return_last_state=False, **rest):  # fmt: skip
        first = getattr(self._now, "channel", 0)  # Zamba scans its heads one by one
        call = mamba1_call(u, delta, A, B, C, D, z, delta_bias, delta_softplus, first_channel=first)

        def native(given: ScanCall) -> tuple[Tensor, Tensor]:
            if given.same_scan(call):
                return original(u, delta, A, B, C, D, None, delta_bias, delta_softplus, True, **rest)
            return given.scan()

        y, last = self._gated(call, native)
        self._advance(call)
        return (y, last.clone()) if return_last_state else y  # a cache changes its state in place

    def _scan2(self, original, x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, initial_states=None,
               dt_softplus=False, dt_limit=(0.0, float("inf")), return_final_states=False, **rest):  # fmt: skip
        start = getattr(self._now, "position", 0) if initial_states is not None else 0
        call = mamba2_call(
            x, dt, A, B, C, D, z, dt_bias, dt_softplus, dt_limit, initial_states, start=start,
            gated_norm=self._gated_norm,
        )  # fmt: skip
        rest |= {"D": D, "dt_bias": dt_bias, "initial_states": initial_states, "dt_softplus": dt_softplus}

        def native(given: ScanCall) -> tuple[Tensor, Tensor]:
            if given.same_scan(call):
                y, last = original(x, dt, A, B, C, chunk_size, dt_limit=dt_limit, return_final_states=True, **rest)
                return y.flatten(2).mT, last.flatten(1, 2)
            return given.scan()

        y, last = self._gated(call, native)
        self._advance(call)
        y = y.mT.reshape(x.shape)
        return (y, last.reshape(len(x), *x.shape[2:], B.shape[-1]).clone()) if return_final_states else y

    def _update(self, original, state, x, dt, A, B, C, D=None, z=None, dt_bias=None, dt_softplus=False, **rest):
        place = {"start": getattr(self._now, "position", 0), "first_channel": getattr(self._now, "channel", 0)}
        call = update_call(state, x, dt, A, B, C, D, z, dt_bias, dt_softplus, gated_norm=self._gated_norm, **place)
        update = selective_state_update if original is None else original

        def native(given: ScanCall) -> tuple[Tensor, Tensor]:
            if given.same_scan(call):
                y = update(state, x, dt, A, B, C, D, z=None, dt_bias=dt_bias, dt_softplus=dt_softplus, **rest)
                return y.flatten(1)[..., None], state.flatten(1, -2).clone()
            return given.scan()

        y, last = self._gated(call, native)
        state.copy_(last.reshape(state.shape))
        self._advance(call)
        return y.reshape(x.shape)

    def _conv(self, original, x, weight, bias=None, activation=None, **rest):
        length = getattr(self._now, "length", x.shape[-1])
        before, inputs = x[..., :-length], x[..., -length:]  # a cache puts what came before in front
        goes_on = bool(before.any())
        call = ConvCall(
            x=inputs,
            weight=weight,
            bias=bias,
            activation=_silu(activation),
            before=before[..., 1 - weight.shape[-1] :] if goes_on else None,
            start=getattr(self._now, "position", 0) if goes_on else 0,
        )

        def native(given: ConvCall) -> Tensor:
            whole = x if given.x is inputs else torch.cat([before, given.x], -1)
            if original is None:
                return causal_conv1d(whole, weight, bias, _silu(activation))[..., -length:]
            return original(whole, weight=weight, bias=bias, activation=activation, **rest)[..., -length:]

        return self.conv(call, native)

    def _conv_update(self, original, x, conv_state, weight, bias=None, activation=None, **rest):
        flat = x.dim() == 2
        inputs = x[..., None] if flat else x
        call = ConvCall(
            x=inputs,
            weight=weight,
            bias=bias,
            activation=_silu(activation),
            before=conv_state[..., 1 - weight.shape[-1] :].clone(),
            start=getattr(self._now, "position", 0),
        )
        update = causal_conv1d_update if original is None else original

        def native(given: ConvCall) -> Tensor:
            c = update(given.x[..., 0] if flat else given.x, conv_state, weight, bias, activation, **rest)
            return c[..., None] if flat else c

        c = self.conv(call, native)
        return c[..., 0] if flat else c

    def _gated(self, call: ScanCall, native: Callable[[ScanCall], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Run a scan and the gate that its function applies; show the taps a gate that comes later, too."""
        if self._heads and call.z is None:
            return self.scan(replace(call, z=self._now.gate), native, gated=False)
        return self.scan(call, native)

    def _advance(self, call: ScanCall) -> None:
        channel = call.first_channel + call.channels
        whole = channel >= self._channels
        self._now.channel = 0 if whole else channel
        if whole:
            self._now.position = call.start + call.length

    def _pass(self, letter: str, value: Tensor, first_channel: int = 0) -> Tensor:
        """Show the scanned channels; a convolution may hold B and C as well."""
        if value.shape[1] <= self._channels:
            return super()._pass(letter, value, first_channel)
        seen = value[:, : self._channels]
        shown = super()._pass(letter, seen)
        return value if shown is seen else torch.cat([shown, value[:, self._channels :]], 1)


class GatePoint(Point):
    """The gate z of a mixer whose gate is inside a norm, where the input projection leaves it."""

    def __init__(self, mixer: nn.Module, channels: int) -> None:
        super().__init__(mixer, "scan z")
        self._mixer, self._channels = mixer, channels

    def install(self) -> Callable[[], None]:
        def hook(_module: nn.Module, _inputs: Any, projected: Tensor) -> Tensor:
            scale = gate_scale(self._mixer, self._channels)
            gate = gate_of(self._mixer, projected, self._channels)
            shown = self(gate)
            if shown is gate:
                return projected
            return torch.cat([shown if scale is None else shown / scale, projected[..., self._channels :]], -1)

        return self._mixer.get_submodule("in_proj").register_forward_hook(hook, prepend=True).remove


def gate_scale(mixer: nn.Module, channels: int) -> Tensor | None:
    """Find what Falcon-H1 multiplies the projected gate by."""
    vector = getattr(mixer, "mup_vector", None)
    return None if vector is None else vector[..., :channels]


def gate_of(mixer: nn.Module, projected: Tensor, channels: int) -> Tensor:
    """Take the gate out of Mamba-2's projection, (batch, tokens, channels)."""
    scale = gate_scale(mixer, channels)
    convolved = mixer.get_parameter("conv1d.weight").shape[0]
    heads = mixer.get_parameter("A_log").shape[0]
    if projected.shape[-1] != channels + convolved + heads:
        raise RuntimeError(
            f"record: {type(mixer).__name__} projects to {projected.shape[-1]} numbers, not to gate, convolution and "
            f"steps ({channels} + {convolved} + {heads}); this layout is not known here, please report it."
        )
    gate = projected[..., :channels]
    return gate if scale is None else gate * scale


def _called(mixer: nn.Module) -> set[str]:
    """Find which scans a mixer's module knows."""
    return set(vars(sys.modules[type(mixer).__module__])) & {*SCANS, *CHUNK_SCANS}


def _first(mixer: nn.Module, *names: str) -> Any:
    return next(getattr(mixer, name) for name in names if getattr(mixer, name, None) is not None)


def no_fusing(_original: Any) -> Any:
    """Make what transformers calls where it has no fused kernel: it then takes its steps one by one."""
    return lambda *_args, **_kwargs: None


def _silu(activation: str | None) -> Literal["silu"] | None:
    if activation not in (None, "silu", "swish"):
        raise ValueError(f"record: the convolution's activation must be SiLU or none, got {activation!r}.")
    return None if activation is None else "silu"
