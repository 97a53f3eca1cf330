"""Whether the mean state of a stream is one that healthy images of some classes can have."""

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from mamba_mender.repair.guard.law import Modes
from mamba_mender.repair.guard.matrix_power import matrix_power, shrink

SPAN = 200  # samples that the running mean is over, about
LEAST = 50  # samples before it is judged
BLOCKS = 10  # healthy blocks without which there is no limit
SLACK = 1.3  # times the largest misfit of healthy blocks, sorted by class or not
RIDGE = 1e-3  # of the mean variance, added to the covariance within classes
SUM_WEIGHT = 1e3  # with which shares are held to sum to 1


class StreamDrift(nn.Module):
    """Keep the running mean of all states at a site, and tell whether any mix of healthy classes explains it.

    misfit = n min_pi mean(|S_w^(-1/2) (m - sum_k pi_k m_k)|^2), pi >= 0, sum pi = 1

    with n the samples behind the mean m and S_w the healthy covariance within classes, by bands of token modes: near 1
    for healthy images of whatever classes. A shift that no single sample shows, such as a little more light, shows in
    the mean of many.

    Args:
        means: healthy, by class, (classes, tokens, channels).
        within: healthy covariance of each band within classes, (bands, channels, channels).
        modes: the site's token modes.
        limit: misfit above which a stream is shifted.

    Example:
        >>> means = torch.tensor([[[0.0], [1.0]], [[1.0], [0.0]]])
        >>> watch = StreamDrift(means, torch.ones(1, 1, 1), Modes(torch.eye(2), (0, 2)), limit=3.0)
        >>> sorted_stream = means[:1].expand(100, 2, 1)
        >>> watch.is_drifted(sorted_stream), watch.is_drifted(sorted_stream + 1)
        (False, True)
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, means: Tensor, within: Tensor, modes: Modes, limit: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros_like(means[0]))
        self.register_buffer("weight", torch.zeros((), dtype=torch.float64))
        self.register_buffer("_whiteners", torch.zeros_like(within), persistent=False)
        self.judge_by(means, within, modes, limit)

    def judge_by(self, means: Tensor, within: Tensor, modes: Modes, limit: float) -> None:
        """Judge by another law from now on; what was seen is kept."""
        self.limit, self._modes = limit, modes
        self.get_buffer("_whiteners").copy_(matrix_power(shrink(within, RIDGE), -0.5))
        self._known = self._whitened(means)

    def is_drifted(self, states: Tensor) -> bool:
        """Judge the stream with these samples, (samples, tokens, channels), as its newest."""
        mean, weight = self._with(states)
        return weight >= LEAST and self.misfit(mean, weight) > self.limit

    def count(self, states: Tensor) -> None:
        """Take these samples into the running mean."""
        mean, weight = self._with(states)
        self.mean.copy_(mean)
        self.weight.fill_(weight)

    def reset(self) -> None:
        """Forget the stream."""
        self.mean.zero_()
        self.weight.zero_()

    def misfit(self, mean: Tensor, count: float) -> float:
        """Measure what no mix of classes explains of a mean over count samples, (tokens, channels)."""
        seen, known = self._whitened(mean[None])[0], self._known
        centre = known.mean(0)
        root = np.linalg.qr(np.vstack([known - centre, seen - centre]).T)[1]  # as few rows as there are classes
        table = np.vstack([root[:, :-1], np.full((1, len(known)), SUM_WEIGHT)])
        shares = nnls(table, np.append(root[:, -1], SUM_WEIGHT))[0]
        return count * float(np.square(seen - shares @ known / shares.sum()).mean())

    def _with(self, states: Tensor) -> tuple[Tensor, float]:
        newest = states.detach().to(self.mean.dtype).nan_to_num()
        kept = min(float(self.weight), max(0.0, SPAN - len(newest)))
        whole = kept + len(newest)
        return (self.mean * kept + newest.sum(0)) / whole, whole

    def _whitened(self, means: Tensor) -> np.ndarray:
        split = self._modes.split(means)
        white = [c @ w for c, w in zip(split, self.get_buffer("_whiteners"), strict=True)]
        return torch.cat(white, 1).flatten(1).double().cpu().numpy()


class HealthyBlocks:
    """Means of blocks of up to 200 healthy samples, as they come and sorted by class; those below 50 are left out."""

    def __init__(self) -> None:
        self.done: list[tuple[Tensor, int]] = []
        self._open: dict[int | None, tuple[Tensor, int]] = {}

    def add(self, states: Tensor, classes: Tensor) -> None:
        """Take in states, (samples, tokens, channels), and their classes, (samples,)."""
        groups = {None: states} | {int(kind): states[classes == kind] for kind in classes.unique()}
        for name, own in groups.items():
            while len(own):
                total, count = self._open.get(name, (torch.zeros_like(own[0]), 0))
                taken = own[: SPAN - count]
                total, count, own = total + taken.sum(0), count + len(taken), own[len(taken) :]
                self._open[name] = (total, count)
                if count == SPAN:
                    self.done.append((total / count, count))
                    del self._open[name]

    def means(self) -> list[tuple[Tensor, int]]:
        """Give the mean of each block, (tokens, channels), and its samples."""
        return self.done + [(total / count, count) for total, count in self._open.values() if count >= LEAST]
