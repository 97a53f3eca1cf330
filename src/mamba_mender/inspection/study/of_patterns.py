"""What recurs and what breaks along the tokens of one input."""

from typing import Any

from mamba_mender.inspection.attention.select_scan import select_channels
from mamba_mender.inspection.dynamics import states_at
from mamba_mender.inspection.dynamics.positions import spread_positions
from mamba_mender.inspection.evolution import change_points_in_time, stability
from mamba_mender.inspection.similarity import autocorrelation
from mamba_mender.inspection.study.sample import Sample

CHANNELS = 16  # of a scan whose state is followed coordinate by coordinate
LAGS = 16
PERMUTATIONS = 99


def describe_patterns(sample: Sample) -> dict[str, Any]:
    """Measure recurrence, stability and change along the tokens.

    Returns:
        For each state of the residual stream, as in "3.h/autocorrelation", also "/stability" and "/changes" (change
        points); and for each scan "/state_autocorrelation" of the coordinates of evenly spread channels.
    """
    length = next(iter(sample.states.values())).shape[1]
    lags = min(LAGS, length - 2)
    drawn: dict[str, Any] = {"permutations": PERMUTATIONS, "seed": sample.seed}
    found: dict[str, Any] = {}
    for key, state in sample.states.items():
        found[f"{key}/autocorrelation"] = autocorrelation(state, lags=lags, **drawn)
        found[f"{key}/stability"] = stability(state)
        (found[f"{key}/changes"],) = change_points_in_time(state, seed=sample.seed)
    for name, scan in sample.each_scan():
        some = select_channels(scan, spread_positions(scan.channels, CHANNELS))
        states = states_at(some, range(scan.length)).h.flatten(2)
        found[f"{name}/state_autocorrelation"] = autocorrelation(states, lags=lags, **drawn)
    return found
