"""What tells a fault in the states of one place: by themselves, and against what the layer before sent on."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

REACH = 4.0  # times the farthest or narrowest healthy entry; what shifted inputs seldom reach: strong fog is flatter
BEYOND = 2.0  # times the strangest residual: a shift moves what the layer before sends as well
TINY = 1e-30


@dataclass(frozen=True)
class FaultLaw:
    """Healthy entries of the states of one place, and how they follow from the layer before and from each other.

        u = centre + (v - before) W + r,   r with mean 0 and covariance R

    with v the same token as the layer before sent it on. An entry of r, given all others, has the standardised residual

        z_i = (R^(-1) r)_i / sqrt((R^(-1))_ii)

    centre: healthy mean, (tokens, channels) or (1, channels).
    farthest: largest healthy deviation from it, (channels,).
    before: healthy mean of the layer before, (tokens or 1, channels before); (1, 0) where nothing is before.
    weights: W, by least squares, (channels before, channels).
    precision: R^(-1), (channels, channels).
    strangest: largest abs(z) of a healthy entry, (channels,); infinite where residuals are not judged.
    narrowest: smallest range of a channel over the tokens of a healthy sample, (channels,); 0 where it is not judged.
    """

    centre: Tensor
    farthest: Tensor
    before: Tensor
    weights: Tensor
    precision: Tensor
    strangest: Tensor
    narrowest: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """List the tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def expected(self, sent: Tensor | None) -> Tensor:
        """Give what the layer before makes likely, (samples or 1, tokens or 1, channels).

        Args:
            sent: states of the layer before, (samples, tokens, channels before); not looked at where nothing is before.

        Raises:
            ValueError: states of the layer before are wanted, and None came.
        """
        if not len(self.weights):
            return self.centre[None]
        if sent is None:
            raise ValueError("FaultLaw: these states are judged by those of the layer before, which are not given.")
        return self.centre + (sent.to(self.centre.dtype) - self.before) @ self.weights

    def pull(self, states: Tensor, expected: Tensor) -> Tensor:
        """Give R^(-1) r of each token, of the shape of states, (samples, tokens, channels)."""
        return (states - expected) @ self.precision

    @property
    def judges_residuals(self) -> bool:
        """Whether entries are also judged by what the layer before and the other channels make likely."""
        return bool(self.strangest.isfinite().any())

    @property
    def pull_limit(self) -> Tensor:
        """Size of :meth:`pull` from which on it is strange, twice the largest healthy one, (channels,)."""
        return BEYOND * self.strangest * self.precision.diagonal().sqrt()

    def scores(self, states: Tensor, sent: Tensor | None) -> Tensor:
        """Score each sample by the entry farthest out; none has a fault up to 1.

        Above 1 it mostly has one: a token that is strange as a whole scores high, too, and has none.

        The largest of abs(u - centre) / (4 farthest), abs(z) / (2 strangest) and narrowest / (4 range); infinite where
        an entry is not finite.

        Args:
            states: (samples, tokens, channels).
            sent: states of the layer before, as in :meth:`expected`.

        Returns:
            (samples,).
        """
        far = (states - self.centre).abs() / self.farthest / REACH
        strange = self.pull(states, self.expected(sent)).abs() / self.pull_limit
        still = self.narrowest / span_of(states).clamp_min(TINY) / REACH
        worst = torch.cat([far.amax(1), strange.amax(1), still], 1)
        return worst.nan_to_num(torch.inf, torch.inf, torch.inf).amax(1)

    def widened(self, factor: float) -> "FaultLaw":
        """Allow deviations and residuals that are larger by a factor, and ranges that are smaller by it."""
        return replace(
            self,
            farthest=self.farthest * factor,
            strangest=self.strangest * factor,
            narrowest=self.narrowest / factor,
        )


def span_of(states: Tensor) -> Tensor:
    """Give the range of each channel over the tokens of each sample, (samples, channels)."""
    return states.amax(1) - states.amin(1)
