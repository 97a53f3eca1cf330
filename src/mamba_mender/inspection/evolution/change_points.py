"""Where a signal over tokens or blocks changes its mean, tested against signals without order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mamba_mender._check import nearest, need
from mamba_mender.inspection.evolution.sequences import check_states
from mamba_mender.inspection.result import Result

Surrogate = Literal["shuffle", "ar", "phase"]

SHORTEST = 2  # of a segment: with one step each, no noise could be told from change
BURN_IN = 100  # steps of autoregressive noise before it is used
MOST_CORRELATED = 0.97
TRIMMED_SQUARE = 0.6230  # mean of z^2 among the nine tenths of Gaussian z with the smallest


@dataclass(frozen=True, eq=False)
class ChangePoints(Result):
    """Where the mean of a signal changes.

    points: first step of each new segment, empty where p_value is above alpha, int64, (points).
    p_value: share of surrogates, the signal itself counted, whose gain is at least as large.
    gain: penalised gain of the best segmentation over none, in units of the noise's variance; 0 if none is better.
    null_gain: the same of each surrogate, (surrogates).
    penalty: price of one change point, in the same unit.
    alpha: p-value above which no point is reported.
    signal: what was segmented, (steps, features).
    """

    points: Tensor
    p_value: float
    gain: float
    null_gain: Tensor
    penalty: float
    alpha: float
    signal: Tensor


def change_points(
    signal: Tensor,
    *,
    alpha: float = 0.05,
    null: Surrogate = "shuffle",
    surrogates: int = 199,
    penalty: float | None = None,
    seed: int = 0,
) -> ChangePoints:
    r"""Find the steps at which the mean of a signal changes, by PELT, and test them against surrogates.

    With each feature in units of its noise, the segmentation minimises ::

        sum over segments  sum_t |x_t - mean of segment|^2  +  penalty * points,   penalty = (features + 1) log steps

    that is BIC for Gaussian noise. What it gains over no point is computed in the same way for surrogates without
    change points, and points are reported only if p <= alpha. So a signal without change gives a point with a
    probability of about alpha, exactly at most alpha for null="shuffle" and steps that are exchangeable.

    Noise is read from differences, which a few jumps hardly touch, and taken to be the same throughout:
    d_k = mean (x_t - x_{t-k})^2 / 2 without the largest tenth (with it, and rho = 0, where d_1 would be 0).
    null="shuffle" takes d_1. The others take rho = d_2 / d_1 - 1 for the correlation of neighbours, and the long-run
    variance d_1 (1 + rho) / (1 - rho)^2.

    Args:
        signal: (steps, features) or (steps).
        alpha: rate of false alarms.
        null: "shuffle" permutes the steps: for steps whose noise is independent. "ar" draws autoregressive noise of
            order 1 with rho, raised by its standard error: for tokens, whose neighbours are alike. "phase" keeps the
            spectrum and draws phases: for any stationary noise, but misses most changes, which it takes for slow waves.
        surrogates: how many.
        penalty: price of a point in units of the noise's variance; None takes BIC.
        seed: of the surrogates.

    Returns:
        The points and their test.

    Raises:
        ValueError: the signal has a wrong shape, fewer than 4 steps, or a value that is not finite.
        ModuleNotFoundError: ruptures is not installed.

    Example:
        >>> step = torch.tensor([0.0, 0.1] * 20 + [3.0, 3.1] * 20)
        >>> change_points(step).points.tolist()
        [40]

    Source: Killick et al., "Optimal detection of changepoints with a linear computational cost" (JASA 107, 2012);
    noise from differences: von Neumann (Annals of Mathematical Statistics 12, 1941).
    """
    ruptures = need("ruptures", extra="inspect", where="change_points")
    values = _check(signal, alpha, null, surrogates)
    steps, features = values.shape
    price = (features + 1) * math.log(steps) if penalty is None else penalty
    if price <= 0:
        raise ValueError(f"change_points: penalty must be above 0, got {penalty}.")
    correlated = null != "shuffle"
    points, gain = _segment(ruptures, values, price, correlated=correlated)
    draw = np.random.default_rng(seed)
    drawn = (_SURROGATES[null](values, draw) for _ in range(surrogates))
    null_gain = [_segment(ruptures, other, price, correlated=correlated)[1] for other in drawn]
    p_value = (1 + sum(other >= gain for other in null_gain)) / (1 + surrogates)
    found = points if gain > 0 and p_value <= alpha else []
    return ChangePoints(
        points=torch.tensor(found, dtype=torch.int64),
        p_value=p_value,
        gain=gain,
        null_gain=torch.tensor(null_gain, dtype=torch.float64),
        penalty=price,
        alpha=alpha,
        signal=torch.from_numpy(values),
    )


def change_points_in_time(state: Tensor, *, mask: Tensor | None = None, **settings: Any) -> list[ChangePoints]:
    """Find where along the tokens the norm of a state changes, input by input.

    Each input is tested on its own at alpha: among inputs without any change, a share alpha shows one.

    Args:
        state: (batch, tokens, channels).
        mask: True at real tokens, (batch, tokens); None where nothing is padded. Points count real tokens.
        settings: of :func:`change_points`; its null is "ar" here, since neighbouring tokens are alike.

    Returns:
        The change points of log |state|, one result an input.

    Raises:
        ValueError: a shape is wrong, an input has fewer than 4 real tokens, or a state is 0 or not finite.

    Example:
        >>> state = torch.tensor([1.0, 1.1] * 20 + [9.0, 9.9] * 20)[None, :, None]
        >>> change_points_in_time(state)[0].points.tolist()
        [40]
    """
    real = check_states("change_points_in_time", [state], mask)
    norms = state.detach().double().norm(dim=-1).log()
    return [change_points(row[kept], **{"null": "ar", **settings}) for row, kept in zip(norms, real, strict=True)]


def change_points_in_depth(states: Sequence[Tensor], *, mask: Tensor | None = None, **settings: Any) -> ChangePoints:
    """Find the blocks at which the residual stream starts to grow or turn at another rate.

    The signal of block l, averaged over real tokens, is (log |h_l| - log |h_{l-1}|, cos(h_l, h_{l-1})): how much the
    block makes the stream grow, and how much it turns it.

    Args:
        states: of consecutive blocks, embedding first, at least 5, each (batch, tokens, channels).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        settings: of :func:`change_points`.

    Returns:
        The change points; point l means that block l starts a new segment.

    Raises:
        ValueError: there are too few states, a shape is wrong, or a state is 0 or not finite.

    Example:
        >>> growth = [1.1, 1.11] * 10 + [2.1, 2.11] * 10
        >>> states = list(torch.tensor([1.0, *growth]).cumprod(0)[:, None, None, None].expand(-1, 2, 3, 4))
        >>> change_points_in_depth(states).points.tolist()
        [20]
    """
    real = check_states("change_points_in_depth", states, mask, least=5)
    tokens = [state.detach()[real].double() for state in states]
    logs = torch.stack([token.norm(dim=-1).log().mean() for token in tokens])
    turns = [torch.cosine_similarity(a, b, dim=-1).mean() for a, b in pairwise(tokens)]
    return change_points(torch.stack([logs.diff(), torch.stack(turns)], dim=1), **settings)


def _check(signal: Tensor, alpha: float, null: str, surrogates: int) -> np.ndarray:
    """Check the arguments of change_points, and give the signal as an array, (steps, features)."""
    values = signal.detach().cpu().double().numpy()
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) < 2 * SHORTEST or not values.shape[1]:
        raise ValueError(
            f"change_points: signal must be (steps, features) with at least {2 * SHORTEST} steps, "
            f"got shape {tuple(signal.shape)}."
        )
    if not np.isfinite(values).all():
        raise ValueError("change_points: the signal is not finite; a norm of 0 has no logarithm.")
    if null not in get_args(Surrogate):
        raise ValueError(f"change_points: no null {null!r}; {nearest(null, get_args(Surrogate))}.")
    if not 0 < alpha < 1 or (1 + surrogates) * alpha < 1:
        raise ValueError(
            f"change_points: {surrogates} surrogates cannot give a p-value of {alpha}; take 0 < alpha < 1 and at "
            "least 1 / alpha - 1 surrogates."
        )
    return values


def _shuffle(values: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return values[draw.permutation(len(values))]


def _autoregress(values: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Draw noise with the features' correlation of neighbours, and of each other; its size does not matter."""
    steps, features = values.shape
    rho = _noise(values, correlated=True)[1]
    rho = np.minimum(rho + np.sqrt((1 - rho**2) / steps), MOST_CORRELATED)
    changes = np.diff(values, axis=0)
    size = np.sqrt((changes**2).mean(0))
    changes = changes / np.where(size > 0, size, 1)
    pushes = draw.standard_normal((BURN_IN + steps, features)) @ _root(changes.T @ changes / len(changes))
    state, out = np.zeros(features), np.empty_like(pushes)
    for step, push in enumerate(pushes):
        out[step] = state = rho * state + push
    return out[BURN_IN:]


def _root(covariance: np.ndarray) -> np.ndarray:
    """Take the symmetric square root of a covariance."""
    spectrum, basis = np.linalg.eigh(covariance)
    return (basis * np.sqrt(spectrum.clip(0))) @ basis.T


def _rephase(values: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Turn each frequency by a random angle, the same in all features (Theiler et al., Physica D 58, 1992)."""
    steps = len(values)
    turns = np.exp(2j * np.pi * draw.random(steps // 2 + 1))[:, None]
    if steps % 2 == 0:  # the highest frequency is real
        turns[-1] = np.sign(turns[-1].real)
    return np.fft.irfft(np.fft.rfft(values - values.mean(0), axis=0) * turns, steps, axis=0)


_SURROGATES = {"shuffle": _shuffle, "ar": _autoregress, "phase": _rephase}


def _noise(values: np.ndarray, *, correlated: bool) -> tuple[np.ndarray, np.ndarray]:
    """Read the variance of the noise, in the long run, and the correlation of neighbours from differences."""
    trimmed, whole = _mean_square(values, 1)
    exact = trimmed == 0  # nine tenths of the steps change nothing
    first = np.where(exact, whole, trimmed)
    if not correlated:
        return first, np.zeros_like(first)
    trimmed, _ = _mean_square(values, 2)
    second = np.where(exact, first, trimmed)
    ratio = np.divide(second, first, out=np.ones_like(first), where=first > 0)
    rho = np.clip(ratio - 1, 0, MOST_CORRELATED)
    return first * (1 + rho) / (1 - rho) ** 2, rho


def _mean_square(values: np.ndarray, apart: int) -> tuple[np.ndarray, np.ndarray]:
    """Average half the squared differences, without the largest tenth and corrected for Gaussian noise, and all."""
    squares = np.sort((values[apart:] - values[:-apart]) ** 2, axis=0) / 2
    return squares[: math.ceil(0.9 * len(squares))].mean(0) / TRIMMED_SQUARE, squares.mean(0)


def _segment(ruptures: Any, values: np.ndarray, price: float, *, correlated: bool) -> tuple[list[int], float]:
    """Find the best segmentation, and what it gains over none after paying for its points."""
    noise = np.sqrt(_noise(values, correlated=correlated)[0])
    moving = noise > 1e-12 * np.abs(values).max(0)  # what differs by rounding only does not change
    if not moving.any():
        return [], 0.0
    scaled = (values[:, moving] - values[:, moving].mean(0)) / noise[moving]
    ends = [int(end) for end in ruptures.KernelCPD(kernel="linear", min_size=SHORTEST).fit(scaled).predict(pen=price)]
    cost = sum(((part - part.mean(0)) ** 2).sum() for part in np.split(scaled, ends[:-1]))
    gain = float((scaled**2).sum() - cost) - price * (len(ends) - 1)
    return (ends[:-1], gain) if gain > 0 else ([], 0.0)
