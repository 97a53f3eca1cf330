import warnings

import pytest
import torch

from mamba_mender.inspection.evolution import (
    FamilyComparison,
    change_points,
    family_evolution,
    forecast_score,
    information_transfer,
    perturbation_growth,
    recurrence,
    remember,
    retrieval_score,
    stability,
    token_mixing,
    transition,
)
from mamba_mender.models import create_model
from mamba_mender.report.drawings import evolution  # noqa: F401
from mamba_mender.report.plot import plot


def walk(batch=6, tokens=20, channels=4):
    return torch.randn(batch, tokens, channels).cumsum(1)


def layers(count=4):
    states = [walk()]
    for _ in range(count):
        states.append(states[-1] @ torch.randn(4, 4) + 0.3 * torch.randn(6, 20, 4))
    return states


def step():
    return torch.cat([torch.randn(30, 2), torch.randn(30, 2) + torch.tensor([4.0, 0.0])])


def causal():
    return torch.rand(6, 20, 20).tril()


def family(name):
    return family_evolution(layers(), [causal() for _ in range(4)], name=name, parameters=12345)


def forecast():
    states, later = walk()[:, 0], walk()[:, :3]
    return forecast_score(remember(states[:4], later=later[:4]), states[4:], later[4:])


def retrieval():
    states, labels = torch.randn(40, 3), torch.arange(40) % 2
    return retrieval_score(remember(states[:20], labels=labels[:20]), states[20:], labels[20:])


def push():
    model = create_model("vim_micro", num_classes=3, img_size=8).eval()
    return perturbation_growth(model, torch.rand(2, 3, 8, 8), positions=[2])


RESULTS = {
    "transition": (lambda: transition(layers()), "The state after a layer, from before"),
    "stability": (lambda: stability(walk()), "Stability from token to token"),
    "change points": (lambda: change_points(step()), "1 change point"),
    "no change point": (lambda: change_points(torch.randn(40)), "No change points"),
    "no change at all": (lambda: change_points(torch.ones(40, 6)), "No change points"),
    "transfer": (lambda: information_transfer(layers(), surrogates=19), "Transfer entropy over tokens"),
    "push": (push, "Growth of a small push"),
    "retrieval": (retrieval, "Labels recalled from stored patterns"),
    "forecast": (forecast, "Forecast of later states"),
    "recurrence": (lambda: recurrence(walk(), surrogates=19), "Near pairs of the first input"),
    "mixing": (lambda: token_mixing([causal(), causal()]), "How widely tokens are mixed"),
    "family": (lambda: family("one"), "Stability from token to token"),
    "families": (lambda: FamilyComparison(family("one"), family("two"), 1.0), "Stability from token to token"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_each_result_is_drawn_with_titles_and_units(name):
    measure, title = RESULTS[name]
    figure = plot(measure())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    drawn = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert drawn[0].get_title(loc="left") == title
    assert all(axis.get_xlabel() and axis.get_ylabel() for axis in drawn)
    if name != "recurrence":  # its picture is black and white: near or not
        assert all(axis.images[0].colorbar.ax.get_ylabel() for axis in figure.axes if axis.images)


def test_a_change_point_is_drawn_between_its_steps():
    result = change_points(step())
    axis = plot(result).axes[0]
    assert [line.get_xdata()[0] for line in axis.lines[2:]] == [result.points.item() - 0.5]


def test_families_share_panels_and_name_their_sizes():
    figure = plot(FamilyComparison(family("one"), family("two"), 1.0))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["one", "one, by chance", "two", "two, by chance"]
    assert figure.get_supxlabel() == "parameters: one 12,345, two 12,345"


def test_scores_far_below_the_mean_do_not_hide_the_others():
    states = layers()
    axis = plot(transition([states[0], states[0] + 100])).axes[0]
    assert axis.get_ylim()[0] > -1.2
