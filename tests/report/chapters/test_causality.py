from types import SimpleNamespace

import pytest
import torch

from mamba_mender.inspection.causality import EffectGraph, discover_graph
from mamba_mender.report.chapters.causality import CAUSALITY


def said(exhibit, **results):
    """What the page says below a figure of this chapter."""
    found = SimpleNamespace(results=lambda analysis, which: results, across=lambda analysis: results)
    (figure,) = (figure for figure in CAUSALITY.exhibits if figure.name == exhibit)
    return " ".join(figure.say(found, None))


@pytest.mark.parametrize("complete", [True, False])
def test_a_complete_truth_grades_nothing_and_the_page_says_so(complete):
    direct = torch.ones(3, 3).double().triu(1)
    direct[0, 2] = 1.0 if complete else 0.1
    noise = torch.randn(300, 3, generator=torch.Generator().manual_seed(1))
    told = said("discovered", discovered=discover_graph(noise, EffectGraph([0, 1, 2], direct, direct)))
    assert "direct effect of at least half the median" in told
    assert ("the grade of the discovery says nothing" in told) == complete
    assert ("precision" in told) != complete


@pytest.mark.parametrize(("coverage", "narrow"), [(0.74, True), (0.76, False), (0.9, False), (1.0, False)])
def test_intervals_that_are_too_narrow_must_not_be_used(coverage, narrow):
    predictor = {"r2": 0.5, "r2_first_order": 0.4, "coverage": coverage, "level": 0.9}
    told = said("patching", predictor=predictor)
    assert f"{100 * coverage:.0f} % of them lie in its 90 % intervals." in told
    assert ("too narrow here and must not be used" in told) == narrow
