import pytest

from mamba_mender._check import UserError
from mamba_mender.inspection.study.layers import choose_layers


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("0,3,last", [0, 3, 11]),
        ("0-5", [0, 1, 2, 3, 4, 5]),
        ("5,first,5", [0, 5]),
        ("10-last", [10, 11]),
        ("all", list(range(12))),
        ([7, 2], [2, 7]),
        ("3", [3]),
    ],
)
def test_layers_are_named_as_a_person_does(text, chosen):
    assert choose_layers(text, range(12)) == chosen


def test_few_layers_are_all_taken_and_many_are_spread():
    assert choose_layers(None, [1, 3, 5]) == [1, 3, 5]
    spread = choose_layers(None, range(48))
    assert (len(spread), spread[0], spread[-1]) == (8, 0, 47)


def test_a_range_takes_the_layers_that_have_a_scan():
    assert choose_layers("0-4", [1, 3, 5]) == [1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,thre", r"named like 0,3,last or 0-5 or all, got 'thre'"),
        ("12", r"no scan in layers \[12\]; it has them in 0 to 11"),
        ("", r"no layer is named"),
        ([-1], r"no scan in layers \[-1\]"),
    ],
)
def test_what_names_no_layer_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        choose_layers(text, range(12))
