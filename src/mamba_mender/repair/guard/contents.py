"""What a stream shows, told from how it is shown: the classes that a mean is made of, whatever shift lies on it."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

DOUBT, TRUST = 0.3, 0.5  # share of the misfit that the classes explain: below, the healthy mix; above, theirs


@dataclass(frozen=True)
class Contents:
    """How the mean state of a stream depends on what it shows.

    A shift that scales the states by a and adds an offset o to each channel, as noise that is clipped, fog and changes
    of brightness and contrast do, gives the mean

        m - f = a sum_k pi_k (m_k - f) + o

    with m_k the healthy mean of class k and f the state of an empty image. Without the mean over tokens o is gone,
    and pi, at least 0, follows by least squares, in units of the healthy deviations.

    means: healthy means by class, (classes, tokens, channels).
    mix: shares of the classes in healthy data, (classes,).
    empty: state of an empty image, (tokens, channels).
    scale: healthy standard deviation of each channel about the class means, (channels,).
    """

    means: Tensor
    mix: Tensor
    empty: Tensor
    scale: Tensor


@dataclass(frozen=True)
class Composition:
    """What a mean is made of.

    shares: of the classes, (classes,), sum 1.
    contrast: the factor a on what the images show; 1 on healthy data.
    explained: share of the misfit of the healthy mix that other shares remove, in [0, 1].
    """

    shares: Tensor
    contrast: float
    explained: float


def fit_composition(mean: Tensor, contents: Contents) -> Composition:
    """Find which classes a mean state is made of, by non-negative least squares.

    Shares that explain little (below 0.3 of the misfit) are not believed: the healthy mix is given then, all of
    theirs above 0.5, and in between a blend. A blur, which moves what is shown, would otherwise pass for a change of
    classes.

    Args:
        mean: of the states of a stream, (tokens, channels).
        contents: what is healthy.

    Returns:
        A :class:`Composition`; nothing of it carries a gradient.

    Example:
        >>> means = torch.tensor([[[0.0], [1.0]], [[1.0], [0.0]]])
        >>> contents = Contents(means, torch.tensor([0.5, 0.5]), torch.zeros(2, 1), torch.ones(1))
        >>> found = fit_composition(0.5 * means[1] + 3, contents)
        >>> found.shares.tolist(), round(found.contrast, 3)
        ([0.0, 1.0], 0.5)

    Source: the label-shift estimate by mean matching of Zhang et al., Domain adaptation under target and conditional
        shift (2013), with a factor and an offset for the shift of the states.
    """
    known = _seen(contents.means, contents)
    seen = _seen(mean.detach(), contents)
    weights = nnls(known.T, seen)[0]
    contrast = float(weights.sum())
    healthy = contents.mix.double().cpu().numpy() @ known
    usual = _misfit(seen, healthy)
    if contrast <= 0 or usual == 0:
        return Composition(contents.mix, contrast, 0.0)
    explained = 1 - float(np.square(seen - weights @ known).sum()) / usual
    believed = min(max((explained - DOUBT) / (TRUST - DOUBT), 0.0), 1.0)
    shares = torch.from_numpy(weights / contrast).to(contents.mix)
    return Composition(torch.lerp(contents.mix, shares, believed), contrast, explained)


def nearest_class(states: Tensor, contents: Contents) -> Tensor:
    """Guess what each sample shows: the class whose healthy mean is nearest, in the units of :func:`fit_composition`.

    Args:
        states: (samples, tokens, channels).
        contents: what is healthy.

    Returns:
        Class numbers, (samples,).
    """
    means, shown = (_from_empty(s, contents).flatten(-2) for s in (contents.means, states))
    return torch.cdist(shown, means).argmin(1)


def _from_empty(states: Tensor, contents: Contents) -> Tensor:
    """Write states from the empty one on, without the mean over tokens, scaled."""
    shown = states - contents.empty
    return (shown - shown.mean(-2, keepdim=True)) / contents.scale


def _seen(states: Tensor, contents: Contents) -> np.ndarray:
    """Write means as one row of numbers each."""
    return _from_empty(states, contents).double().flatten(-2).cpu().numpy()


def _misfit(seen: np.ndarray, healthy: np.ndarray) -> float:
    """Sum the squares of what a multiple of the healthy mean leaves."""
    size = float(healthy @ healthy)
    factor = max(float(healthy @ seen) / size, 0.0) if size > 0 else 0.0
    return float(np.square(seen - factor * healthy).sum())
