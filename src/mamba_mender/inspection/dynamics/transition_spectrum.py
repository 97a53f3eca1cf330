"""The eigenvalues of the transition from one state to the next."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.dynamics.scan_terms import ScanTerms, scan_terms
from mamba_mender.inspection.result import Result
from mamba_mender.taps import ScanRecord, derived

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class TransitionSpectrum(Result):
    """The eigenvalues a = exp(step A) of the transition over the tokens; padding does not count.

    levels: of the quantiles, e.g. 0.5 for the median.
    quantiles: of each coordinate's a over the tokens, (batch, channels, state, levels).
    edges: of the histogram's bins, (bins + 1), from 0 to 1.
    histogram: how many a of all channels, coordinates and tokens lie in each bin, (batch, bins); a bin holds its
        lower edge, and the last one also what is 1 or above.
    radius: spectral radius of each step, the largest a of all channels, (batch, length), NaN at padding.
    margin: 1 - radius, how much of the slowest coordinate a step forgets, (batch, length); < 0 if it grows.
    window: number of tokens of a window.
    window_radius, window_margin: the same for the product of the transitions of the last ``window`` tokens,
        (batch, length), NaN where there are fewer.
    """

    levels: tuple[float, ...]
    quantiles: Tensor
    edges: Tensor
    histogram: Tensor
    radius: Tensor
    margin: Tensor
    window: int
    window_radius: Tensor
    window_margin: Tensor


def transition_spectrum(
    record: ScanRecord, *, levels: Sequence[float] = LEVELS, bins: int = 50, window: int = 16
) -> TransitionSpectrum:
    """Describe the eigenvalues of the per-step transition, which is diagonal, over all tokens.

    Computes ``a[t, c, n] = exp(step[t, c] A[c, n])``. As a is monotone in the step, quantiles and histogram follow
    from the sorted steps, and the product over a window from the sum of its steps; no (channels, state, length)
    tensor is made. Quantiles are interpolated linearly between neighbouring a.

    Args:
        record: the scan.
        levels: of the quantiles, in [0, 1].
        bins: of the histogram over [0, 1].
        window: number of tokens whose transitions are multiplied.

    Returns:
        The spectrum.

    Raises:
        ValueError: a level is outside [0, 1]; bins or window is below 1; or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8)) as run:
        ...     _ = model(torch.ones(1, 3, 8, 8))
        >>> bool((transition_spectrum(run["layers.0.mixer.forward_scan"]).margin > 0).all())
        True

    Source: Gu & Dao, "Mamba" (arXiv:2312.00752), section 2: the transition is diagonal.
    """
    if not levels or not all(0 <= level <= 1 for level in levels):
        raise ValueError(f"transition_spectrum: levels must be numbers in [0, 1], at least one, got {list(levels)}.")
    if bins < 1 or window < 1:
        raise ValueError(f"transition_spectrum: bins and window must be at least 1, got {bins} and {window}.")
    return _transition_spectrum(record, tuple(levels), bins, window)


@derived
@torch.no_grad()
def _transition_spectrum(record: ScanRecord, levels: tuple[float, ...], bins: int, window: int) -> TransitionSpectrum:
    terms = scan_terms("transition_spectrum", record)
    steps = torch.where(terms.real[:, None], terms.step, torch.inf).contiguous().sort(-1).values  # padding comes last
    count = terms.real.sum(-1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=steps.device)
    slowest = terms.A.amax(-1)  # (channels)
    exponent = (terms.step * slowest[:, None]).amax(1)
    across = (_window_sum(terms, window) * slowest[:, None]).amax(1)
    exponent = terms.as_recorded(torch.where(terms.real, exponent, torch.nan))
    across = terms.as_recorded(across)
    return TransitionSpectrum(
        levels=levels,
        quantiles=torch.stack([_quantile(steps, terms.A, count, level) for level in levels], -1),
        edges=edges,
        histogram=_histogram(steps, terms.A, count, edges),
        radius=exponent.exp(),
        margin=-exponent.expm1(),
        window=window,
        window_radius=across.exp(),
        window_margin=-across.expm1(),
    )


def _quantile(steps: Tensor, A: Tensor, count: Tensor, level: float) -> Tensor:
    """Take a quantile of exp(step A) over the first ``count`` of the sorted steps, (batch, channels, state)."""
    place = (count - 1).clamp(min=0).double() * level  # float32 would round between two tokens
    ends = []
    for index in (place.floor().long(), place.ceil().long()):
        rising, falling = (
            steps.gather(-1, chosen[:, None, None].expand(-1, steps.shape[1], 1))
            for chosen in (index, (count - 1 - index).clamp(min=0))
        )
        ends.append((torch.where(A < 0, falling, rising) * A).exp())
    value = ends[0].lerp(ends[1], (place - place.floor())[:, None, None].to(A.dtype))
    return torch.where(count[:, None, None] > 0, value, torch.nan)


def _histogram(steps: Tensor, A: Tensor, count: Tensor, edges: Tensor) -> Tensor:
    """Count exp(step A) in each bin: a < edge means step > ln(edge) / A where A < 0, and never where A >= 0."""
    below = [torch.zeros_like(count)]
    for edge in edges[1:-1]:
        limit = (edge.log() / A).expand(len(steps), *A.shape).contiguous()
        faster = count[:, None, None] - torch.searchsorted(steps, limit, right=True)
        below.append(torch.where(A < 0, faster, 0).sum((1, 2)))
    below.append(count * A.numel())
    return torch.stack(below, -1).diff(dim=-1)


def _window_sum(terms: ScanTerms, window: int) -> Tensor:
    """Sum the steps of the last tokens, (batch, channels, length); NaN where there are fewer."""
    total = torch.nn.functional.pad(terms.step.cumsum(-1), (window, 0))
    tokens = torch.nn.functional.pad(terms.real.long().cumsum(-1), (window, 0))
    full = (tokens[:, window:] - tokens[:, :-window]) == window
    return torch.where(full[:, None], total[..., window:] - total[..., :-window], torch.nan)
