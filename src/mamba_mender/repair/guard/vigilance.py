"""Whether a stream is shifted as a whole, and from which p-value on its samples are then repaired."""

import math

import torch
from scipy.special import bdtrc
from torch import Tensor, nn

SPAN = 200  # samples that are looked back on
NEWEST = 50  # of these, or the newest batch, which tell that a shift is over
OVER = 4.0  # standard deviations by which they have to be healthier than those before
RARE = 1e-3  # share of healthy spans that are taken for shifted by their flags
SURE = 3.1  # standard deviations that 0.1 % of healthy spans exceed in their share of small p-values
LEEWAY = 0.06  # by which the share of small p-values may be off where kinds are only guessed
BARS = 20  # p-values that are tried


class Vigilance(nn.Module):
    """Look back on the p-values of a stream.

    A single sample is flagged where its p-value is at most alpha, so that alpha of healthy ones are. When more flags
    come than that explains, P(Binomial(n, alpha) >= f) <= 0.001 for f flags of n samples, the stream is shifted and
    flagged samples are repaired; the tail is exact, so that a first flag alone, or two at a large alpha, prove nothing.
    When more p-values lie below one half than chance explains (by 0.06 and 3.1 standard deviations), a share
    1 - h = 2 P(p <= 1/2) - 1 of the samples is taken for shifted, and the bar rises to the largest p at which at least
    half of the flagged ones are: h p <= P(p' <= p) / 2. When the newest 50 look healthy,
    and by 4 standard deviations fewer of them lie below one half than of those before, the shift is over, and what came
    before is forgotten.

    Args:
        alpha: false-alarm rate of single samples.
        calibrated: held-out samples behind the p-values; few of them make shares of small p-values less sure, and few
            of one kind still less, which is not allowed for.

    Example:
        >>> watch = Vigilance(0.03)
        >>> watch.bar(torch.linspace(0.01, 1, 100)), watch.bar(torch.full((100,), 0.3))
        (0.03, 1.0)

    Source: the share of true nulls of Storey, A direct approach to false discovery rates (2002).
    """

    history: Tensor

    def __init__(self, alpha: float, calibrated: int = 1_000_000) -> None:
        super().__init__()
        self.alpha, self.calibrated = alpha, calibrated
        self.register_buffer("history", torch.full((2, SPAN), math.nan))

    def bar(self, p: Tensor) -> float:
        """Give the p-value up to which samples are flagged, with these, (samples,), as the newest of the stream."""
        seen = self._with(p, p)[0]
        below = float((seen <= 0.5).double().mean())
        if below <= 0.5 + LEEWAY + SURE * 0.5 * math.sqrt(1 / len(seen) + 1 / self.calibrated):
            return self.alpha
        healthy = 2 * (1 - below)
        bars = torch.linspace(0, 1, BARS + 1, dtype=torch.float64)[1:].tolist()
        right = [bar for bar in bars if healthy * bar <= float((seen <= bar).double().mean()) / 2]
        return max([self.alpha, *right])

    def is_shifted(self, p: Tensor, flagged: Tensor) -> bool:
        """Say whether samples are more often flagged than healthy ones, these, (samples,), among them."""
        flags = self._with(p, flagged)[1]
        return float(bdtrc(int(flags.sum()) - 1, len(flags), self.alpha)) <= RARE

    def count(self, p: Tensor, flagged: Tensor) -> bool:
        """Look back on these samples from now on; says whether a shift is over, so that older ones were forgotten."""
        before = int((~self.history[0].isnan()).sum())
        newest = self._with(p, flagged)
        self.history.fill_(math.nan)
        kept = newest[:, -SPAN:]
        self.history[:, : kept.shape[1]] = kept
        return newest.shape[1] < min(before + len(p), SPAN)

    def reset(self) -> None:
        """Forget the stream."""
        self.history.fill_(math.nan)

    def _with(self, p: Tensor, flagged: Tensor) -> Tensor:
        """Put p-values and flags of new samples behind the old ones, and keep the newest, (2, up to 200)."""
        new = torch.stack([p.to(self.history), flagged.to(self.history)])
        old = self.history[:, ~self.history[0].isnan()]
        seen = torch.cat([old, new], 1)[:, -max(SPAN, new.shape[1]) :]
        newest = max(NEWEST, len(p))
        return seen[:, -newest:] if _is_over(seen[0, :-newest], seen[0, -newest:]) else seen


def _is_over(earlier: Tensor, newest: Tensor) -> bool:
    """Say whether a shift that the earlier p-values show is over in the newest."""
    if not len(earlier):
        return False
    then, now = (float((p <= 0.5).double().mean()) for p in (earlier, newest))
    chance = 0.5 * math.sqrt(1 / len(newest) + 1 / len(earlier))
    return now <= 0.5 + LEEWAY + 0.5 * math.sqrt(1 / len(newest)) and then - now > OVER * chance
