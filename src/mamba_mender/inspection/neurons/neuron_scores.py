"""What every way of scoring neurons returns."""

from dataclasses import dataclass

from torch import Tensor

from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class NeuronScores(Result):
    """How much each neuron, a channel, takes part, for each input.

    method: how it was measured.
    score: with its sign, so that what raises and what lowers cancel over tokens, (batch, channels).
    magnitude: the same sum over absolute values, (batch, channels); abs(score) <= magnitude.
    """

    method: str
    score: Tensor
    magnitude: Tensor
