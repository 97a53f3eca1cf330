"""How far and how widely tokens are mixed, by the same formulas for attention and for hidden attention."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class TokenMixing(Result):
    """How each layer mixes tokens, and what the last token has of each through all layers.

    entropy: of a row over the logarithm of the tokens it can see, mean over rows that see more than one: 0 where each
        reads one token, 1 where each reads all alike, (layers).
    distance: mean of sum_j p_ij (i - j) over the same rows, in tokens, (layers).
    uniform_distance: the same where each row reads all it sees alike, in tokens.
    rollout: what the last real token has of each token after all layers, sum 1, (batch, tokens).
    """

    entropy: Tensor
    distance: Tensor
    uniform_distance: float
    rollout: Tensor


def token_mixing(matrices: Sequence[Tensor], *, mask: Tensor | None = None) -> TokenMixing:
    r"""Measure entropy, distance and rollout of causal matrices that mix tokens.

    A layer's matrix is averaged over its heads; p_ij = |a_ij| / sum_j |a_ij|, over real tokens j <= i. Attention of
    a transformer sums to 1 already; the sign and the size of hidden attention are left out. The rollout is the last
    real token's row of P_L .. P_2 P_1 with P = (p + I) / 2, half for the residual stream.

    Args:
        matrices: of the layers, the first first, (batch, tokens, tokens) or (batch, heads, tokens, tokens); rows
            are outputs.
        mask: True at real tokens, (batch, tokens); None where nothing is padded.

    Returns:
        The measures of each layer, and the rollout.

    Raises:
        ValueError: shapes disagree, an input has no real token, or a matrix looks ahead or is not finite.

    Example:
        >>> mixing = token_mixing([torch.ones(1, 3, 3).tril()])
        >>> round(mixing.entropy.item(), 9), mixing.distance.item() == mixing.uniform_distance
        (1.0, True)

    Source: Abnar and Zuidema, "Quantifying attention flow in transformers" (ACL 2020), section 3.
    """
    real = _check(matrices, mask)
    layers = [_rows(matrix, real) for matrix in matrices]
    tokens = real.shape[1]
    visible = real.double().cumsum(1)
    kept = real & (visible > 1)
    place = torch.arange(tokens, dtype=torch.float64, device=real.device)
    apart = (place[:, None] - place) * torch.ones(tokens, tokens, device=real.device).tril()
    alike = _rows(torch.ones_like(layers[0]).tril(), real)
    entropy = [(torch.special.entr(p).sum(-1) / visible.log())[kept].mean() for p in layers]
    last = torch.where(real, place.long(), -1).amax(1)
    v = torch.nn.functional.one_hot(last, tokens).double()
    for p in reversed(layers):
        v = (v + (v[:, None] @ p)[:, 0]) / 2
    return TokenMixing(
        entropy=torch.stack(entropy),
        distance=torch.stack([(p * apart).sum(-1)[kept].mean() for p in layers]),
        uniform_distance=(alike * apart).sum(-1)[kept].mean().item(),
        rollout=v,
    )


def _check(matrices: Sequence[Tensor], mask: Tensor | None) -> Tensor:
    """Check the matrices, and say which tokens are real."""
    if not matrices or any(matrix.dim() not in (3, 4) for matrix in matrices):
        raise ValueError(
            "token_mixing: matrices must be (batch, tokens, tokens) or (batch, heads, tokens, tokens), at least one, "
            f"got {[tuple(matrix.shape) for matrix in matrices]}."
        )
    shape = (matrices[0].shape[0], matrices[0].shape[-1])
    real = torch.ones(shape, dtype=torch.bool, device=matrices[0].device) if mask is None else mask
    if any((m.shape[0], m.shape[-1], m.shape[-2]) != (*shape, shape[1]) for m in matrices) or real.shape != shape:
        raise ValueError(
            f"token_mixing: all matrices must be square, of one batch and one number of tokens, and mask {shape}, "
            f"got {[tuple(matrix.shape) for matrix in matrices]} and {tuple(real.shape)}."
        )
    if not real.any(1).all():
        raise ValueError("token_mixing: every input needs a real token.")
    seen = real[:, :, None] & real[:, None, :]
    for number, matrix in enumerate(matrices):
        values = (matrix if matrix.dim() == 3 else matrix.mean(1)).masked_fill(~seen, 0)
        if not values.isfinite().all() or values.triu(1).any():
            raise ValueError(f"token_mixing: matrix {number} looks ahead or is not finite; only causal ones compare.")
    return real


def _rows(matrix: Tensor, real: Tensor) -> Tensor:
    """Average heads, and make the rows of real tokens sum to 1; a row that reads nothing reads its own token."""
    values = (matrix.double() if matrix.dim() == 3 else matrix.double().mean(1)).detach().abs()
    values = values.masked_fill(~(real[:, :, None] & real[:, None, :]), 0)
    total = values.sum(-1, keepdim=True)
    own = torch.eye(values.shape[-1], dtype=values.dtype, device=values.device)
    return torch.where(total > 0, values / torch.where(total > 0, total, 1), own)
