"""How well the state after a block is predicted linearly from the state before it, on inputs never fitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from mamba_mender.inspection.evolution.ridge import PENALTIES, Ridge, fit_ridge
from mamba_mender.inspection.evolution.sequences import check_states
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class Transition(Result):
    """How well each state is predicted from the one before, on held-out inputs.

    r2: 1 - error of ridge / error of the mean; 1 is exact, 0 no better than the mean of training, (transitions).
    copy_r2: the same for the copy, which predicts that nothing changes; NaN where the widths differ, (transitions).
    gain: 1 - error of ridge / error of the copy; above 0 ridge knows how the state changes; NaN where the copy has
        no error or does not exist, (transitions).
    fold_gain: the gain of each fold, (transitions, folds).
    penalty: the penalty that inner validation chose, as a share of the mean eigenvalue, (transitions, folds).
    toward_copy: whether inner validation chose to shrink to the copy, not to the mean, bool, (transitions, folds).
    inputs, tokens: how many inputs and real tokens were used.
    """

    r2: Tensor
    copy_r2: Tensor
    gain: Tensor
    fold_gain: Tensor
    penalty: Tensor
    toward_copy: Tensor
    inputs: int
    tokens: int


def transition(states: Sequence[Tensor], *, mask: Tensor | None = None, folds: int = 5, seed: int = 0) -> Transition:
    r"""Predict each state from the one before by ridge regression, scored on inputs that were not fitted.

    For transition l, summed over the tokens i of held-out inputs and over channels::

        R2 = 1 - sum |h_{l+1,i} - f(h_{l,i})|^2 / sum |h_{l+1,i} - mean|^2

    f is affine. The penalty, and whether it shrinks f to the mean or to the copy f(h) = h, are chosen on inputs
    held out within training. Inputs, not tokens, are split: tokens of one input are alike. A residual stream
    changes little per block, so R2 alone is near 1 for a copy: read ``gain``.

    Args:
        states: of consecutive blocks, e.g. from :func:`depth_states`, each (batch, tokens, channels).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        folds: how many parts the inputs are split into; each is held out once. At most the batch.
        seed: of the split.

    Returns:
        The scores of each pair of consecutive states.

    Raises:
        ValueError: there are fewer than 2 states or 3 inputs, a shape is wrong, or a value is not finite.

    Example:
        >>> h = torch.randn(6, 20, 3)
        >>> bool(transition([h, 2 * h]).r2.item() > 0.999)
        True
    """
    real = check_states("transition", states, mask, least=2)
    inputs = len(real)
    if inputs < 3:
        raise ValueError(f"transition: at least 3 inputs are needed to hold some out twice, got {inputs}.")
    if folds < 2:
        raise ValueError(f"transition: folds must be at least 2, got {folds}.")
    order = torch.randperm(inputs, generator=torch.Generator().manual_seed(seed))
    parts = order.tensor_split(min(folds, inputs))
    pairs = list(pairwise(states))
    rows = [[_score_fold(x, y, real, part, order) for part in parts] for x, y in pairs]
    errors = torch.tensor([[row[:3] for row in folded] for folded in rows], dtype=torch.float64)
    ridge, copy, mean = errors.sum(1).unbind(-1)
    return Transition(
        r2=_share(ridge, mean),
        copy_r2=_share(copy, mean),
        gain=_share(ridge, copy),
        fold_gain=_share(errors[..., 0], errors[..., 1]),
        penalty=torch.tensor([[row[3] for row in folded] for folded in rows]),
        toward_copy=torch.tensor([[row[4] for row in folded] for folded in rows]),
        inputs=inputs,
        tokens=int(real.sum()),
    )


def _share(error: Tensor, baseline: Tensor) -> Tensor:
    """Compute 1 - error / baseline, NaN where the baseline has no error."""
    return torch.where(baseline > 0, 1 - error / baseline, torch.nan)


def _score_fold(
    x: Tensor, y: Tensor, real: Tensor, held_out: Tensor, order: Tensor
) -> tuple[float, float, float, float, bool]:
    """Fit on the other inputs. Returns the squared errors of ridge, copy and mean, and what was chosen."""
    fitted = order[~torch.isin(order, held_out)]
    inner = max(1, len(fitted) // 4)
    penalty, toward_copy = _choose(_rows(x, y, real, fitted[inner:]), _rows(x, y, real, fitted[:inner]))
    train_x, train_y = _rows(x, y, real, fitted)
    test_x, test_y = _rows(x, y, real, held_out)
    predicted = fit_ridge(train_x, train_y).predict(test_x, penalty, toward_copy=toward_copy)
    copy = _error(test_x, test_y) if x.shape[-1] == y.shape[-1] else float("nan")
    return _error(predicted, test_y), copy, _error(train_y.mean(0), test_y), penalty, toward_copy


def _rows(x: Tensor, y: Tensor, real: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Take the real tokens of some inputs as rows, in float64."""
    kept = real[inputs]
    return x[inputs][kept].double(), y[inputs][kept].double()


def _choose(train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]) -> tuple[float, bool]:
    """Choose the penalty, and to what it shrinks, by the error on validation."""
    fit: Ridge = fit_ridge(*train)
    targets = (False, True) if train[0].shape[-1] == train[1].shape[-1] else (False,)
    tried = {
        (penalty, toward): _error(fit.predict(validation[0], penalty, toward_copy=toward), validation[1])
        for toward in targets
        for penalty in PENALTIES
    }
    return min(tried, key=tried.__getitem__)


def _error(predicted: Tensor, true: Tensor) -> float:
    return (predicted - true).square().sum().item()
