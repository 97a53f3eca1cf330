import warnings
from dataclasses import replace

import pytest
import torch

from mamba_mender.inspection.attribution import METHODS, attribute, compare_methods, faithfulness, localisation
from mamba_mender.models import create_model
from mamba_mender.report.drawings import attribution  # noqa: F401
from mamba_mender.report.plot import plot


def draw(figure):
    """Lay the figure out; what matplotlib warns of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    return figure


def titles(figure):
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_title(loc="left")]


@pytest.fixture
def model():
    return create_model("vim_micro", num_classes=3, img_size=8, patch_size=2, in_chans=1).eval()


@pytest.fixture
def images():
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_relevance_is_a_map_of_several_samples_and_bars_of_one(model, images):
    figure = draw(plot(attribute(model, images)))
    assert titles(figure) == ["Relevance by Mamba LRP"]
    assert figure.axes[0].images[0].colorbar.ax.get_ylabel() == "relevance, logits"
    low, high = figure.axes[0].images[0].get_clim()
    assert low == -high
    one = attribute(model, images[:1], method="attention")
    figure = draw(plot(one))
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx(one.relevance[0].tolist())
    assert "no law" in figure._supxlabel.get_text()


def test_the_law_is_said_and_broken_laws_too(model, images):
    check = attribute(model, images).check
    figure = draw(plot(check))
    assert titles(figure) == ["Sum of relevance"]
    assert "kept, largest relative error" in figure._supxlabel.get_text()
    broken = draw(plot(replace(check, error=check.error + 1)))
    assert "not kept" in broken._supxlabel.get_text()


def test_curves_stand_beside_random_orders(model, images):
    found = faithfulness(model, images, torch.rand(4, 16), draws=3)
    figure = draw(plot(found))
    assert titles(figure) == ["Deletion, lower is better", "Insertion, higher is better"]
    for axis, curve in zip(figure.axes, (found.deletion, found.insertion), strict=True):
        assert axis.get_xlabel()
        random, line = axis.lines
        assert line.get_ydata() == pytest.approx(curve.mean(0).numpy())
        assert "random orders" in random.get_label()
    assert draw(plot(found.deletion_auc)).axes[0].get_xlabel() == "score of a sample"


def test_agreement_with_masks(images):
    masks = torch.zeros(4, 16)
    masks[:, :4] = 1
    figure = draw(plot(localisation(torch.rand(4, 16), masks)))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "pointing game",
        "mask IoU",
        "mass inside",
    ]


def test_methods_side_by_side(model, images):
    masks = torch.zeros(4, 16)
    masks[:, :4] = 1
    found = compare_methods(model, images, masks=masks, draws=2, steps=4)
    figure = draw(plot(found))
    assert titles(figure) == ["Deletion", "Insertion", "Pointing game", "Mask IoU"]
    assert len(figure.axes[0].get_yticklabels()) == len(METHODS)
    failed = replace(found, failed={"mamba_lrp": "x"}, localisation={})
    assert "law does not hold: mamba_lrp" in draw(plot(failed))._supxlabel.get_text()
    with pytest.raises(ValueError, match="every method of this comparison failed"):
        plot(replace(found, faithfulness={}))
