"""How much each token contributed to a score."""

from dataclasses import dataclass

from torch import Tensor

from mamba_mender.inspection.attribution.conservation import Conservation
from mamba_mender.inspection.result import Result


@dataclass(frozen=True, eq=False)
class Attribution(Result):
    """How much each token contributed to the logit of a class, or of the next token, by one method.

    relevance: (batch, tokens), in logits for methods with a check, else without a unit; in image order.
    method: name of the method, one of METHODS.
    target: the class or token that is explained, int64, (batch).
    score: its logit, (batch).
    check: how the sum of relevance compares with what it explains; None where the method has no such law.
    """

    relevance: Tensor
    method: str
    target: Tensor
    score: Tensor
    check: Conservation | None
