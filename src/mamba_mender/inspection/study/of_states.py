"""What the scans of one input do over time: exactness, memory, reach, and what they pass by."""

from typing import Any

from mamba_mender.inspection.dynamics import (
    contribution,
    delta_statistics,
    gramians,
    half_life,
    memory_horizon,
    memory_radius,
    projections,
    skip_share,
    state_statistics,
    transition_spectrum,
)
from mamba_mender.inspection.dynamics.positions import spread_positions
from mamba_mender.inspection.study.sample import Sample
from mamba_mender.inspection.study.scan_proof import prove_scans
from mamba_mender.taps import ScanRecord

NUMBERS = 1 << 19  # of a result that has every coordinate of the state at every position looked at
MOST_POSITIONS = 16


def describe_states(sample: Sample) -> dict[str, Any]:
    """Measure every scan of an input.

    Returns:
        "proof" of all scans; and for each scan its name and "spectrum", "half_life", "horizon", "radius", "gramians",
        "contribution", "skip", "projections", "state" or "delta", as in "layers.0.mixer.scan/half_life".

    Raises:
        ValueError: a scan is not what was recorded.
    """
    found: dict[str, Any] = {"proof": prove_scans(sample)}
    for name, scan in sample.each_scan():
        found |= {f"{name}/{kind}": result for kind, result in _of_scan(scan).items()}
    return found


def _of_scan(scan: ScanRecord) -> dict[str, Any]:
    most = min(MOST_POSITIONS, max(2, NUMBERS // (scan.channels * scan.state)))
    positions = spread_positions(scan.length, most)
    return {
        "spectrum": transition_spectrum(scan),
        "half_life": half_life(scan, positions),
        "horizon": memory_horizon(scan, positions),
        "radius": memory_radius(scan, positions),
        "gramians": gramians(scan, positions),
        "contribution": contribution(scan),
        "skip": skip_share(scan),
        "projections": projections(scan),
        "state": state_statistics(scan),
        "delta": delta_statistics(scan),
    }
