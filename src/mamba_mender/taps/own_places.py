"""Where taps listen in a model of this package."""

from collections.abc import Callable

from torch import Tensor, nn

from mamba_mender.nn.causal_conv import CausalConv1d, ConvInputs
from mamba_mender.nn.scan import Scan, ScanInputs
from mamba_mender.nn.state_point import StatePoint
from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.eager import eager
from mamba_mender.taps.places import Places
from mamba_mender.taps.scan_call import ScanCall
from mamba_mender.taps.spot import Point, Site
from mamba_mender.taps.state_key import StateKey, block_of


def own_places(model: nn.Module) -> Places:
    """Find the scans and state points of a model of this package; none in any other model.

    Raises:
        ValueError: two state points have one name.
    """
    places = Places()
    for name, module in model.named_modules():
        if isinstance(module, Scan):
            direction = "backward" if module.reverse else "forward"
            site = OwnSite(module, _convolution(model, name, module))
            places.add_site(name, StateKey(block_of(name), "s", direction), site)
        elif isinstance(module, StatePoint):
            places.add_point(StateKey(block_of(name), module.state, module.direction), OwnPoint(module, "state"))
    return places


class OwnPoint(Point):
    """A :class:`mamba_mender.nn.StatePoint`."""

    def install(self) -> Callable[[], None]:
        @eager
        def hook(_module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> Tensor:
            return self(output)

        return self.module.register_forward_hook(hook).remove


class OwnSite(Site):
    """A :class:`mamba_mender.nn.Scan` and the convolution before it."""

    def __init__(self, scan: Scan, convolution: CausalConv1d | None) -> None:
        super().__init__(scan, "scan", "s")
        self._scan, self._convolution = scan, convolution

    def install(self) -> Callable[[], None]:
        @eager
        def tap_scan(inputs: ScanInputs) -> Tensor:
            return self.scan(_scan_call(inputs), ScanCall.scan)[0]

        @eager
        def tap_conv(inputs: ConvInputs) -> Tensor:
            call = ConvCall(
                x=inputs.x,
                weight=inputs.weight,
                bias=inputs.bias,
                activation="silu",
                reverse=inputs.reverse,
            )
            return self.conv(call, ConvCall.convolve)

        self._scan.tap = tap_scan
        if self._convolution is not None:
            self._convolution.tap = tap_conv
        return self._release

    def _release(self) -> None:
        self._scan.tap = None
        if self._convolution is not None:
            self._convolution.tap = None


def _convolution(model: nn.Module, name: str, scan: Scan) -> CausalConv1d | None:
    """Find the convolution before a scan: the one of its direction in the same mixer."""
    mixer = model.get_submodule(name.rpartition(".")[0])
    found = [child for child in mixer.children() if isinstance(child, CausalConv1d) and child.reverse == scan.reverse]
    return found[0] if len(found) == 1 else None


def _scan_call(inputs: ScanInputs) -> ScanCall:
    B, C = (_grouped(t, inputs.u) for t in (inputs.B, inputs.C))
    return ScanCall(
        u=inputs.u,
        delta=inputs.delta,
        A=inputs.A,
        B=B,
        C=C,
        D=inputs.D,
        z=inputs.z,
        delta_bias=inputs.delta_bias,
        delta_softplus=inputs.delta_softplus,
        reverse=inputs.reverse,
    )


def _grouped(matrix: Tensor, u: Tensor) -> Tensor:
    """See B or C as (batch, groups, state, length), without a copy."""
    if matrix.dim() == 2:  # constant, (channels, state)
        return matrix[None, :, :, None].expand(len(u), -1, -1, u.shape[-1])
    return matrix.unsqueeze(1) if matrix.dim() == 3 else matrix
