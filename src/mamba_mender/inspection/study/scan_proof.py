"""How exactly each scan was recorded."""

from dataclasses import dataclass

from mamba_mender.inspection.result import Result
from mamba_mender.inspection.study.sample import Sample


@dataclass(frozen=True)
class ScanProof(Result):
    """How far the recorded scans of one input lie from the same scans in float64.

    y_error: name of the scan to the largest error of y, relative to the largest value of y.
    state_error: the same for the last state.
    bound: the error that rounding in the record's dtype explains.
    """

    y_error: dict[str, float]
    state_error: dict[str, float]
    bound: dict[str, float]

    @property
    def worst(self) -> float:
        """The largest of all errors."""
        return max([*self.y_error.values(), *self.state_error.values()])


def prove_scans(sample: Sample) -> ScanProof:
    """Recompute each scan of an input in float64, and measure how far its record is off.

    Raises:
        ValueError: a record is further off than rounding explains; it is not what the model computed.
    """
    proofs = {name: scan.proof() for name, scan in sample.each_scan()}
    wrong = [name for name, proof in proofs.items() if not proof.holds]
    if wrong:
        proof = proofs[wrong[0]]
        raise ValueError(
            f"inspect: {wrong[0]} is not the scan that was recorded: its y differs by {proof.y_error:.1e} and its "
            f"state by {proof.state_error:.1e} of the largest value, more than the {proof.bound:.0e} that rounding "
            "explains."
        )
    return ScanProof(
        {name: proof.y_error for name, proof in proofs.items()},
        {name: proof.state_error for name, proof in proofs.items()},
        {name: proof.bound for name, proof in proofs.items()},
    )
