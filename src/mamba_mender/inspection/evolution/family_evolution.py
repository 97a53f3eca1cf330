"""The same measures of evolution over depth and tokens for a Mamba and for a transformer."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mamba_mender.inspection.attention import hidden_attention
from mamba_mender.inspection.evolution.depth_states import depth_states
from mamba_mender.inspection.evolution.sequences import check_states
from mamba_mender.inspection.evolution.stability import stability
from mamba_mender.inspection.evolution.token_mixing import TokenMixing, token_mixing
from mamba_mender.inspection.evolution.transformer_run import transformer_run
from mamba_mender.inspection.evolution.transition import Transition, transition
from mamba_mender.inspection.predict import predict
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.similarity import linear_cka, token_rows
from mamba_mender.taps import record


@dataclass(frozen=True, eq=False)
class FamilyEvolution(Result):
    """How one model's residual stream evolves, in measures that do not depend on the kind of its layers.

    name: the model's class.
    parameters: how many numbers were learned, shared ones counted once.
    stability: from token to token, mean over inputs; of the embedding and after each layer, (layers + 1).
    shuffled_stability: the same with tokens in random order, (layers + 1).
    cka_to_next: unbiased linear CKA of the stream before and after each layer, over tokens, (layers).
    shuffled_cka: the same with the tokens after the layer in random order: what chance gives, (layers).
    transition: how well the stream after each layer is predicted linearly from the one before.
    mixing: entropy, distance and rollout of attention, or of hidden attention averaged over channels.
    """

    name: str
    parameters: int
    stability: Tensor
    shuffled_stability: Tensor
    cka_to_next: Tensor
    shuffled_cka: Tensor
    transition: Transition
    mixing: TokenMixing


@dataclass(frozen=True, eq=False)
class FamilyComparison(Result):
    """A Mamba and a transformer, side by side, on the same inputs.

    mamba, transformer: their measures.
    parameter_ratio: parameters of the Mamba over those of the transformer; compare only where it is near 1.
    """

    mamba: FamilyEvolution
    transformer: FamilyEvolution
    parameter_ratio: float


def family_evolution(
    states: Sequence[Tensor],
    matrices: Sequence[Tensor],
    *,
    name: str,
    parameters: int,
    mask: Tensor | None = None,
    folds: int = 5,
    seed: int = 0,
) -> FamilyEvolution:
    """Measure the evolution of a residual stream from plain tensors, whatever made them.

    Args:
        states: the embedding and the output of each layer, each (batch, tokens, channels). The last of
            transformers' ``hidden_states`` is after the final norm: :func:`transformer_run` gives the one before.
        matrices: attention of each layer, (batch, [heads,] tokens, tokens), causal.
        name: of the model.
        parameters: of the model.
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        folds: of :func:`transition`.
        seed: of the folds and of the random order.

    Returns:
        The measures.

    Raises:
        ValueError: shapes disagree, there are too few inputs or tokens, or a value is not finite.

    Example:
        >>> h = torch.randn(4, 5, 3)
        >>> found = family_evolution([h, 2 * h], [torch.eye(5).expand(4, 5, 5)], name="twice", parameters=1)
        >>> round(found.cka_to_next.item(), 6), found.mixing.entropy.item()
        (1.0, 0.0)
    """
    check_states("family_evolution", states, mask, least=2)
    if len(matrices) != len(states) - 1:
        raise ValueError(
            f"family_evolution: {len(states)} states, the embedding first, need {len(states) - 1} matrices, "
            f"got {len(matrices)}."
        )
    mixing = token_mixing(matrices, mask=mask)
    steady = [stability(state.detach(), mask=mask) for state in states]
    rows = [token_rows(state, mask).rows for state in states]
    order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(seed))
    return FamilyEvolution(
        name=name,
        parameters=parameters,
        stability=torch.stack([each.mean.double().nanmean() for each in steady]),
        shuffled_stability=torch.stack([each.shuffled.double().nanmean() for each in steady]),
        cka_to_next=torch.stack([linear_cka(x, y) for x, y in pairwise(rows)]),
        shuffled_cka=torch.stack([linear_cka(x, y[order]) for x, y in pairwise(rows)]),
        transition=transition(states, mask=mask, folds=folds, seed=seed),
        mixing=mixing,
    )


@torch.no_grad()
def compare_families(
    mamba: nn.Module,
    transformer: nn.Module,
    inputs: Tensor,
    *,
    mask: Tensor | None = None,
    folds: int = 5,
    seed: int = 0,
) -> FamilyComparison:
    """Measure a Mamba and a transformer by the same formulas on the same tokens.

    Both are read at the residual stream, before the final norm. For the Mamba, hidden attention averaged over
    channels stands for attention. Holds (layers, batch, tokens, tokens): give short inputs.

    Args:
        mamba: a causal language model of transformers whose every layer is a Mamba block.
        transformer: a causal language model of transformers whose every layer has attention, made with
            ``attn_implementation="eager"``; of about as many parameters, or the comparison says little.
        inputs: token numbers that both know, (batch, tokens).
        mask: True at real tokens, (batch, tokens); None where nothing is padded.
        folds: of :func:`transition`.
        seed: of the folds and of the random order.

    Returns:
        The measures of both, with their sizes.

    Raises:
        ValueError: a model is of another kind, or the inputs are too few.
        RuntimeError: a model is in training mode, so that dropout would be measured.
    """
    for model in (mamba, transformer):
        if model.training:
            raise RuntimeError(f"compare_families: {type(model).__name__} is in training mode; call its eval() first.")
    with record(mamba, "h") as run:
        predict(mamba, inputs, mask=mask)
    states = depth_states(run)
    scans = list(run.scans.values())
    if sorted(scan.block for scan in scans) != list(range(len(states) - 1)):
        raise ValueError(
            f"compare_families: {type(mamba).__name__} has scans in blocks {[scan.block for scan in scans]} of "
            f"{len(states) - 1}; give a model with one scan in every block."
        )
    scans.sort(key=lambda scan: scan.block)
    settings = {"mask": mask, "folds": folds, "seed": seed}
    matrices = [hidden_attention(scan).values for scan in scans]
    one = family_evolution(states, matrices, name=type(mamba).__name__, parameters=_size(mamba), **settings)
    other_run = transformer_run(transformer, inputs, mask=mask)
    other = family_evolution(
        other_run.states,
        other_run.attentions,
        name=type(transformer).__name__,
        parameters=_size(transformer),
        **settings,
    )
    return FamilyComparison(one, other, one.parameters / other.parameters)


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
