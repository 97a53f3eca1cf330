"""Every place of one model where a tap can listen, by name."""

from collections.abc import Collection
from dataclasses import dataclass, field

from mamba_mender._check import nearest
from mamba_mender.taps.spot import Point, Site, Spot
from mamba_mender.taps.state_key import STATES, StateKey


@dataclass(frozen=True)
class Places:
    """List where taps can listen in a model.

    sites: a scan's name to its site.
    keys: a scan's name to the key of the state s that it computes.
    points: the key of a state to the point where it passes.
    """

    sites: dict[str, Site] = field(default_factory=dict)
    keys: dict[str, StateKey] = field(default_factory=dict)
    points: dict[StateKey, Point] = field(default_factory=dict)

    def add_site(self, name: str, key: StateKey, site: Site) -> None:
        self.sites[name], self.keys[name] = site, key
        for letter, point in site.points().items():
            self.add_point(key._replace(state=letter), point)

    def add_point(self, key: StateKey, point: Point) -> None:
        if key in self.points:
            raise ValueError(f"record: two state points of the model are both {str(key)!r}; give each its own name.")
        self.points[key] = point

    def blocks(self) -> list[int]:
        """List the numbers of the blocks, -1 for the embedding."""
        return sorted({key.block for key in [*self.points, *self.keys.values()]})

    def wanted(
        self, where: str, kind: str, states: Collection[str], blocks: Collection[int] | None, *, sites: bool
    ) -> "Places":
        """Keep the places of some blocks and the points of some states, and the sites if asked or if points need them.

        Raises:
            ValueError: a state or block is unknown, or nothing is left.
        """
        self._check(where, kind, states, blocks)
        inside = {key for key in [*self.points, *self.keys.values()] if blocks is None or key.block in blocks}
        points = {key: point for key, point in self.points.items() if key in inside and key.state in states}
        kept = {
            name: site
            for name, site in self.sites.items()
            if self.keys[name] in inside and (sites or any(p.module is site.module for p in points.values()))
        }
        if not points and not kept:
            raise ValueError(f"{where}: blocks {sorted(blocks or self.blocks())} have no state {sorted(states)}.")
        return Places(kept, {name: self.keys[name] for name in kept}, points)

    def spots(self) -> list[Spot]:
        return [*self.sites.values(), *self.points.values()]

    def _check(self, where: str, kind: str, states: Collection[str], blocks: Collection[int] | None) -> None:
        for state in states:
            if state not in STATES:
                raise ValueError(f"{where}: no state {state!r}; {nearest(state, STATES)}.")
        known = self.blocks()
        if not known:
            raise ValueError(
                f"{where}: {kind} has no state to record; pass a model of mamba_mender, one of transformers' Mamba "
                "families, or one with mamba_ssm's layers."
            )
        if unknown := sorted(set(blocks or ()) - set(known)):
            raise ValueError(f"{where}: no block {unknown}; the model has blocks {known} (-1 is the embedding).")
