"""How often the nearest stored pattern has the label of an input that was never stored."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.evolution.pattern_memory import PatternMemory
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class RetrievalScore(Result):
    """How well labels are recalled for held-out inputs.

    accuracy: share of held-out inputs whose label the nearest items vote for.
    chance: share that the most frequent label in memory gets right.
    null: accuracy with the labels in memory permuted, (surrogates).
    p_value: share of permutations, the truth itself counted, that are at least as accurate.
    recalled: the label that was voted for, (queries).
    neighbours: how many items vote.
    """

    accuracy: float
    chance: float
    null: Tensor
    p_value: float
    recalled: Tensor
    neighbours: int


def retrieval_score(
    memory: PatternMemory,
    states: Tensor,
    labels: Tensor,
    *,
    neighbours: int = 1,
    surrogates: int = 199,
    seed: int = 0,
) -> RetrievalScore:
    """Recall the labels of held-out inputs from the nearest stored patterns, and compare with chance.

    The nearest items vote; of labels with equally many votes the one with the nearest item wins.

    Args:
        memory: with labels; must not hold the inputs that are asked.
        states: of held-out inputs, (queries, channels).
        labels: their true labels, int64, (queries).
        neighbours: how many items vote.
        surrogates: permutations of the labels in memory.
        seed: of the permutations.

    Returns:
        The accuracy beside chance.

    Raises:
        ValueError: the memory has no labels, shapes disagree, or there is no query.

    Example:
        >>> from mamba_mender.inspection.evolution import remember
        >>> labels = torch.arange(40) % 2
        >>> states = labels[:, None] + 0.01 * torch.arange(40)[:, None]
        >>> retrieval_score(remember(states[:20], labels=labels[:20]), states[20:], labels[20:]).accuracy
        1.0
    """
    if memory.labels is None:
        raise ValueError("retrieval_score: the memory has no labels; give them to remember.")
    check_axes("retrieval_score", {}, states=(states, "queries channels"), labels=(labels, "queries"))
    if not len(labels):
        raise ValueError("retrieval_score: there is no held-out input to score on.")
    found = memory.recall(states, neighbours)
    recalled = _vote(memory.labels[found])
    accuracy = _right(recalled, labels)
    draw = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(memory.keys), generator=draw) for _ in range(surrogates)]
    null = torch.tensor([_right(_vote(memory.labels[order][found]), labels) for order in orders], dtype=torch.float64)
    return RetrievalScore(
        accuracy=accuracy,
        chance=_right(memory.labels.mode().values.expand(len(labels)), labels),
        null=null,
        p_value=(1 + int((null >= accuracy).sum())) / (1 + surrogates),
        recalled=recalled,
        neighbours=neighbours,
    )


def _vote(found: Tensor) -> Tensor:
    """Take the most frequent label of each row; argmax takes the first, so the nearest, among equals."""
    votes = (found[:, :, None] == found[:, None, :]).sum(2)
    return found.gather(1, votes.argmax(1, keepdim=True))[:, 0]


def _right(recalled: Tensor, labels: Tensor) -> float:
    return (recalled == labels).double().mean().item()
