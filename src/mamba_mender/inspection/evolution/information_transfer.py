"""How much the past of one layer says about the next step of another, beyond that layer's own past."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.evolution.sequences import check_states
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class InformationTransfer(Result):
    """Transfer entropy between layers, each summarised by its leading principal components.

    transfer: of row's layer to column's layer, in nats, (layers, layers); NaN on the diagonal.
    null_mean: mean over surrogates, which is the bias of the estimate, (layers, layers).
    p_value: share of surrogates, the truth itself counted, that are at least as large, (layers, layers).
    shrinkage: weight of the identity in the correlations, (layers, layers).
    explained: share of each layer's variance that its summary keeps, (layers).
    lag: steps of the past.
    """

    transfer: Tensor
    null_mean: Tensor
    p_value: Tensor
    shrinkage: Tensor
    explained: Tensor
    lag: int


def conditional_information(covariance: Tensor, x: Sequence[int], y: Sequence[int], given: Sequence[int]) -> Tensor:
    r"""Compute the conditional mutual information of Gaussian variables.

    I(X; Y | Z) = 1/2 ( log det S_xz + log det S_yz - log det S_z - log det S_xyz )

    with S the covariance of the variables named in the index.

    Args:
        covariance: positive definite, (..., variables, variables).
        x, y, given: the numbers of the variables X, Y and Z; Z may be empty.

    Returns:
        In nats, (...).

    Example:
        >>> covariance = torch.tensor([[1.0, 0.6], [0.6, 1.0]])
        >>> round(conditional_information(covariance, [0], [1], []).item(), 4)  # -1/2 log(1 - 0.36)
        0.2231

    Source: Cover and Thomas, Elements of Information Theory, chapter 8.
    """
    x, y, given = list(x), list(y), list(given)

    def entropy(names: list[int]) -> Tensor:
        return torch.linalg.slogdet(covariance[..., names, :][..., names]).logabsdet / 2

    return entropy(x + given) + entropy(y + given) - entropy(given) - entropy(x + y + given)


def information_transfer(
    states: Sequence[Tensor],
    *,
    mask: Tensor | None = None,
    components: int = 3,
    lag: int = 1,
    surrogates: int = 99,
    seed: int = 0,
) -> InformationTransfer:
    r"""Estimate the transfer entropy between layers along the tokens, for Gaussian variables.

    T(X -> Y) = I(Y_t ; X_{t-1}, .., X_{t-lag} | Y_{t-1}, .., Y_{t-lag}), half of Granger's log ratio of variances.

    X and Y are the leading principal components of two layers' states; covariances are pooled over inputs,
    standardised and shrunk to the identity. Surrogates give Y the X of another input, at the same tokens, so what
    all inputs share in time is in the null. Without noise of its own a deterministic network transfers along paths
    that this cannot tell apart: it is association in time, not the effect of an intervention.

    Args:
        states: of some layers, each (batch, tokens, channels).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        components: of each layer's summary; at most its channels.
        lag: steps of the past.
        surrogates: random pairings of the inputs.
        seed: of the pairings.

    Returns:
        The transfer of each ordered pair of layers.

    Raises:
        ValueError: fewer than 2 layers or 5 inputs, too few tokens, a wrong shape, or a value that is not finite.

    Example:
        >>> h = torch.randn(8, 50, 2)
        >>> result = information_transfer([h, h.roll(1, dims=1)])  # the second layer is the first, a token later
        >>> bool(result.transfer[0, 1] > 1), bool(result.transfer[1, 0] < 0.1)
        (True, True)

    Source: Schreiber, "Measuring information transfer" (PRL 85, 2000); Barnett et al. (PRL 103, 2009): equality
    with Granger causality; shrinkage: Ledoit and Wolf (J. Multivariate Analysis 88, 2004).
    """
    real = check_states("information_transfer", states, mask, least=2)
    _check(real, components, lag, surrogates)
    found = [_summary(state, real, components) for state in states]
    layers = len(states)
    draw = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(len(real), generator=draw) for _ in range(surrogates)])
    table = torch.full((4, layers, layers), torch.nan, dtype=torch.float64)
    for i in range(layers):
        for j in range(layers):
            if i != j:
                table[:, i, j] = _pair(found[i][0], found[j][0], real, lag, orders)
    transfer, null_mean, p_value, shrinkage = table
    explained = torch.stack([share for _, share in found])
    return InformationTransfer(transfer, null_mean, p_value, shrinkage, explained, lag)


def _check(real: Tensor, components: int, lag: int, surrogates: int) -> None:
    if min(components, lag, surrogates) < 1:
        raise ValueError("information_transfer: components, lag and surrogates must be at least 1.")
    if len(real) < 5:
        raise ValueError(
            f"information_transfer: at least 5 inputs are needed for surrogates to differ, got {len(real)}."
        )
    rows = int((real.sum(1) - lag).clamp_min(0).sum())
    if rows <= 2 * components * (2 * lag + 1):
        raise ValueError(
            f"information_transfer: {rows} steps with a past are too few for {components * (2 * lag + 1)} variables; "
            "give more inputs or tokens, or fewer components."
        )


def _summary(state: Tensor, real: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Project on the leading principal components, each of variance 1, and say which share of variance they have."""
    rows = state.detach()[real].double()
    centre = rows.mean(0)
    spectrum, basis = torch.linalg.eigh((rows - centre).mT @ (rows - centre) / len(rows))
    kept = [k for k in range(-1, -min(components, len(spectrum)) - 1, -1) if spectrum[k] > 1e-12 * spectrum[-1]]
    if not kept or spectrum[-1] <= 0:
        raise ValueError("information_transfer: a layer's state is constant, so nothing can be said of its past.")
    projected = (state.detach().double() - centre) @ basis[:, kept] / spectrum[kept].sqrt()
    return projected, spectrum[kept].sum() / spectrum.clamp_min(0).sum()


def _pair(x: Tensor, y: Tensor, real: Tensor, lag: int, orders: Tensor) -> Tensor:
    """Compute the transfer of x to y, the mean of surrogates, the p-value and the shrinkage."""
    now, past_y = y[:, lag:], _past(y, lag)
    width, own, other = y.shape[-1], past_y.shape[-1], lag * x.shape[-1]
    groups = list(range(width)), list(range(width, width + own)), list(range(width + own, width + own + other))
    covariances, weights = [], []
    for order in [torch.arange(len(x)), *orders]:
        kept = _windows(real, lag) & _windows(real[order], lag)
        rows = torch.cat([now, past_y, _past(x[order], lag)], dim=-1)[kept]
        covariance, weight = shrunk_correlation(rows)
        covariances.append(covariance)
        weights.append(weight)
    values = conditional_information(torch.stack(covariances), groups[2], groups[0], groups[1])
    truth, null = values[0], values[1:]
    p_value = (1 + (null >= truth).sum().double()) / (1 + len(null))
    return torch.stack([truth, null.mean(), p_value, weights[0]])


def _past(state: Tensor, lag: int) -> Tensor:
    """Put the last steps side by side, (batch, tokens - lag, lag * channels)."""
    tokens = state.shape[1]
    return torch.cat([state[:, lag - k : tokens - k] for k in range(1, lag + 1)], dim=-1)


def _windows(real: Tensor, lag: int) -> Tensor:
    """Say at which tokens the token and its past are real, (batch, tokens - lag)."""
    tokens = real.shape[1]
    return torch.stack([real[:, lag - k : tokens - k] for k in range(lag + 1)]).all(0)


def shrunk_correlation(rows: Tensor) -> tuple[Tensor, Tensor]:
    r"""Estimate a correlation matrix, shrunk to the identity by Ledoit and Wolf's weight.

    (1 - w) S + w I, with w = min(1, sum_k |z_k z_k^T - S|^2 / n^2 / |S - I|^2) for standardised rows z.

    Args:
        rows: (rows, variables), float64.

    Returns:
        The matrix, (variables, variables), and w, a number. A constant variable correlates with nothing.

    Example:
        >>> matrix, weight = shrunk_correlation(torch.randn(500, 2, dtype=torch.float64).repeat(1, 2)[:, :3])
        >>> bool(matrix[0, 2] > 0.95)
        True
    """
    centred = rows - rows.mean(0)
    size = centred.square().mean(0).sqrt()
    z = torch.where(size > 0, centred / torch.where(size > 0, size, 1), 0.0)
    sample = z.mT @ z / len(z)
    eye = torch.eye(len(sample), dtype=rows.dtype, device=rows.device)
    distance = (sample - eye).square().sum()
    # |z z^T - S|^2 = |z|^4 - 2 z^T S z + |S|^2, and its mean over rows is mean |z|^4 - |S|^2
    spread = (z.square().sum(1).square().mean() - sample.square().sum()) / len(z)
    weight = (spread / distance).clamp(0, 1) if distance > 0 else torch.ones_like(distance)
    mixed = (1 - weight) * sample + weight * eye
    return mixed + torch.diag((1 - mixed.diagonal()).clamp_min(0)), weight
