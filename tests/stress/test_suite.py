import json

import pytest

from mamba_mender._check import UserError
from mamba_mender.data.corruptions import CORRUPTIONS
from mamba_mender.stress import CLEAN, Suite
from mamba_mender.stress.attacks import Attack
from mamba_mender.stress.faults import StateFault

NONE = {"noise": {}, "corruptions": ()}


def told(cells):
    return [(cell.model, cell.perturbation.key, cell.order, cell.batch_size, cell.count, cell.warmup) for cell in cells]


def test_the_default_is_clean_images_gaussian_noise_and_all_corruptions():
    cells = Suite().cells(["a", "b"])
    assert len(cells) == 2 * (1 + 5 + 5 * len(CORRUPTIONS))
    assert {cell.order for cell in cells} == {"shuffled"}
    assert {(c.perturbation.family, c.count) for c in cells} == {
        ("clean", 10_000),
        ("noise", 10_000),
        ("corruption", 2_000),
    }


def test_models_are_innermost_so_that_pixels_are_made_once():
    cells = Suite(noise={"gaussian": [0.1], "impulse": [0.2]}, corruptions=()).cells(["a", "b"])
    assert [cell.model for cell in cells] == ["a", "b"] * 3
    assert [cell.perturbation.key for cell in cells[::2]] == ["clean", "noise-gaussian-0.1", "noise-impulse-0.2"]


def test_each_family_has_its_cells_and_counts():
    suite = Suite(
        noise={},
        corruptions=["fog"],
        severities=[5],
        rotations=[15],
        translations=[0.1],
        attacks=[Attack("pgd"), Attack("fgsm", eps=4 / 255)],
        faults=[StateFault("nan", 0.01)],
        shifts=["other"],
        count_noise=1,
        count_corruption=2,
        count_attack=3,
        count_fault=4,
        count_shift=5,
        warmup=9,
    )
    found = {cell.perturbation.family: (cell.count, cell.warmup) for cell in suite.cells(["m"])}
    assert found.pop("attack") == (3, 0)  # an attack has no warm-up: each of its images costs too much
    expected = {"clean": 1, "corruption": 2, "rotation": 2, "translation": 2, "fault": 4, "shift": 5}
    assert found == {family: (count, 9) for family, count in expected.items()}


def test_streams_are_orders_at_the_main_batch_size_and_batch_sizes_in_shuffled_order():
    suite = Suite(**NONE, orders=["label-sorted", "drifting"], batch_sizes=[1], count_stream=7, stream_warmup=2)
    assert told(suite.cells(["m"], batch_size=50))[1:] == [
        ("m", "clean", "shuffled", 1, 7, 2),
        ("m", "clean", "label-sorted", 50, 7, 2),
        ("m", "noise-gaussian-0.3", "shuffled", 1, 7, 2),
        ("m", "noise-gaussian-0.3", "label-sorted", 50, 7, 2),
        ("m", "noise-gaussian-0.3", "drifting", 50, 7, 2),
    ]


def test_a_limit_is_that_of_a_model_a_corruption_or_an_attack():
    limits = {"memo": 4, "fog": 5, "pgd": 6}
    suite = Suite(noise={}, corruptions=["fog"], severities=[1], attacks=[Attack("pgd")], limits=limits)
    counts = {(cell.model, cell.perturbation.family): cell.count for cell in suite.cells(["vim", "memo"])}
    assert [counts["memo", family] for family in ("clean", "corruption", "attack")] == [4, 4, 4]
    assert [counts["vim", family] for family in ("clean", "corruption", "attack")] == [10_000, 5, 6]


def test_the_same_cell_twice_is_one_and_two_of_one_name_are_refused():
    assert len(Suite(noise={"gaussian": [0.1, 0.1]}, corruptions=()).cells(["m"])) == 2
    with pytest.raises(UserError, match="two cells are called 'a_b--clean"):
        Suite(**NONE).cells(["a/b", "a:b"])


def test_is_json():
    suite = Suite(attacks=[Attack("pgd")], faults=[StateFault("nan", 0.01)])
    told = json.loads(json.dumps(suite.to_dict()))
    assert told["attacks"][0]["name"] == "pgd"
    assert told["corruptions"] == list(CORRUPTIONS)
    assert Suite(**NONE).perturbations() == [CLEAN]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corruptions": ["fogg"]}, r"unknown corruption 'fogg'; the nearest are \['fog'\]"),
        ({"corruptions": "fogg"}, "unknown corruption 'fogg'"),
        ({"noise": {"gausian": [0.1]}}, r"unknown kind of noise 'gausian'; the nearest are \['gaussian'\]"),
        ({"orders": ["sorted"]}, "unknown order 'sorted'"),
        ({"severities": [0]}, "a severity is 0, not 1 to 5"),
        ({"noise": {"gaussian": [0.0]}}, "a level of noise is 0.0"),
        ({"attacks": [Attack("fgsm", eps=0)]}, "eps of the attacks is 0, not above 0"),
        ({"count_noise": 0, "limits": {"m": 0}}, "count_noise is 0, below 1; m is 0, below 1"),
        ({"warmup": -1}, "warmup is -1, below 0"),
        ({"batch_sizes": [0]}, "a batch size is 0"),
        ({"imbalance": 0.5}, "imbalance is 0.5"),
        ({"translations": [1.5]}, "a translation is 1.5"),
        ({"stream_noise": [-0.1]}, "stream_noise has -0.1"),
    ],
)
def test_refuses_what_cannot_be_run(settings, message):
    with pytest.raises(UserError, match=message):
        Suite(**settings)
