"""What listens at the scans of a model: the one interface of recording, editing and attribution."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.scan_call import ScanCall

if TYPE_CHECKING:
    from mamba_mender.taps.spot import Point, Site

RunConv = Callable[[ConvCall], Tensor]
RunScan = Callable[[ScanCall], tuple[Tensor, Tensor]]
RunGate = Callable[[Tensor, Tensor | None], Tensor]


class Tap:
    """Pass everything on untouched; a subclass overrides what it wants to see or change.

    While a tap is attached, each scan of the model goes through ``conv``, ``scan`` and ``gate``, and each state
    through ``point``. Taps are chained: ``run`` goes on to the next one and at last to what the model itself does.
    Those of lower ``order`` see a call first, so that what they change is what the others see.
    """

    order = 0

    def conv(self, site: "Site", call: ConvCall, run: RunConv) -> Tensor:
        """See a short convolution. Returns (batch, channels, length), after its activation."""
        return run(call)

    def scan(self, site: "Site", call: ScanCall, run: RunScan) -> tuple[Tensor, Tensor]:
        """See a scan. Returns s before the gate, (batch, channels, length), and the last state."""
        return run(call)

    def gate(self, site: "Site", s: Tensor, z: Tensor | None, run: RunGate) -> Tensor:
        """See the gate, s * silu(z); both (batch, channels, length)."""
        return run(s, z)

    def point(self, point: "Point", value: Tensor) -> Tensor:
        """See a state, (batch, tokens, channels). Returns what the model goes on with."""
        return value
