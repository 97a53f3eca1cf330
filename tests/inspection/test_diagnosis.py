import json

import pytest
from torch.testing import assert_close

from mamba_mender.inspection import diagnose
from mamba_mender.taps import StateKey


@pytest.fixture
def found(reader, make_data):
    return diagnose(reader, make_data(), count=3)


def test_sums_up_in_json(found):
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["accuracy"] == 1.0
    assert told["split"] == "train"
    assert told["easy"]["external"]["embedding"]["iou"] == 1.0
    assert len(told["hard"]["internal"]["embedding"]["homogeneity"]) == 4
    assert len(told["hard"]["confidence"]) == 12


def test_curve_follows_a_score_over_the_blocks(found):
    curve = found.curve("perturbation_ratio", "h")
    key = StateKey(-1, "h")
    assert curve.blocks == [-1]
    assert curve.easy == [found.easy.external[key].perturbation_ratio]
    assert found.curve("score", "h").hard == [found.hard.external[key].score]
    assert found.curve("internal_score", "h").easy == [found.easy.internal[key].score.mean().item()]


def test_beta_sweep_holds_the_score_itself(found):
    key = StateKey(-1, "h")
    assert_close(found.easy.beta_sweep(key)[0.3].simplicity, found.easy.internal[key].simplicity)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("iuo", "h"), r"no score 'iuo'; the nearest are \['iou'\]"),
        (("iou", "c"), r"no external score of 'c'; it must be one of \['h'\]"),
        (("simplicity", "h", "forward"), r"no internal score of 'h.forward'"),
    ],
)
def test_curve_of_nothing(found, arguments, message):
    with pytest.raises(ValueError, match=message):
        found.curve(*arguments)
