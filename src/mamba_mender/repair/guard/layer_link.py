"""The Hebbian correlation between a layer and the one before it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

TINY = 1e-30  # variance that stands for none


@dataclass(frozen=True)
class LayerLink:
    """Second moments of what one layer sends on and of what arrives at the next, token by token.

    Both about their healthy means: activity that is the same in every healthy sample says nothing.

    before: healthy mean of what is sent on, (tokens, channels before) or (1, channels before).
    cross: E[(v - before) (u - centre)^T], (channels before, channels).
    sent: E[(v - before)^2], (channels before,).
    arrived: E[(u - centre)^2], (channels,).
    """

    before: Tensor
    cross: Tensor
    sent: Tensor
    arrived: Tensor

    @property
    def correlation(self) -> Tensor:
        """Correlation of each channel before with each channel, in [-1, 1], (channels before, channels)."""
        scale = (self.sent.clamp_min(TINY)[:, None] * self.arrived.clamp_min(TINY)).sqrt()
        return (self.cross / scale).clamp(-1, 1)

    def learned(self, other: "LayerLink", rate: float) -> "LayerLink":
        """Move towards the moments of new samples, by a share of the way."""
        moved = [torch.lerp(getattr(self, name), getattr(other, name), rate) for name in ("cross", "sent", "arrived")]
        return LayerLink(self.before, *moved)

    def tensors(self) -> dict[str, Tensor]:
        """List the tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def link_of(sent: Tensor, states: Tensor, *, before: Tensor, centre: Tensor) -> LayerLink:
    """Measure the moments of samples.

    Args:
        sent: what the layer before sent on, (samples, tokens, channels before).
        states: what arrives, (samples, tokens, channels).
        before, centre: their healthy means.

    Example:
        >>> sent = torch.tensor([[[1.0], [-1.0]]])
        >>> link_of(sent, -2 * sent, before=torch.zeros(1, 1), centre=torch.zeros(1, 1)).correlation.item()
        -1.0
    """
    v, u = (sent.to(states.dtype) - before).flatten(0, 1), (states - centre).flatten(0, 1)
    return LayerLink(before, v.mT @ u / len(u), v.square().mean(0), u.square().mean(0))


def measure_links(
    healthy: Iterable[dict[str, Tensor]], befores: Mapping[str, str | None], centres: dict[str, Tensor]
) -> dict[str, LayerLink]:
    """Measure how each place of a model goes together with the place before it, where tokens are the same.

    Args:
        healthy: states of samples, by place, batch by batch, each (samples, tokens, channels).
        befores: the place before each place; None where there is none.
        centres: healthy means by place.

    Returns:
        Links by the later place, in float64.
    """
    sums: dict[str, LayerLink] = {}
    count = 0
    for states in healthy:
        size = len(next(iter(states.values())))
        count += size
        for key, before in befores.items():
            if before is None or states[before].shape[1] != states[key].shape[1]:
                continue  # nothing is before, or tokens were merged in between
            means = {"before": centres[before].double(), "centre": centres[key].double()}
            new = link_of(states[before].double(), states[key].double(), **means)
            sums[key] = sums[key].learned(new, size / count) if key in sums else new
    return sums
