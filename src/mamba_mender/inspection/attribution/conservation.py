"""Whether relevance adds up to what it claims to explain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mamba_mender.inspection.result import Result

# The largest error, relative to the relevance that was added up, that rounding in each dtype explains (measured).
BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


class ConservationError(RuntimeError):
    """Relevance does not add up to what its method promises."""


@dataclass(frozen=True, eq=False)
class Conservation(Result):
    """How the relevance of all tokens compares with the score that it explains.

    With R the relevance of a token's channel, b what the biases of the model explain and f the score::

        error = |sum R + b - f| / (sum |R| + |b| + |f|)

    total: sum of the relevance over the tokens, (batch).
    biases: relevance of the model's biases, (batch); zero where the method gives them none.
    expected: what total and biases must add up to, (batch): the score, or its change from the baseline.
    error: relative error, (batch), in [0, 1].
    bound: the largest error that the method allows.
    required: whether the method promises that the sums agree.
    """

    total: Tensor
    biases: Tensor
    expected: Tensor
    error: Tensor
    bound: float
    required: bool

    @property
    def ratio(self) -> Tensor:
        """Total and biases over what they must be, (batch): 1 where conserved."""
        return (self.total + self.biases) / self.expected

    @property
    def holds(self) -> bool:
        """Whether every error is within the bound; NaN is not."""
        return bool((self.error <= self.bound).all())

    def require(self, where: str, remedy: str) -> "Conservation":
        """Return itself if it holds.

        Args:
            where: the public function that checks, named in the message.
            remedy: what to do, for the message.

        Raises:
            ConservationError: the sums differ; the message says by how much, and where most.
        """
        if self.holds:
            return self
        error = self.error.nan_to_num(nan=float("inf"))
        i = int(error.argmax())
        raise ConservationError(
            f"{where}: relevance is not conserved: in sample {i} tokens have {float(self.total[i]):.6g} and biases "
            f"{float(self.biases[i]):.6g}, but the score to explain is {float(self.expected[i]):.6g} (relative error "
            f"{float(self.error[i]):.1e}, bound {self.bound:.0e}); {remedy}"
        )


def conservation(
    relevance: Tensor, expected: Tensor, *, biases: Tensor | None = None, bound: float | None = None, required: bool
) -> Conservation:
    """Compare the sum of relevance with the score that it explains.

    Args:
        relevance: (batch, tokens, channels) or (batch, tokens).
        expected: what it must add up to, (batch).
        biases: relevance of the model's biases, (batch); None means that they have none.
        bound: the largest relative error allowed; None takes what rounding in the relevance's dtype explains.
        required: whether the method promises that the sums agree.

    Returns:
        The comparison, in float64.

    Example:
        >>> found = conservation(torch.tensor([[1.0, -3.0]]), torch.tensor([-2.0]), required=True)
        >>> found.ratio.item(), found.holds
        (1.0, True)

    Source: Jafari et al., "MambaLRP" (NeurIPS 2024), section 4: the conservation axiom.
    """
    bound = BOUNDS[relevance.dtype] if bound is None else bound
    flat = relevance.detach().double().flatten(1)
    total, expected = flat.sum(1), expected.detach().double()
    bias = torch.zeros_like(total) if biases is None else biases.detach().double()
    size = flat.abs().sum(1) + bias.abs() + expected.abs()
    difference = (total + bias - expected).abs()
    error = torch.where(size > 0, difference / torch.where(size > 0, size, 1), difference)
    return Conservation(total, bias, expected, error, bound, required)
