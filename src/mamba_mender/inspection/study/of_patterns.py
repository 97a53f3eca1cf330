"""What recurs and what breaks along the tokens of one input."""

from typing import Any

from mamba_mender.inspection.attention.select_scan import select_channels
from mamba_mender.inspection.dynamics import states_at
from mamba_mender.inspection.dynamics.positions import spread_positions
from mamba_mender.inspection.evolution import change_points_in_time, stability
from mamba_mender.inspection.similarity import autocorrelation
from mamba_mender.inspection.study.parts import Parts
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
    found = Parts()
    for key, state in sample.states.items():
        found.add(f"{key}/autocorrelation", lambda h=state: autocorrelation(h, lags=lags, **drawn))
        found.add(f"{key}/stability", lambda h=state: stability(h))
        found.add(f"{key}/changes", lambda h=state: change_points_in_time(h, seed=sample.seed)[0])
    for name, scan in sample.each_scan():
        some = select_channels(scan, spread_positions(scan.channels, CHANNELS))
        states = states_at(some, range(scan.length)).h.flatten(2)
        found.add(f"{name}/state_autocorrelation", lambda h=states: autocorrelation(h, lags=lags, **drawn))
    return found
