"""A prediction of interventions that were not run, with an interval that was checked on some that were."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mamba_mender.inspection.causality.counterfactual_accuracy import CounterfactualAccuracy, counterfactual_accuracy
from mamba_mender.inspection.causality.patching import Patching
from mamba_mender.inspection.result import Result


@dataclass(frozen=True)
class PredictedEffects(Result):
    """Predicted changes of the metric, each (blocks, positions, inputs); low and high hold the stated level."""

    effect: Tensor
    low: Tensor
    high: Tensor
    level: float


@dataclass(frozen=True)
class EffectPredictor(Result):
    """A Bayesian ridge on the features of an intervention, scored on places that it has not seen.

    r2: 1 - squared error / squared error of the training mean, on held-out places: 1 is exact, 0 no better than the
    mean. r2_first_order: the same of the first-order estimate alone. coverage: share of held-out effects inside their
    intervals, to be compared with level. width: mean width of those intervals, in the metric's units.
    sign: counterfactual accuracy of the predicted signs on held-out places.
    places: how many trained, calibrated and were held out. truth, predicted, low, high: the held-out effects, (cases).
    """

    r2: float
    r2_first_order: float
    coverage: float
    level: float
    width: float
    sign: CounterfactualAccuracy
    places: tuple[int, int, int]
    truth: Tensor
    predicted: Tensor
    low: Tensor
    high: Tensor
    _model: Pipeline = field(repr=False)
    _factor: float = field(repr=False)

    @property
    def useful(self) -> bool:
        """Whether it beats the mean on held-out interventions."""
        return self.r2 > 0

    def to_dict(self) -> dict:
        """List the public fields by name."""
        return {name: value for name, value in super().to_dict().items() if not name.startswith("_")}

    def predict(self, screen: Patching) -> PredictedEffects:
        """Predict the effects of patches from their first-order screen.

        Args:
            screen: from :func:`attribution_patching`, of the node and mode it was fitted on.

        Raises:
            RuntimeError: it lost to the mean on held-out interventions, so that it has nothing to say.
        """
        if not self.useful:
            raise RuntimeError(
                f"EffectPredictor.predict: on held-out interventions it is no better than their mean "
                f"(R² {self.r2:.2f}); run the interventions themselves, by activation_patching."
            )
        mean, spread = _predict(self._model, _features(screen).reshape(-1, FEATURES))
        shape = screen.patched.shape
        effect, half = (torch.from_numpy(a).reshape(shape) for a in (mean, self._factor * spread))
        return PredictedEffects(effect, effect - half, effect + half, self.level)


FEATURES = 6


def fit_effect_predictor(
    screen: Patching, truth: Patching, *, level: float = 0.9, shares: tuple[float, float] = (0.5, 0.25), seed: int = 0
) -> EffectPredictor:
    """Learn to predict the effects of patches from where they are, how large they are and what the first order says.

    Places (a block and a position) are split into three at random: on the first a Bayesian ridge is fitted, on the
    second its intervals are scaled by split conformal prediction, and on the third it is scored. A place's score is the
    largest ``|truth - predicted| / spread`` of its inputs; with n of them, the factor of the spread is their
    ceil((n + 1) level)-th smallest. So, over random splits, all effects at a new place lie inside with that level.

    Args:
        screen: from :func:`attribution_patching`.
        truth: from :func:`activation_patching`, of the same places and inputs.
        level: share of held-out effects that the intervals shall hold.
        shares: of the places that train and calibrate; the rest is held out.
        seed: of the split.

    Returns:
        The predictor and its scores; it refuses to predict where it loses to the mean.

    Raises:
        ValueError: screen and truth are of different places, or there are fewer than 12 places.

    Source: Vovk, Gammerman & Shafer, "Algorithmic learning in a random world" (2005), chapter 2; Lei et al.,
    "Distribution-free predictive inference for regression" (arXiv:1604.04173), section 5.2, for the scaled scores.
    """
    same = ("node", "mode", "direction", "blocks", "positions")
    differ = [name for name in same if getattr(screen, name) != getattr(truth, name)]
    if differ or screen.patched.shape != truth.patched.shape:
        raise ValueError(f"fit_effect_predictor: screen and truth differ in {', '.join(differ) or 'inputs'}.")
    if screen.method != "first order" or truth.method != "exact":
        raise ValueError(
            f"fit_effect_predictor: needs a first-order screen and an exact truth, got {screen.method!r} and "
            f"{truth.method!r}."
        )
    count, inputs = len(truth.blocks) * len(truth.positions), truth.patched.shape[-1]
    if count < 12:
        raise ValueError(f"fit_effect_predictor: needs at least 12 places to split in three, got {count}.")
    order = np.random.default_rng(seed).permutation(count)
    one, two = round(shares[0] * count), round((shares[0] + shares[1]) * count)
    parts = [order[:one], order[one:two], order[two:]]
    if min(len(part) for part in parts) < 2:
        raise ValueError(f"fit_effect_predictor: shares {shares} leave a part of the {count} places without two.")
    features = _features(screen).reshape(count, inputs, FEATURES)
    effects = truth.effect.detach().double().cpu().numpy().reshape(count, inputs)
    (x, y), (x_scale, y_scale), (x_held, y_held) = (
        (features[part].reshape(-1, FEATURES), effects[part].reshape(-1)) for part in parts
    )
    model = make_pipeline(StandardScaler(), BayesianRidge()).fit(x, y)
    mean, spread = _predict(model, x_scale)
    scores = np.abs(y_scale - mean) / spread
    scores = np.sort(scores.reshape(-1, inputs).max(1))  # a place's inputs err together, so it counts as one
    rank = math.ceil((len(scores) + 1) * level)
    factor = float(scores[rank - 1]) if rank <= len(scores) else math.inf
    predicted, spread = _predict(model, x_held)
    low, high = predicted - factor * spread, predicted + factor * spread
    return EffectPredictor(
        r2=_r2(y_held, predicted, y.mean()),
        r2_first_order=_r2(y_held, x_held[:, 0], y.mean()),
        coverage=float(np.mean((y_held >= low) & (y_held <= high))),
        level=level,
        width=float(np.mean(high - low)),
        sign=counterfactual_accuracy(torch.from_numpy(predicted), torch.from_numpy(y_held)),
        places=(len(parts[0]), len(parts[1]), len(parts[2])),
        truth=torch.from_numpy(y_held),
        predicted=torch.from_numpy(predicted),
        low=torch.from_numpy(low),
        high=torch.from_numpy(high),
        _model=model,
        _factor=factor,
    )


def _features(screen: Patching) -> np.ndarray:
    """Describe each patch: first-order effect, its size, size of the change, depth, place, and effect by depth."""
    first = screen.effect.detach().double().cpu()
    change = screen.change.detach().double().cpu()
    deepest, farthest = max(max(screen.blocks), 1), max(max(screen.positions), 1)
    depth = (torch.tensor(screen.blocks, dtype=torch.float64) / deepest)[:, None, None].expand_as(first)
    place = (torch.tensor(screen.positions, dtype=torch.float64) / farthest)[None, :, None].expand_as(first)
    return torch.stack([first, first.abs(), change, depth, place, first * depth], -1).numpy()


def _predict(model: Pipeline, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, spread = model[-1].predict(model[:-1].transform(features), return_std=True)
    return mean, np.maximum(spread, 1e-12)


def _r2(truth: np.ndarray, predicted: np.ndarray, mean: float) -> float:
    around = float(((truth - mean) ** 2).sum())
    return 1 - float(((truth - predicted) ** 2).sum()) / around if around > 0 else float("-inf")
