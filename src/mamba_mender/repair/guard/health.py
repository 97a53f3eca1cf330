"""Health of a sample's states: how likely a healthy sample is to look as strange, with a proved false-alarm rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.repair.guard.law import Modes

MEASURES = ("distance", "activity", "correlation")
WEIGHTS = (0.5, 0.25, 0.25)  # share of the false alarms that each measure may make
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the tokens' distances, in a sample's profile
RANK = 8  # directions in which the correlation of one sample's channels is looked at
TINY = 1e-12


@dataclass(frozen=True)
class Gauge:
    """What non-conformity is measured by at one site: healthy statistics, and the scores of healthy samples.

    centre: healthy mean, (tokens, channels) or (1, channels).
    whiteners: inverse roots of the healthy covariance of each band, (bands, channels, channels).
    precision: inverse of the covariance of one token, (channels, channels).
    profile_mean: healthy mean of the profiles of :func:`distance_profile`, (numbers,).
    profile_precision: inverse of their covariance, (numbers, numbers).
    activity: logarithm of the healthy root mean square of each channel, (channels,).
    directions: leading directions of the healthy channels, whitened, (channels, rank).
    correlation: healthy mean correlation along them within a sample, (rank, rank).
    scores: of a calibration split that none of the above was fitted to, ascending, (measures, samples).
    distances: the first measure of the same samples, in their own order, (samples,).
    kinds: what each of them seems to show, (samples,).
    """

    centre: Tensor
    whiteners: Tensor
    precision: Tensor
    profile_mean: Tensor
    profile_precision: Tensor
    activity: Tensor
    directions: Tensor
    correlation: Tensor
    scores: Tensor
    distances: Tensor
    kinds: Tensor


def distance_profile(states: Tensor, gauge: Gauge, modes: Modes) -> Tensor:
    """Describe how far a sample's states lie from the healthy mean: in which token modes, and in which tokens.

    The mean squared whitened coefficient of each band of token modes, then quantiles over tokens of the squared
    Mahalanobis distance; all as natural logarithms. The nearest tokens say most: in a healthy image some part is plain.

    Args:
        states: (samples, tokens, channels).
        gauge: gives centre, whiteners and precision.
        modes: the site's token modes.

    Returns:
        (samples, bands + quantiles).
    """
    away = states - gauge.centre
    energies = [(c @ w).square().mean((1, 2)) for c, w in zip(modes.split(away), gauge.whiteners, strict=True)]
    tokens = ((away @ gauge.precision) * away).sum(-1)
    return torch.stack([*energies, *_quantiles(tokens)], 1).clamp_min(TINY).log()


def _quantiles(values: Tensor) -> list[Tensor]:
    """Take quantiles along the last axis as :func:`torch.quantile` does, which cannot be exported."""
    ordered, last = values.sort(-1).values, values.shape[-1] - 1
    out = []
    for quantile in QUANTILES:
        low = int(quantile * last)
        out.append(torch.lerp(ordered[..., low], ordered[..., min(low + 1, last)], quantile * last - low))
    return out


def channel_activity(states: Tensor) -> Tensor:
    """Measure each channel's root mean square over tokens, as natural logarithms, (samples, channels)."""
    return 0.5 * states.square().mean(1).clamp_min(TINY).log()


def inner_correlation(states: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    """Measure how the leading directions go together over the tokens of each sample, (samples, rank, rank)."""
    along = (states - centre) @ directions
    return along.mT @ along / along.shape[1]


def nonconformity(states: Tensor, gauge: Gauge, modes: Modes) -> Tensor:
    """Score how little samples conform to healthy ones, by three measures; larger is stranger.

    distance: sqrt((e - mean)^T P (e - mean)) of the profile e: too near or too far, in any mode or token.
    activity: mean over channels of abs(log(rms / healthy rms)).
    correlation: Frobenius distance of the sample's inner correlation from the healthy one, over sqrt(rank).

    Args:
        states: (samples, tokens, channels), finite.
        gauge: what is healthy.
        modes: the site's token modes.

    Returns:
        (measures, samples), in the order of MEASURES.
    """
    away = distance_profile(states, gauge, modes) - gauge.profile_mean
    distance = ((away @ gauge.profile_precision) * away).sum(1).clamp_min(0).sqrt()
    activity = (channel_activity(states) - gauge.activity).abs().mean(1)
    apart = inner_correlation(states, gauge.centre, gauge.directions) - gauge.correlation
    correlation = apart.square().sum((1, 2)).sqrt() / len(gauge.correlation) ** 0.5
    return torch.stack([distance, activity, correlation])


def conformal_p(scores: Tensor, calibration: Tensor) -> Tensor:
    """Tell how likely a healthy sample is to score as high.

    p = (1 + #{i: A_i >= A}) / (n + 1). Where the sample and the n calibration samples are exchangeable,
    P(p <= t) <= t for every t.

    Args:
        scores: (..., samples).
        calibration: scores of healthy samples, ascending, (..., n).

    Returns:
        p-values in [1 / (n + 1), 1], of the shape of scores.

    Example:
        >>> conformal_p(torch.tensor([0.5, 9.0]), torch.tensor([1.0, 2.0, 3.0])).tolist()
        [1.0, 0.25]

    Source: Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World (2005), proposition 2.4.
    """
    count = calibration.shape[-1]
    above = count - torch.searchsorted(calibration.contiguous(), scores.detach().contiguous())
    return (1 + above).to(scores.dtype) / (count + 1)


def conformal_p_by_kind(scores: Tensor, kinds: Tensor, distances: Tensor, known: Tensor) -> Tensor:
    """Tell how likely a healthy sample of the same kind is to score as high.

    As :func:`conformal_p`, among the calibration samples of the kind, so that P(p <= t) <= t holds within each kind:
    whatever kinds a stream shows, sorted or not.

    Args:
        scores: (samples,).
        kinds: of the samples, any function of their states, (samples,).
        distances: scores of healthy samples, (n,).
        known: their kinds, (n,).

    Example:
        >>> scores, kinds = torch.tensor([5.0, 5.0]), torch.tensor([0, 1])
        >>> conformal_p_by_kind(scores, kinds, torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0, 0, 1])).tolist()
        [0.3333333432674408, 1.0]

    Source: Mondrian conformal prediction, Vovk, Lindsay, Nouretdinov & Gammerman (2003).
    """
    p = torch.ones_like(scores)
    for kind in kinds.unique():
        own = kinds == kind
        p[own] = conformal_p(scores[own], distances[known == kind].sort().values)
    return p


def combine_p(p: Tensor, weights: Sequence[float]) -> Tensor:
    """Combine p-values of one sample over the first axis, valid under any dependence.

    min(1, min_i p_i / w_i), weighted Bonferroni: P(it <= t) <= t sum_i w_i.

    Args:
        p: (tests, samples).
        weights: one a test; over all tests of a sample, also those made elsewhere, they sum to at most 1.

    Example:
        >>> combine_p(torch.tensor([[0.01], [0.5]]), (0.5, 0.25)).item()
        0.019999999552965164
    """
    return (p / torch.tensor(weights).to(p)[:, None]).amin(0).clamp_max(1)


def site_weights(sites: int) -> list[float]:
    """Share out the false alarms: half to the first site, which shifted inputs reach first, half to the others.

    Example:
        >>> site_weights(3), site_weights(1)
        ([0.5, 0.25, 0.25], [1.0])
    """
    return [1.0] if sites == 1 else [0.5] + [0.5 / (sites - 1)] * (sites - 1)


def false_alarm_weights(sites: int, count: int, alpha: float) -> tuple[list[float], Sequence[float]]:
    """Share out the false alarms over sites and measures, so that some sample can be flagged at all.

    The least p-value is 1 / (count + 1). Where even that, over the largest weight, is above alpha, because too few
    samples were held out, all weight goes to the distance at the first site.

    Args:
        sites: number of sites.
        count: held-out samples.
        alpha: what the weights share.

    Returns:
        Weights of the sites, and of the measures at each.

    Example:
        >>> false_alarm_weights(2, 1000, 0.03), false_alarm_weights(2, 50, 0.03)
        (([0.5, 0.5], (0.5, 0.25, 0.25)), ([1.0, 0.0], (1.0, 0.0, 0.0)))
    """
    weights = site_weights(sites)
    if 1 / ((count + 1) * weights[0] * WEIGHTS[0]) <= alpha:
        return weights, WEIGHTS
    return [1.0] + [0.0] * (sites - 1), (1.0, 0.0, 0.0)


def health_of_p(p: Tensor, alpha: float) -> Tensor:
    """Turn a p-value into health, min(1, p / alpha): 1 for at least 1 - alpha of healthy samples, near 0 far out."""
    return (p / alpha).clamp_max(1) if alpha > 0 else torch.ones_like(p)
