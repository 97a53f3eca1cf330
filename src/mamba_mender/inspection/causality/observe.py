"""The value of any node of an edit, and the gradient of a metric by it, through the very taps that edits use."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.metric import Metric
from mamba_mender.inspection.predict import predict
from mamba_mender.taps import NODES, Edit, StateKey, edit
from mamba_mender.taps.edit import RECURRENCE
from mamba_mender.taps.find_places import find_places

WHOLE = ("y", "h")  # states of a whole block, not of one direction


@dataclass(frozen=True)
class Observed:
    """What a model computed at one node.

    values: place to what is there, in the axes of :class:`mamba_mender.taps.Edit`'s table, with all positions that
        were asked for; for decay, write, state and readout (batch, positions, channels, coordinates).
    gradients: place to d(sum of the metric) / d(value), in the same axes; empty without a metric.
    metric: the metric, (batch), or None.
    logits: (batch, classes).
    """

    values: dict[StateKey, Tensor]
    gradients: dict[StateKey, Tensor]
    metric: Tensor | None
    logits: Tensor


@dataclass
class _Probe:
    """Pass a node on, with zeros added that a gradient can be taken by; heads and positions come one by one."""

    positions: int
    stepwise: bool
    differentiate: bool
    parts: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)

    def __call__(self, selected: Tensor) -> Tensor:
        zeros = torch.zeros_like(selected, requires_grad=True) if self.differentiate else None
        self.parts.append((selected.detach(), zeros))
        return selected if zeros is None else selected + zeros

    def join(self, parts: Sequence[Tensor], *, backwards: bool, channel_axis: int) -> Tensor:
        if not self.stepwise:
            return torch.cat(list(parts), channel_axis)
        heads = [parts[i : i + self.positions] for i in range(0, len(parts), self.positions)]
        steps = [torch.stack(list(reversed(head)) if backwards else list(head), 1) for head in heads]
        return torch.cat(steps, 2)


def places_of(
    model: nn.Module, node: str, *, blocks: Collection[int] | None = None, direction: str = ""
) -> list[StateKey]:
    """List where a node is in a model; a node of the scan or convolution is named by the state s of its scan.

    Args:
        model: the model.
        node: one of :data:`mamba_mender.taps.NODES`.
        blocks: None means all. The embedding, -1, has to be named.
        direction: "forward", "backward", or "" for both.

    Raises:
        ValueError: the node is unknown, or is nowhere.
    """
    if node not in NODES:
        raise ValueError(f"places_of: no node {node!r}; it must be one of {list(NODES)}.")
    places = find_places(model)
    states = {key.state for key in places.points}
    keys = [key for key in places.points if key.state == node] if node in states else list(places.keys.values())
    found = [
        key
        for key in keys
        if (key.block in blocks if blocks is not None else key.block >= 0) and direction in ("", key.direction)
    ]
    lacking = sorted(set(blocks or ()) - {key.block for key in found})
    if not found or lacking:
        raise ValueError(
            f"places_of: {type(model).__name__} has no {node!r} at blocks {lacking or blocks} and direction "
            f"{direction!r}; it has it at {[str(key) for key in keys]}."
        )
    return sorted(found)


def observe(
    model: nn.Module,
    inputs: Tensor,
    node: str,
    places: Sequence[StateKey],
    *,
    positions: Sequence[int] | None = None,
    metric: Metric | None = None,
    mask: Tensor | None = None,
    under: Sequence[Edit] = (),
) -> Observed:
    """Run a model and keep the values of a node, and the gradients of a metric by them.

    Every gradient is by the node alone: what else was computed from the same tensor does not count, as in the edit.

    Args:
        model: the model.
        inputs: images or token numbers, as :func:`mamba_mender.inspection.predict.predict` takes them.
        node: one of :data:`mamba_mender.taps.NODES`.
        places: where, from :func:`places_of`.
        positions: rising; None means all.
        metric: what to differentiate; None for values only.
        mask: True at real tokens, (batch, length).
        under: edits that are in force meanwhile.

    Returns:
        Values and gradients.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8).eval()
        >>> seen = observe(model, torch.zeros(1, 3, 8, 8), "state", places_of(model, "state", blocks=[0]))
        >>> seen.values[StateKey(0, "s", "forward")].shape  # (batch, positions, channels, coordinates)
        torch.Size([1, 4, 64, 8])
    """
    length = length_of(model, inputs, mask=mask) if positions is None else 0
    wanted = list(range(length)) if positions is None else list(positions)
    stepwise = node in RECURRENCE
    probes = {place: _Probe(len(wanted), stepwise, metric is not None) for place in places}
    edits = [
        Edit(node, probe, blocks=[place.block], direction=place.direction, positions=wanted)
        for place, probe in probes.items()
    ]
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(metric is not None))
        stack.enter_context(edit(model, *under, *edits))
        logits = predict(model, inputs, mask=mask)
        measured = None if metric is None else metric(logits)
    gradients = {} if measured is None else _gradients(measured, node, probes)
    values = {
        place: _joined(node, place, probe, [value for value, _ in probe.parts]) for place, probe in probes.items()
    }
    return Observed(values, gradients, None if measured is None else measured.detach(), logits.detach())


def length_of(model: nn.Module, inputs: Tensor, *, mask: Tensor | None = None) -> int:
    """Count the tokens that a model makes of its inputs."""
    if not inputs.is_floating_point() and inputs.dim() == 2:
        return inputs.shape[1]
    sizes: list[int] = []

    def see(h: Tensor) -> Tensor:
        sizes.append(h.shape[1])
        return h

    with torch.no_grad(), edit(model, Edit("h", see, blocks=[max(k.block for k in places_of(model, "h"))])):
        predict(model, inputs[:1], mask=None if mask is None else mask[:1])
    return sizes[0]


def _gradients(measured: Tensor, node: str, probes: dict[StateKey, _Probe]) -> dict[StateKey, Tensor]:
    zeros = [z for probe in probes.values() for _, z in probe.parts if z is not None]
    found = iter(torch.autograd.grad(measured.sum(), zeros, allow_unused=True, materialize_grads=True))
    return {place: _joined(node, place, probe, [next(found) for _ in probe.parts]) for place, probe in probes.items()}


def _joined(node: str, place: StateKey, probe: _Probe, parts: list[Tensor]) -> Tensor:
    axis = 1 if node in ("u", "delta", "gate", "B", "C") else -1
    return probe.join(parts, backwards=place.direction == "backward", channel_axis=axis)
