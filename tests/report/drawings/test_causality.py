import warnings
from dataclasses import replace

import pytest
import torch

from mamba_mender.inspection.causality import (
    activation_patching,
    agreement,
    attribution_patching,
    bootstrap,
    class_logit,
    counterfactual_accuracy,
    counterfactual_state,
    discover_graph,
    effect_graph,
    fit_effect_predictor,
    intervention_consistency,
    path_effects,
    perturb_channel,
)
from mamba_mender.models import create_model
from mamba_mender.report.drawings import causality  # noqa: F401
from mamba_mender.report.plot import plot


@pytest.fixture(scope="module")
def results():
    """Every result of one small Vim, measured once."""
    torch.manual_seed(0)
    model = create_model("vim_micro", num_classes=3, img_size=8, embed_dim=16, d_state=4).double().eval()
    draw = torch.Generator().manual_seed(1)
    clean, corrupt = (torch.randn(6, 3, 8, 8, generator=draw).double() for _ in range(2))
    metric = class_logit(1)
    exact = activation_patching(model, clean, corrupt, metric, node="y")
    screen = attribution_patching(model, clean, corrupt, metric, node="y")
    graph = effect_graph(model, clean)
    predictor = replace(fit_effect_predictor(screen, exact), r2=0.5)
    return {
        "patching": exact,
        "noising": activation_patching(model, clean, corrupt, metric, mode="noising", blocks=[2]),
        "screen": screen,
        "paths": path_effects(model, clean, metric),
        "graph": graph,
        "discovered": discover_graph(torch.randn(60, 4, generator=draw) @ torch.rand(4, 4, generator=draw), graph),
        "neuron": perturb_channel(model, clean, 3, block=1, value=5.0),
        "counterfactual": counterfactual_state(model, clean, corrupt, block=1, position=2),
        "consistency": intervention_consistency(exact.effect.flatten(0, 1)),
        "agreement": agreement(screen, exact),
        "accuracy": counterfactual_accuracy(screen.effect, exact.effect),
        "predictor": predictor,
        "predicted": predictor.predict(screen),
        "interval": bootstrap(exact.effect[:, 0].T),
        "intervals": exact.interval(),
    }


TITLES = {
    "patching": "What a patch of y restores (denoising)",
    "noising": "What a patch of h breaks (noising)",
    "screen": "What a patch of y restores, to first order (denoising)",
    "paths": "What a block does to the prediction",
    "graph": "Total effect",
    "discovered": "By intervention",
    "neuron": "Half-life",
    "counterfactual": "What this one state carries",
    "consistency": "Does an intervention act alike on every input?",
    "agreement": "First-order screen against the model run again",
    "accuracy": "Counterfactual accuracy",
    "predictor": "Effects of interventions that were not seen",
    "predicted": "Predicted effects of patches",
    "interval": "Means over inputs",
    "intervals": "Means over inputs",
}


@pytest.mark.parametrize("name", TITLES)
def test_each_result_is_drawn_with_titles_and_units(results, name):
    figure = plot(results[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    drawn = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert drawn[0].get_title(loc="left").startswith(TITLES[name])
    assert all(axis.get_xlabel() for axis in drawn)
    for axis in figure.axes:
        if axis.images and name != "discovered":
            assert axis.images[0].colorbar.ax.get_ylabel()


def test_the_patching_map_is_the_strength(results):
    axis = plot(results["noising"]).axes[0]
    assert torch.allclose(torch.tensor(axis.images[0].get_array().data).float(), results["noising"].strength.float())
    strength = results["noising"].strength
    least, most = min(0.0, strength.min().item()), max(1.0, strength.max().item())
    assert axis.images[0].get_clim() == (pytest.approx(least), pytest.approx(most))


def test_edges_are_coloured_by_whether_they_are_right(results):
    found = results["discovered"]
    shown = torch.tensor(plot(found).axes[1].images[0].get_array().data)
    assert ((shown == 1) == (found.found & found.truth)).all()
    assert ((shown == 3) == (found.found & ~found.truth)).all()
    assert ((shown == 2) == (~found.found & found.truth)).all()


def test_a_predictor_that_loses_is_not_shown(results):
    with pytest.raises(ValueError, match=r"loses to the mean on held-out interventions \(R2 -0\.10\)"):
        plot(replace(results["predictor"], r2=-0.1))
