"""Gaussian laws of the states at one site: means by position, correlations by bands of token modes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.repair.guard.matrix_power import matrix_power


@dataclass(frozen=True)
class Law:
    """First and second moments of states, (samples, tokens, channels), at one site.

    The tokens of a sample are written in token modes, an orthonormal basis over positions: smooth ones first, as
    frequencies of an image. Modes of one band share one matrix, and different modes are uncorrelated; with one band
    this is one covariance of all tokens.

    mean: of each position, (tokens, channels); (1, channels) where positions are not told apart.
    scatter: covariance of a mode's coefficients about the mean, one matrix a band, (bands, channels, channels).
    """

    mean: Tensor
    scatter: Tensor

    def blend(self, other: "Law", share: float | Tensor) -> "Law":
        """Mix the moments of two laws: share of the other one, the rest of this one."""
        return Law(torch.lerp(self.mean, other.mean, share), torch.lerp(self.scatter, other.scatter, share))


@dataclass(frozen=True)
class Modes:
    """An orthonormal basis over positions, cut into bands.

    basis: modes in columns, (tokens, tokens); None where positions are not told apart, which takes one band.
    edges: first mode of each band, and at last the number of modes.
    """

    basis: Tensor | None
    edges: tuple[int, ...]

    @property
    def bands(self) -> int:
        return len(self.edges) - 1

    def widths(self, tokens: int) -> Tensor:
        """Count the modes of each band."""
        if self.basis is None:
            return torch.tensor([tokens])
        return torch.tensor(self.edges).diff()

    def pooled(self, scatter: Tensor) -> Tensor:
        """Average matrices of bands, (bands, ...), by their widths: the covariance of one token, (...)."""
        widths = self.widths(1).to(scatter)
        return torch.einsum("b,b...->...", widths / widths.sum(), scatter)

    def split(self, centred: Tensor) -> list[Tensor]:
        """Write centred states, (samples, tokens, channels), in modes: one (samples, modes, channels) a band."""
        if self.basis is None:
            return [centred]
        return list((self.basis.mT.to(centred) @ centred).split(self.widths(0).tolist(), 1))

    def join(self, bands: Sequence[Tensor]) -> Tensor:
        """Put the bands of :meth:`split` together again, (samples, tokens, channels)."""
        if self.basis is None:
            return bands[0]
        return self.basis.to(bands[0]) @ torch.cat(list(bands), 1)


def band_edges(tokens: int, bands: int) -> tuple[int, ...]:
    """Cut token modes into bands that double in width: few smooth modes, many fine ones.

    Example:
        >>> band_edges(49, 5), band_edges(3, 5), band_edges(49, 1)
        ((0, 1, 2, 4, 8, 49), (0, 1, 2, 3), (0, 49))
    """
    inner = [2**n for n in range(bands - 1) if 2**n < tokens]
    return (0, *inner, tokens)


def law_of(states: Tensor, modes: Modes, *, mean: Tensor | None = None) -> Law:
    """Measure the law of states.

    mean_t = E[u_t]; scatter_b = E[c c^T] over samples and the modes of band b, c the coefficients about the mean.

    Args:
        states: (samples, tokens, channels).
        modes: the basis.
        mean: to measure the scatter about, (tokens, channels) or (1, channels), instead of the states' own.

    Example:
        >>> law = law_of(torch.tensor([[[1.0], [5.0]], [[3.0], [5.0]]]), Modes(torch.eye(2), (0, 1, 2)))
        >>> law.mean.flatten().tolist(), law.scatter.flatten().tolist()
        ([2.0, 5.0], [1.0, 0.0])
    """
    if mean is None:
        mean = states.mean(0) if modes.basis is not None else states.mean((0, 1))[None]
    return Law(mean, torch.stack([_second_moment(c) for c in modes.split(states - mean)]))


def wasserstein(a: Law, b: Law, modes: Modes, tokens: int) -> Tensor:
    """Measure the 2-Wasserstein distance between two laws.

    W2^2 = sum_t |mean_a,t - mean_b,t|^2 + sum_b width_b tr(A + B - 2 (A^(1/2) B A^(1/2))^(1/2)), in float64.

    Args:
        a, b: laws of one site.
        modes: its basis.
        tokens: positions in a sample, which a law without positions does not know.

    Returns:
        The distance, a float64 number: that of a whole sample, not of one token.

    Example:
        >>> zero = Law(torch.zeros(1, 1), torch.ones(1, 1, 1))
        >>> wasserstein(zero, Law(torch.full((1, 1), 3.0), torch.full((1, 1, 1), 25.0)), Modes(None, (0, 1)), 1).item()
        5.0

    Source: Gelbrich, On a formula for the L2 Wasserstein metric (1990).
    """
    root = matrix_power(a.scatter.double(), 0.5)
    cross = matrix_power(root @ b.scatter.double() @ root, 0.5)
    trace = (a.scatter.double() + b.scatter.double() - 2 * cross).diagonal(dim1=-2, dim2=-1).sum(-1)
    places = tokens if modes.basis is None else 1
    moved = (a.mean.double() - b.mean.double()).square().sum() * places
    return (moved + (trace * modes.widths(tokens).to(trace)).sum()).clamp_min(0).sqrt()


def _second_moment(coefficients: Tensor) -> Tensor:
    flat = coefficients.flatten(0, 1)
    return flat.mT @ flat / len(flat)
