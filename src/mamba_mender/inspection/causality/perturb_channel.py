"""Change one neuron, and see what the model then remembers and says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mamba_mender.inspection.dynamics.half_life import half_life
from mamba_mender.inspection.dynamics.memory_horizon import memory_horizon
from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.result import Result
from mamba_mender.taps import Edit, ScanRecord, edit, record


@dataclass(frozen=True)
class NeuronEffect(Result):
    """What a change of one channel does to the memory of each scan, and to the prediction.

    scans: names of the scans. block, channel, node: what was changed.
    half_life: tokens until a write has decayed to one half, at the mean step; the geometric mean over channels and
    coordinates, (scans, 2 for before and after, inputs).
    horizon: tokens until a write has decayed to one tenth, at the steps that really follow it; the mean over up to 64
    tokens, channels and coordinates, (scans, 2, inputs). A write that outlives the sequence counts to its end.
    logits: (2, inputs, classes).
    """

    node: str
    block: int
    channel: int
    scans: list[str]
    half_life: Tensor
    horizon: Tensor
    logits: Tensor

    @property
    def half_life_change(self) -> Tensor:
        """Relative change of the half-life, (scans, inputs): 0.1 is 10 % longer."""
        return self.half_life[:, 1] / self.half_life[:, 0] - 1

    @property
    def horizon_change(self) -> Tensor:
        """Change of the 90 % horizon, in tokens, (scans, inputs)."""
        return self.horizon[:, 1] - self.horizon[:, 0]

    @property
    def prediction_change(self) -> Tensor:
        """Distance of the class probabilities before and after, half their L1 distance, in 0..1, (inputs)."""
        before, after = self.logits.double().softmax(-1)
        return (after - before).abs().sum(-1) / 2


def perturb_channel(
    model: nn.Module,
    inputs: Tensor,
    channel: int,
    *,
    block: int,
    node: str = "h",
    value: float | Tensor | Callable[[Tensor], Tensor] = 0.0,
    direction: str = "",
    positions: Sequence[int] | None = None,
    mask: Tensor | None = None,
) -> NeuronEffect:
    """Change one channel of a state, run the model again, and compare memory and prediction.

    Args:
        model: any model that :func:`mamba_mender.taps.edit` takes.
        inputs: images or token numbers.
        channel: number of the neuron.
        block: block whose state is changed; -1 is the embedding.
        node: a node with channels, e.g. "h", "c" or "u".
        value: what it becomes: a number, or a function of what it was; 0 takes the neuron out.
        direction: "forward" or "backward"; "" means both.
        positions: None means everywhere.
        mask: True at real tokens, (batch, length).

    Returns:
        Half-life and 90 % horizon of every scan from that block on, and logits, each before and after.
    """
    change = Edit(node, value, blocks=[block], channels=[channel], direction=direction, positions=positions)
    life, reach, logits, names = [], [], [], []
    for edits in ([], [change]):
        with torch.no_grad(), edit(model, *edits), record(model, "h", prove=False) as run:
            logits.append(predict(model, inputs, mask=mask))
        scans = {name: scan for name, scan in run.scans.items() if scan.block >= block}
        if node != "decay":  # no other edit inside the recurrence changes how fast it forgets
            scans = {name: replace(scan, edits=()) for name, scan in scans.items()}
        names, memory = list(scans), [_memory(scan) for scan in scans.values()]
        life.append(torch.stack([half for half, _ in memory]))
        reach.append(torch.stack([tenth for _, tenth in memory]))
    return NeuronEffect(
        node, block, channel, names, torch.stack(life, 1), torch.stack(reach, 1), torch.stack(logits).detach()
    )


def _memory(scan: ScanRecord) -> tuple[Tensor, Tensor]:
    """Average half-life and 90 % horizon of a scan over what is not the input, (batch) each, in tokens."""
    life = half_life(scan, [0]).constant.log().flatten(1).mean(1).exp()
    found = memory_horizon(scan)
    places = torch.tensor(found.positions, device=scan.u.device)
    left = places if scan.reverse else scan.length - 1 - places  # tokens that follow each write
    lived = found.tokens.minimum(left.to(found.tokens.dtype)[:, None, None])  # keeps NaN at padding
    return life, lived.flatten(1).nanmean(1)
