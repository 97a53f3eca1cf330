"""Change that the step drives against change of the activation, over tokens and over layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord


@dataclass(frozen=True, eq=False)
class LayerChange(Result):
    """How fast the step and the activation change, over tokens in each scan and from scan to scan.

    scans: names of the scans, first to last.
    step_over_tokens: mean change of the step from token to token, relative to the mean step, (scans).
    activation_over_tokens: the same of the scan's input, (scans).
    step_over_layers: mean change of the step from a scan to the next, relative to the earlier mean; NaN where widths
        differ; (scans - 1).
    activation_over_layers: the same of the scan's input, (scans - 1).
    """

    scans: tuple[str, ...]
    step_over_tokens: Tensor
    activation_over_tokens: Tensor
    step_over_layers: Tensor
    activation_over_layers: Tensor


def layer_change(records: Sequence[ScanRecord]) -> LayerChange:
    r"""Set the change that the step drives beside the change of what is written.

    With norms over channels, means over inputs and real tokens t, and l the scan::

        step over tokens       = mean_t |delta_t - delta_t-1|_1 / mean_t |delta_t|_1
        activation over tokens = mean_t |u_t - u_t-1|_2 / mean_t |u_t|_2
        step over layers       = mean_t |delta_t^(l+1) - delta_t^l|_1 / mean_t |delta_t^l|_1
        activation over layers = mean_t |u_t^(l+1) - u_t^l|_2 / mean_t |u_t^l|_2

    All are 0 where nothing changes. Over tokens, a pair counts if both tokens are real. Independent values of one
    distribution give about 1.41 for the activation. Give scans of one direction: channels of different layers share
    only their number, so what is between layers says how much a layer's population differs, and no more.

    Args:
        records: scans of the same tokens in the order of their layers, at least one.

    Returns:
        The changes, in float64.

    Raises:
        ValueError: no scan was given, or they are not of the same tokens, or a recurrence was edited, or no input has
            two real tokens side by side.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8), ()) as run:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> changes = layer_change([scan for scan in run.scans.values() if scan.direction == "forward"])
        >>> len(changes.step_over_tokens) == 1 + len(changes.step_over_layers)
        True
    """
    if not records:
        raise ValueError("layer_change: needs at least one scan.")
    shapes = {record.name: (record.batch, record.length) for record in records}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"layer_change: scans must have the same batch and length, got {shapes}.")
    if edited := [record.name for record in records if record.edits]:
        raise ValueError(f"layer_change: the recurrences of {edited} were edited; record them without edits.")
    real = records[0].mask
    real = torch.ones(records[0].batch, records[0].length, dtype=torch.bool) if real is None else real.cpu()
    both = real[:, 1:] & real[:, :-1]
    if not both.any():
        raise ValueError("layer_change: no input has two real tokens side by side, so nothing changes over tokens.")
    tokens, layers, before = [], [], None
    with torch.no_grad():
        for record in records:
            now = record.step.detach().cpu(), record.u.detach().cpu()
            tokens.append(_relative([part[..., 1:] - part[..., :-1] for part in now], both, now, real))
            if before is not None:
                agree = before[1].shape == now[1].shape
                changed = [new - old for new, old in zip(now, before, strict=True)] if agree else None
                layers.append((torch.nan,) * 2 if changed is None else _relative(changed, real, before, real))
            before = now
    over_tokens = torch.tensor(tokens, dtype=torch.float64)
    over_layers = torch.tensor(layers, dtype=torch.float64).reshape(-1, 2)
    names = tuple(record.name for record in records)
    return LayerChange(names, *over_tokens.unbind(1), *over_layers.unbind(1))


def _relative(
    changes: Sequence[Tensor], changed: Tensor, values: Sequence[Tensor], real: Tensor
) -> tuple[float, float]:
    """Divide the mean size of a change by that of the values: of the step by sums, of the activation by lengths."""
    step, activation = (
        _mean_size(change, changed, power) / _mean_size(value, real, power)
        for change, value, power in zip(changes, values, (1, 2), strict=True)
    )
    return step, activation


def _mean_size(values: Tensor, real: Tensor, power: int) -> float:
    """Give the mean over real tokens of the norm over channels of (batch, channels, tokens)."""
    return torch.linalg.vector_norm(values, power, dim=1, dtype=torch.float64)[real].mean().item()
