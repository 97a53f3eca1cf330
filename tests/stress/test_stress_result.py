import numpy as np
import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender._interval import paired_gain, wilson_interval
from mamba_mender.stress import CLEAN, Cell, CellResult, Perturbation, StressResult

FOG, SNOW = (lambda s, name=name: Perturbation("corruption", name, float(s)) for name in ("fog", "snow"))


def make(rows):
    """Make a result from (model, perturbation, {image: right}, ...) with further fields of the cell."""
    cells = {}
    for model, perturbation, answers, *more in rows:
        cell = Cell(model, perturbation, **(more[0] if more else {}))
        indices, correct = torch.tensor(list(answers)), torch.tensor([bool(right) for right in answers.values()])
        cells[cell.key] = CellResult(cell, indices, torch.zeros_like(indices), correct, 0.0)
    return StressResult(cells, {"batch_size": 200})


@pytest.fixture
def result():
    return make(
        [
            ("base", CLEAN, {0: 1, 1: 1, 2: 1, 3: 1}),
            ("ours", CLEAN, {0: 1, 1: 1, 2: 1, 3: 0}),
            ("base", FOG(1), {0: 1, 1: 1, 2: 0, 3: 0}),
            ("ours", FOG(1), {3: 0, 2: 1, 1: 1, 0: 1}),
            ("base", FOG(5), {0: 0, 1: 0, 2: 0, 3: 0}),
            ("ours", FOG(5), {0: 1, 1: 1, 2: 0, 3: 0}),
            ("base", SNOW(1), {0: 1, 1: 0, 2: 0, 3: 0}),
            ("ours", SNOW(1), {0: 1, 1: 0, 2: 0, 3: 0}),
            ("base", SNOW(5), {0: 0, 1: 0, 2: 0, 3: 0}),
            ("ours", SNOW(5), {0: 1, 1: 0, 2: 0, 3: 0}),
        ]
    )


def test_means_by_hand(result):
    assert result.accuracy("ours", "corruption", "fog", 1) == wilson_interval(3, 4)
    assert result.mean_accuracy("ours").mean == pytest.approx((3 + 2 + 1 + 1) / 16)
    assert result.mean_accuracy("ours", name="fog").mean == pytest.approx(5 / 8)
    assert result.mean_accuracy("ours", level=1).mean == pytest.approx(4 / 8)
    assert result.mean_gain("ours", "base").mean == pytest.approx((7 - 3) / 16)
    assert result.mean_gain("base", "base") == paired_gain([[0.0] * 4], [[0.0] * 4])
    indices, share = result.per_image("ours")
    assert indices.tolist() == [0, 1, 2, 3]
    assert share.tolist() == [1, 0.5, 0.25, 0]


def test_a_gain_is_paired_by_image_whatever_the_order(result):
    gain = result.gain("ours", "base", "corruption", "fog", 1)
    assert gain == paired_gain([[1, 1, 1, 0]], [[1, 1, 0, 0]])
    assert result.gain("base", "base").mean == 0


def test_models_are_compared_on_the_images_both_were_judged_on():
    few = make([("few", CLEAN, {7: 1, 3: 0}), ("many", CLEAN, {1: 0, 3: 1, 5: 1, 7: 1})])
    assert few.gain("few", "many").mean == pytest.approx(-0.5)
    with pytest.raises(UserError, match="no image was judged in all of"):
        make([("a", CLEAN, {1: 1}), ("b", CLEAN, {2: 1})]).gain("a", "b")


def test_corruption_errors_by_hand(result):
    assert result.corruption_error("base", "base").mean == pytest.approx(1)
    assert result.corruption_error("ours", "base").mean == pytest.approx((3 / 6 + 6 / 7) / 2)
    relative = result.corruption_error("ours", "base", relative=True).mean  # clean errors: 1 in 4, and 0
    assert relative == pytest.approx(((3 / 8 - 1 / 4) / (6 / 8) + (6 / 8 - 1 / 4) / (7 / 8)) / 2)


def test_a_curve_begins_at_the_clean_images(result):
    curve = result.curve("ours", "corruption", "fog")
    assert curve.levels == (0, 1, 5)
    assert [accuracy.mean for accuracy in curve.accuracy] == [0.75, 0.75, 0.5]
    assert curve.area.mean == pytest.approx((0.75 * 1 + 0.625 * 4) / 5)
    with pytest.raises(UserError, match=r"name one of \['fog', 'snow'\]"):
        result.curve("ours", "corruption")


def test_the_worst_of_several_attacks():
    kinds = ("a", 0.1), ("b", 0.1), ("a", 0.2)
    weak, strong, other = (Perturbation("attack", name, level) for name, level in kinds)
    result = make(
        [("m", weak, {0: 1, 1: 0, 2: 1}), ("m", strong, {2: 1, 1: 1, 0: 0}), ("m", other, {0: 0, 1: 0, 2: 0})]
    )
    assert result.worst_accuracy("m", level=0.1) == wilson_interval(1, 3)
    assert result.worst_accuracy("m").mean == 0
    assert result.worst_accuracy("m", name="b").mean == pytest.approx(2 / 3)


def test_says_what_there_is_where_a_cell_is_not(result):
    with pytest.raises(UserError, match="no model 'our'; the nearest are"):
        result.find("our")
    with pytest.raises(UserError, match=r"no cell of 'ours' is of .*'noise'.* there are .*ours--clean"):
        result.accuracy("ours", "noise")
    with pytest.raises(UserError, match=r"more than one cell of 'ours' .*'fog'.* they are"):
        result.find("ours", "corruption", "fog")
    with pytest.raises(UserError, match="no cell of 'ours'"):
        result.mean_accuracy("ours", "noise")


def test_order_batch_size_count_and_warm_up_tell_cells_apart():
    ways = [{}, {"order": "drifting"}, {"batch_size": 1}, {"warmup": 20}]
    result = make([("m", CLEAN, {i: 1}, way) for i, way in enumerate(ways)])
    assert result.find("m", order="drifting").indices.tolist() == [1]
    assert result.find("m", batch_size=1).indices.tolist() == [2]
    assert result.find("m", warmup=20).indices.tolist() == [3]
    assert result.find("m", warmup=0).indices.tolist() == [0]
    with pytest.raises(UserError, match="more than one cell"):
        result.find("m")


def test_models_run_in_different_cells_are_not_compared(result):
    del result.cells[result.find("ours", "corruption", "snow", 5).cell.key]
    for compare in (result.mean_gain, result.corruption_error):
        with pytest.raises(UserError, match="were not run"):
            compare("ours", "base")


def test_the_order_of_cells_does_not_count(result):
    turned = StressResult(dict(reversed(result.cells.items())), result.settings)
    forth = StressResult(result.cells | {k: v for k, v in turned.cells.items()}, result.settings)
    mixed = {k: turned.cells[k] for k in sorted(turned.cells, key=lambda k: (k.startswith("ours"), k))}
    for other in (turned, forth, StressResult(mixed, result.settings)):
        assert other.mean_gain("ours", "base").mean == result.mean_gain("ours", "base").mean
        assert other.corruption_error("ours", "base").mean == result.corruption_error("ours", "base").mean


def test_other_images_are_not_mixed_in():
    shifts = [("m", Perturbation("shift", name, 1.0), {0: 1}) for name in ("a", "b")]
    with pytest.raises(UserError, match=r"\['a', 'b'\] are other images"):
        make(shifts).mean_accuracy("m", "shift")
    assert np.isclose(make(shifts).mean_accuracy("m", "shift", "a").mean, 1)
