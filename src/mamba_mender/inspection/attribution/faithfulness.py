"""Faithfulness of relevance: what the prediction does when tokens are taken away or shown in its order."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mamba_mender._check import nearest
from mamba_mender.inspection.attribution.against_random import AgainstRandom, against_random
from mamba_mender.inspection.attribution.embedding import embedding, predict_from
from mamba_mender.inspection.attribution.replacement import Replacement, replacement_embedding
from mamba_mender.inspection.attribution.target_score import refuse_training, target_score
from mamba_mender.inspection.attribution.tokens import own_tokens, rank_tokens
from mamba_mender.inspection.result import Result

Measure = Literal["probability", "logit"]


@dataclass(frozen=True, eq=False)
class Faithfulness(Result):
    """How a score falls and rises as tokens are replaced and shown in the order of their relevance.

    share: of the tokens replaced (deletion) or shown (insertion), (points), from 0 to 1.
    deletion: the score as the most relevant tokens are replaced first, (batch, points).
    insertion: the score as the most relevant tokens are shown first, all others replaced, (batch, points).
    random_deletion: the same in random orders, (draws, batch, points); read backwards it is a random insertion.
    deletion_auc: mean of the deletion curve over the share; lower is better.
    insertion_auc: mean of the insertion curve over the share; higher is better.
    target: the class or token, (batch).
    measure: "probability" or "logit" of the target.
    replacement: what stands in the place of a token: "blank", "blur", "mean", "token N" or "given".
    """

    share: Tensor
    deletion: Tensor
    insertion: Tensor
    random_deletion: Tensor
    deletion_auc: AgainstRandom
    insertion_auc: AgainstRandom
    target: Tensor
    measure: Measure
    replacement: str


@torch.no_grad()
def faithfulness(
    model: nn.Module,
    inputs: Tensor,
    relevance: Tensor,
    target: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    replacement: Replacement | None = None,
    measure: Measure = "probability",
    steps: int = 20,
    draws: int = 10,
    seed: int = 0,
    batch_size: int = 64,
    random_deletion: Tensor | None = None,
) -> Faithfulness:
    """Replace tokens in the order of relevance, and show them in that order, beside random orders.

    At point k of steps, the round(k / steps n) most relevant of a sample's n tokens are replaced (deletion) or shown
    while all others are replaced (insertion), in the embedding. The class token and padding stay. The area under a
    curve is that of its trapezoids over the share of tokens.

    Args:
        model: any model that :func:`mamba_mender.taps.record` takes, in eval mode.
        inputs: images, (batch, channels, height, width), or token numbers, (batch, length).
        relevance: (batch, tokens), tokens as the model's.
        target: class numbers, (batch); None takes the largest logits.
        mask: True at real tokens, (batch, length).
        replacement: what stands in the place of a token, see :func:`replacement_embedding`.
        measure: "probability", by a softmax in float64, or "logit".
        steps: points of the curves after the first; at most as many as there are tokens.
        draws: number of random orders.
        seed: of the random orders.
        batch_size: sequences in one pass.
        random_deletion: the random curves of another relevance on the same inputs, to save their passes.

    Returns:
        The curves, their areas, and the gain over random orders with its interval over samples.

    Raises:
        ValueError: shapes disagree, a setting is out of range, or the model is in training mode.

    Example:
        >>> from mamba_mender.models import create_model
        >>> model, images = create_model("vim_micro", num_classes=2, img_size=8).eval(), torch.rand(2, 3, 8, 8)
        >>> faithfulness(model, images, torch.rand(2, 4)).deletion.shape
        torch.Size([2, 5])

    Source: Petsiuk et al. 2018, "RISE" (arXiv:1806.07421), section 4.2; Samek et al. 2017 (arXiv:1509.06321), section
    III, for taking areas against random orders.
    """
    where = "faithfulness"
    refuse_training(where, model)
    if measure not in get_args(Measure):
        raise ValueError(f"{where}: no measure {measure!r}; {nearest(measure, get_args(Measure))}.")
    if steps < 1 or draws < 2:
        raise ValueError(f"{where}: steps must be at least 1 and draws at least 2, got {steps} and {draws}.")
    value = embedding(model, inputs, mask=mask)
    if relevance.shape != value.shape[:2]:
        raise ValueError(f"{where}: relevance must be {tuple(value.shape[:2])}, got {tuple(relevance.shape)}.")
    base, name = replacement_embedding(model, inputs, replacement, mask=mask)
    target = target_score(predict_from(model, inputs, value, mask=mask), target)[1]
    allowed = own_tokens(model, value, mask)
    passes = _Passes(model, inputs, mask, value, base, target, measure, batch_size)
    points = min(steps, int(allowed.sum(1).max())) + 1
    ranks = rank_tokens(relevance, allowed, seed=seed)
    deletion = passes.scores(ranks, allowed, points)
    insertion = passes.scores(rank_tokens(-relevance, allowed, seed=seed), allowed, points).flip(-1)
    if random_deletion is None:
        random_deletion = _random_curves(passes, allowed, points, draws, seed)
    share = torch.linspace(0, 1, points, dtype=torch.float64, device=value.device)
    random = _area(random_deletion)
    return Faithfulness(
        share=share,
        deletion=deletion,
        insertion=insertion,
        random_deletion=random_deletion,
        deletion_auc=against_random(_area(deletion), random, lower_is_better=True),
        insertion_auc=against_random(_area(insertion), random),
        target=target,
        measure=measure,
        replacement=name,
    )


@dataclass(frozen=True, eq=False)
class _Passes:
    """Score sequences some of whose tokens are replaced."""

    model: nn.Module
    inputs: Tensor
    mask: Tensor | None
    value: Tensor
    base: Tensor
    target: Tensor
    measure: Measure
    batch_size: int

    def scores(self, ranks: Tensor, allowed: Tensor, points: int) -> Tensor:
        """Score each sample as its first tokens are replaced, (batch, points)."""
        shares = torch.linspace(0, 1, points, dtype=torch.float64, device=ranks.device)
        counts = (shares[:, None] * allowed.sum(1)).round().long()  # (points, batch)
        replaced = (ranks < counts[..., None]) & allowed  # (points, batch, tokens)
        rows = torch.arange(points * len(ranks), device=ranks.device)
        found = [self._score(part % len(ranks), replaced.flatten(0, 1)[part]) for part in rows.split(self.batch_size)]
        return torch.cat(found).reshape(points, len(ranks)).T

    def _score(self, samples: Tensor, replaced: Tensor) -> Tensor:
        value = torch.where(replaced[..., None], self.base[samples], self.value[samples])
        mask = None if self.mask is None else self.mask[samples]
        logits = predict_from(self.model, self.inputs[samples], value, mask=mask).double()
        scores = logits.softmax(1) if self.measure == "probability" else logits
        return scores.gather(1, self.target[samples, None])[:, 0]


def _random_curves(passes: _Passes, allowed: Tensor, points: int, draws: int, seed: int) -> Tensor:
    """Score random orders, (draws, batch, points)."""
    draw = torch.Generator().manual_seed(seed)
    random = torch.rand(draws, *allowed.shape, generator=draw).to(allowed.device)
    return torch.stack([passes.scores(rank_tokens(one, allowed), allowed, points) for one in random])


def _area(curves: Tensor) -> Tensor:
    """Take the mean of curves over the share of tokens, by trapezoids."""
    return (curves[..., 1:] + curves[..., :-1]).mean(-1) / 2
