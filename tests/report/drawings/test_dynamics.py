import warnings
from dataclasses import replace

import pytest
import torch

from mamba_mender.inspection.dynamics import (
    contribution,
    delta_statistics,
    discretise,
    gramians,
    half_life,
    memory_horizon,
    memory_radius,
    projections,
    skip_share,
    state_statistics,
    states_at,
    transition_spectrum,
)
from mamba_mender.report.drawings import dynamics  # noqa: F401
from mamba_mender.report.plot import plot

MEASURES = {
    "discretise": (lambda r: discretise(r, range(r.length)), "What is kept at each step"),
    "states_at": (lambda r: states_at(r, [0, -1]), "Norm of each channel's state"),
    "state_statistics": (state_statistics, "Norm of the state"),
    "transition_spectrum": (lambda r: transition_spectrum(r, window=2), "All eigenvalues"),
    "half_life": (half_life, "Half-life"),
    "memory_horizon": (memory_horizon, "Memory horizon, 90 %"),
    "memory_radius": (memory_radius, "How far back a position reads"),
    "gramians": (gramians, "Controllability: inputs to state"),
    "contribution": (contribution, "Old state and new write"),
    "projections": (projections, "Norm of the projections"),
    "skip_share": (skip_share, "The two terms of y"),
    "delta_statistics": (delta_statistics, "Temporal variance"),
}


def draw(figure):
    """Lay the figure out; what matplotlib warns of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("name", MEASURES)
def test_each_result_is_drawn_with_titles_and_units(name, make_record):
    measure, title = MEASURES[name]
    figure = draw(plot(measure(make_record(batch=3, length=12))))
    panels = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert panels[0].get_title(loc="left") == title
    assert all(axis.get_xlabel() for axis in panels)
    for axis in figure.axes:
        if axis.images:
            assert axis.images[0].colorbar.ax.get_ylabel()


@pytest.mark.parametrize("name", MEASURES)
def test_the_smallest_scan_is_drawn(name, make_record):
    draw(plot(MEASURES[name][0](make_record(batch=1, length=1, reverse=True))))


@pytest.mark.parametrize("name", ["state_statistics", "transition_spectrum", "half_life", "memory_radius", "gramians"])
def test_padding_is_drawn_as_a_gap(name, make_record):
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[:, :3] = False
    draw(plot(MEASURES[name][0](replace(make_record(), mask=mask))))


def test_the_line_shows_the_median_over_the_samples(make_record):
    found = contribution(make_record(batch=3))
    _, share, _ = plot(found).axes
    assert share.lines[0].get_ydata() == pytest.approx((100 * found.share.median(0).values).numpy())


def test_long_lines_are_averaged(make_record):
    found = projections(make_record(batch=1, channels=1, length=1100))
    (line, _) = plot(found).axes[0].lines
    assert len(line.get_ydata()) == 367
    assert line.get_ydata()[0] == pytest.approx(found.B.norm[0, 0, :3].mean().item())
    assert plot(found).axes[0].get_xlabel() == "position, tokens (means of 3)"


def test_the_curve_of_half_lives_ends_at_what_the_sequence_shows(make_record):
    found = half_life(make_record(length=6))
    (axis,) = plot(found).axes
    reached = 100 * found.tokens.isfinite().double().mean().item()
    assert axis.lines[1].get_ydata()[-1] == pytest.approx(reached)
