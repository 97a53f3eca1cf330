"""How a small push of one state grows or dies out in the blocks after it."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mamba_mender.inspection.evolution.depth_states import depth_states
from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.result import Result
from mamba_mender.taps import Edit, edit, record


@dataclass(frozen=True, eq=False)
class PerturbationGrowth(Result):
    """How a small push of the residual stream goes on through the model.

    blocks: the blocks whose output is compared, the pushed one first; -1 is the embedding, int64, (depth).
    growth: log of the size of the push after each block over its size at first, mean over directions,
        (batch, depth); 0 at the pushed block.
    exponent: growth per block, growth at the last block / blocks passed, (batch).
    spread: share of the push's squared size that each token has, mean over directions, (batch, depth, tokens).
    curvature: |D(e) - 2 D(e / 2)| / |D(e)| at the last block, mean over directions: near 0 the model is linear over
        the push, and growth does not depend on its size, (batch).
    """

    blocks: Tensor
    growth: Tensor
    exponent: Tensor
    spread: Tensor
    curvature: Tensor


@torch.no_grad()
def perturbation_growth(
    model: nn.Module,
    inputs: Tensor,
    *,
    block: int = -1,
    positions: Collection[int] | None = None,
    size: float = 1e-3,
    directions: int = 4,
    mask: Tensor | None = None,
    seed: int = 0,
) -> PerturbationGrowth:
    r"""Push the state h of a block in random directions, run the model again, and follow the push.

    With D_l the change of h_l that a push D_b of h_b leads to, growth is log(|D_l| / |D_b|), over all tokens and
    channels. Per block it is a finite-time Lyapunov exponent: below 0 pushes die out, above 0 they grow.

    Args:
        model: any model that ``record`` and ``edit`` take.
        inputs: images or token numbers.
        block: whose h is pushed; -1 is the embedding.
        positions: the tokens that are pushed; None pushes all.
        size: of the push, as a share of |h_b| at the pushed tokens.
        directions: how many random directions.
        mask: True at real tokens, (batch, tokens); None where nothing is padded. Padding counts as nothing.
        seed: of the directions.

    Returns:
        The growth of the push after each block.

    Raises:
        ValueError: size or directions is not above 0, the block is the last, or the pushed state is 0.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model = create_model("vim_micro", num_classes=3, img_size=8).eval()
        >>> perturbation_growth(model, torch.rand(2, 3, 8, 8)).growth[:, 0].tolist()
        [0.0, 0.0]

    Source: Benettin et al., "Lyapunov characteristic exponents" (Meccanica 15, 1980), over depth instead of time.
    """
    if size <= 0 or directions < 1:
        raise ValueError(f"perturbation_growth: size and directions must be above 0, got {size} and {directions}.")
    blocks, clean = _run(model, inputs, mask)
    if block not in blocks[:-1]:
        raise ValueError(f"perturbation_growth: block must be one of {blocks[:-1]}, got {block}.")
    start = blocks.index(block)
    blocks, clean = blocks[start:], clean[start:]
    draw = torch.Generator().manual_seed(seed)
    pushes = [_push(clean[0], positions, size, mask, draw) for _ in range(directions)]
    growth, spread, curvature = [], [], []
    for push in pushes:
        whole = [a - b for a, b in zip(_run(model, inputs, mask, block, push)[1][start:], clean, strict=True)]
        half = _run(model, inputs, mask, block, push / 2)[1][-1] - clean[-1]
        shares = torch.stack([change.square().sum(-1) for change in whole], dim=1)
        total = shares.sum(-1)
        growth.append(0.5 * (total / total[:, :1]).log())
        spread.append(shares / total[..., None])
        curvature.append((whole[-1] - 2 * half).flatten(1).norm(dim=1) / whole[-1].flatten(1).norm(dim=1))
    mean = torch.stack(growth).mean(0)
    return PerturbationGrowth(
        blocks=torch.tensor(blocks),
        growth=mean,
        exponent=mean[:, -1] / (len(blocks) - 1),
        spread=torch.stack(spread).mean(0),
        curvature=torch.stack(curvature).mean(0),
    )


def _run(
    model: nn.Module, inputs: Tensor, mask: Tensor | None, block: int = -1, push: Tensor | None = None
) -> tuple[list[int], list[Tensor]]:
    """Run the model, pushed or not. Returns the blocks and their h in float64, 0 at padding."""
    edits = [] if push is None else [Edit("h", lambda h: h + push.to(h), blocks=[block])]
    with edit(model, *edits), record(model, "h", scans=False) as run:
        predict(model, inputs, mask=mask)
    states = [state.double() for state in depth_states(run)]
    blocks = sorted(key.block for key in run.states if key.state == "h")
    return blocks, states if mask is None else [state * mask[..., None] for state in states]


def _push(
    state: Tensor, positions: Collection[int] | None, size: float, mask: Tensor | None, draw: torch.Generator
) -> Tensor:
    """Draw a direction for each input, with a share of the length of what is pushed."""
    chosen = torch.zeros_like(state)
    chosen[:, slice(None) if positions is None else list(positions)] = 1
    if mask is not None:
        chosen *= mask[..., None]
    length = (state * chosen).flatten(1).norm(dim=1)
    if not (length > 0).all():
        raise ValueError("perturbation_growth: the pushed state is 0 in some input, so no share of it is a push.")
    direction = torch.randn(state.shape, dtype=state.dtype, generator=draw).to(state.device) * chosen
    return direction * (size * length / direction.flatten(1).norm(dim=1))[:, None, None]
