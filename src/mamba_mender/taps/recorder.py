"""The tap that keeps what it sees."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from mamba_mender.taps.conv_call import ConvCall
from mamba_mender.taps.places import Places
from mamba_mender.taps.run import Run
from mamba_mender.taps.scan_call import ScanCall
from mamba_mender.taps.scan_record import ScanRecord
from mamba_mender.taps.spot import Point, Site
from mamba_mender.taps.state_key import StateKey
from mamba_mender.taps.tap import RunConv, RunScan, Tap


class Recorder(Tap):
    """Keep each state and each scan of a forward pass, and of the steps of decoding that continue it.

    It comes after the taps that edit, so that it sees what the model computes with.

    Args:
        run: what to fill.
        places: where it listens; their names and keys name what is kept.
        scans: whether to keep a :class:`ScanRecord` of each scan.
    """

    order = 1

    def __init__(self, run: Run, places: Places, *, scans: bool) -> None:
        self._run = run
        self._scans = scans
        self._names: Mapping[tuple, str] = {site.key: name for name, site in places.sites.items()}
        self._keys: Mapping[tuple, StateKey] = {point.key: key for key, point in places.points.items()}
        self._places = places
        self._convolutions: dict[str, ConvCall] = {}

    def conv(self, site: Site, call: ConvCall, run: RunConv) -> Tensor:
        if self._scans:
            self._convolutions[self._names[site.key]] = call
        return run(call)

    def scan(self, site: Site, call: ScanCall, run: RunScan) -> tuple[Tensor, Tensor]:
        y, last = run(call)
        if self._scans:
            name = self._names[site.key]
            key = self._places.keys[name]
            given = {field: getattr(call, field) for field in call.__dataclass_fields__}
            conv = _scanned(self._convolutions.get(name), call)
            record = ScanRecord(
                name=name, block=key.block, direction=key.direction, y=y, last_state=last, conv=conv, **given
            )
            self._run.add_scan(record)
        return y, last

    def point(self, point: Point, value: Tensor) -> Tensor:
        return self._run.add_state(self._keys[point.key], value, head=point.first_channel > 0)


def _scanned(conv: ConvCall | None, call: ScanCall) -> ConvCall | None:
    """Keep of a convolution the channels that a scan reads; Mamba-2's holds B and C as well."""
    if conv is None:
        return None
    own = slice(call.first_channel, call.first_channel + call.channels)
    return replace(
        conv,
        x=conv.x[:, own],
        weight=conv.weight[own],
        bias=None if conv.bias is None else conv.bias[own],
        before=None if conv.before is None else conv.before[:, own],
    )
