"""A model whose states are guarded while it runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.repair.guard.config import GuardConfig
from mamba_mender.repair.guard.fault_law import FaultLaw
from mamba_mender.repair.guard.fault_watch import FaultWatch
from mamba_mender.repair.guard.health import WEIGHTS, false_alarm_weights
from mamba_mender.repair.guard.passage import Passage
from mamba_mender.repair.guard.site_guard import SiteGuard
from mamba_mender.repair.guard.site_law import SiteLaw
from mamba_mender.repair.guard.vigilance import Vigilance
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.places import Places
from mamba_mender.taps.record import refuse_compiled
from mamba_mender.taps.spot import Point, listen
from mamba_mender.taps.state_key import StateKey
from mamba_mender.taps.tap import Tap

Snapshot = dict[str, Tensor]


class GuardedModel(nn.Module):
    """Run a model, and repair its states where they are unhealthy.

    One forward pass is one pass through the model: each site judges the states that reach it, and a sample that was
    flagged is repaired there and at every later site. Samples that are not flagged are left as they are, to the bit
    (but where a scan's own output "s" is guarded: it is then computed apart from its gate, and rounds otherwise).
    What is remembered is in the state dict. While gradients are recorded, they flow through the statistics too.

    Args:
        model: the model; it is not changed, only listened to while it runs.
        laws: what is healthy at each site, by key, such as "embedding" or "2.h"; in the order of the model.
        config: the settings.
        faults: what tells a fault at these and further places, the layer before among them where a law speaks of it.

    Raises:
        ValueError: the model has no such site.
    """

    def __init__(
        self,
        model: nn.Module,
        laws: Mapping[str, SiteLaw],
        config: GuardConfig,
        *,
        faults: Mapping[str, FaultLaw] | None = None,
    ) -> None:
        super().__init__()
        faults = faults or {}
        self.model, self.config = model, config
        self.sites = nn.ModuleDict({_escape(key): SiteGuard(law, config) for key, law in laws.items()})
        self.watches = nn.ModuleDict(
            {_escape(k): FaultWatch(law, mend=config.mend_faults) for k, law in faults.items()}
        )
        self.vigilance, self.drift = Vigilance(config.alpha), None
        self._weights: tuple[list[float], Sequence[float]] = ([], WEIGHTS)
        if laws:
            self.drift = next(iter(laws.values())).drift()
            self._judge_by_laws()
        self.softness = 0.0
        self.keep_states = False
        self.last: Passage | None = None
        self.last_health: Tensor | None = None
        self._held = False
        self.register_load_state_dict_post_hook(_after_loading)
        site_places(model, {*laws, *faults})  # refuses sites that are not there

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model on its own arguments; gives what it gives.

        Raises:
            UserError: the batch, which is the first tensor of the arguments, has no sample.
        """
        refuse_compiled("GuardedModel", self.model)
        _refuse_empty(args, kwargs)
        places = site_places(self.model, [_unescape(key) for key in {**self.sites, **self.watches}])
        passage = Passage(self._weights[0], self.vigilance, self.drift, self._held, self.softness, self.keep_states)
        passage.measure_weights, passage.mends = self._weights[1], self.config.mend_faults
        with listen(_GuardTap(self, places, passage), places.spots()):
            out = self.model(*args, **kwargs)
        if not self._held and self.config.mode == "running":
            self._look_back(passage)
        passage.sent = passage.arrived = None  # states are large
        self.last = passage
        health = [report.health for report in passage.reports.values()]
        health += [1 / (1 + counts) for counts in passage.faults.values()]
        self.last_health = _least(health)
        return out

    def _judge_by_laws(self) -> None:
        """Take what a stream is judged by from the law of the first site."""
        law = next(iter(self.guards().values())).law
        count = law.gauge.scores.shape[1]
        self.vigilance.calibrated = count
        self._weights = false_alarm_weights(len(self.sites), count, self.config.alpha - law.rarity)
        if self.drift is not None:
            self.drift.judge_by(law.means, law.within, law.modes, float(law.drift_limit))

    def _look_back(self, passage: Passage) -> None:
        """Count the samples of a pass for what the stream is judged by."""
        over = False
        if passage.first is not None and passage.alarmed is not None:
            over = self.vigilance.count(passage.first, passage.alarmed)
        if self.drift is not None and passage.arrived is not None:
            if over:
                self.drift.reset()
            self.drift.count(passage.arrived)

    def _apply(self, fn: Any, recurse: bool = True) -> "GuardedModel":
        """Convert the model as asked, and the statistics too, but never to half precision."""
        self.model._apply(fn)
        for part in self.children():
            if part is not self.model:
                part._apply(lambda tensor: _not_halved(tensor, fn(tensor)))
                _forget_maps(part)
        return self

    def reset(self) -> None:
        """Forget everything learned along the stream."""
        for site in self.guards().values():
            site.remember(None)
        self.vigilance.reset()
        if self.drift is not None:
            self.drift.reset()
        self.last = self.last_health = None

    def snapshot(self) -> Snapshot:
        """Copy what is remembered, for :meth:`rollback`."""
        return {name: tensor.clone() for name, tensor in self._running().items()}

    def rollback(self, snapshot: Snapshot) -> None:
        """Go back to what was remembered at a snapshot."""
        for name, tensor in self._running().items():
            tensor.copy_(snapshot[name])
        for site in self.guards().values():
            site.forget_maps()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Leave what is remembered as it is while the block lasts; samples of a batch still inform each other."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def surrogate(self, softness: float = 0.5) -> "GuardedModel":
        """Give a smooth stand-in for gradient attacks: it shares the model and the memories, its gate is a sigmoid."""
        twin = GuardedModel(self.model, {}, self.config)
        twin.sites, twin.watches, twin.softness = self.sites, self.watches, softness
        twin.vigilance, twin.drift, twin._weights = self.vigilance, self.drift, self._weights
        twin._held = True
        return twin.train(self.training)

    def guards(self) -> dict[str, SiteGuard]:
        """List the sites by key."""
        return {_unescape(key): site for key, site in self.sites.items() if isinstance(site, SiteGuard)}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the last pass: it may hold a graph, which cannot be copied."""
        return self.__dict__ | {"last": None, "last_health": None}

    def extra_repr(self) -> str:
        changed = {k: v for k, v in self.config.to_dict().items() if v != GuardConfig().to_dict()[k]}
        return ", ".join(f"{k}={v!r}" for k, v in changed.items())

    def _running(self) -> Snapshot:
        return {
            n: b
            for n, b in self.named_buffers()
            if "memory_" in n or (n.startswith(("vigilance.", "drift.")) and "_whiteners" not in n)
        }


class _GuardTap(Tap):
    """Send each state that passes a guarded place through its site."""

    def __init__(self, guarded: GuardedModel, places: Places, passage: Passage) -> None:
        self._keys = {point.key: str(key) for key, point in places.points.items()}
        self._stream = {str(key) for key in places.points if key.state == "h"}
        self._guards, self._watches, self._passage = guarded.guards(), guarded.watches, passage

    def point(self, point: Point, value: Tensor) -> Tensor:
        with torch.autocast(value.device.type, enabled=False):  # statistics keep their precision
            return self._guard(point, value)

    def _guard(self, point: Point, value: Tensor) -> Tensor:
        key, passage, faults = self._keys[point.key], self._passage, None
        if _escape(key) in self._watches:
            value, faults = self._watches[_escape(key)](value, passage.sent)
        if key in self._guards:
            value = self._guards[key](value, passage, key, faults)
        elif faults is not None:
            passage.faults[key] = faults
        if key in self._stream:
            passage.sent = value
        return value


def site_places(model: nn.Module, keys: Any) -> Places:
    """Find the places of sites in a model.

    Raises:
        ValueError: the model has no such place.
    """
    found = find_places(model)
    wanted = [StateKey.parse(key) for key in keys]
    if lacking := [str(key) for key in wanted if key not in found.points]:
        raise ValueError(
            f"StateGuard: {type(model).__name__} has no state {lacking[0]!r}; it has {sorted(map(str, found.points))}."
        )
    points = {key: found.points[key] for key in wanted}
    modules = {point.module for point in points.values()}
    sites = {name: site for name, site in found.sites.items() if site.module in modules}
    return Places(sites, {name: found.keys[name] for name in sites}, points)


def _refuse_empty(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    batch = next((given for given in (*args, *kwargs.values()) if isinstance(given, Tensor)), None)
    if batch is not None and batch.shape[:1] == (0,):
        raise UserError(f"GuardedModel: the batch is empty, of shape {tuple(batch.shape)}; pass one sample or more.")


def _least(health: list[Tensor]) -> Tensor | None:
    if not health:
        return None
    out = health[0]
    for other in health[1:]:
        out = out.minimum(other)
    return out.detach()


def _after_loading(guarded: nn.Module, _keys: Any) -> None:
    """Follow the laws that came with a state dict: those of another calibration, it may be."""
    _forget_maps(guarded)
    if isinstance(guarded, GuardedModel) and len(guarded.sites):
        guarded._judge_by_laws()


def _forget_maps(guarded: nn.Module) -> None:
    for module in guarded.modules():
        if isinstance(module, SiteGuard):
            module.forget_maps()


def _not_halved(tensor: Tensor, converted: Tensor) -> Tensor:
    """Take what a tensor was converted to, or if that is half as precise, only its device."""
    return converted if converted.dtype.itemsize >= 4 or tensor.dtype.itemsize < 4 else tensor.to(converted.device)


def _escape(key: str) -> str:
    return key.replace(".", "_")


def _unescape(key: str) -> str:
    return key.replace("_", ".")
