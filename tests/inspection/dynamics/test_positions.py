import pytest

from mamba_mender.inspection.dynamics.positions import check_positions, spread_positions


def test_negative_positions_count_from_the_end():
    assert check_positions("f", [-1, 0, -5, 4], 5) == (4, 0, 0, 4)


def test_positions_outside_are_named():
    with pytest.raises(ValueError, match=r"f: positions \[5, -6\] are outside the scan, whose length is 5"):
        check_positions("f", [0, 5, -6], 5)


def test_no_position_is_refused():
    with pytest.raises(ValueError, match="f: positions is empty"):
        check_positions("f", [], 5)


@pytest.mark.parametrize("length", [1, 2, 3, 64, 65, 1000])
@pytest.mark.parametrize("most", [1, 2, 64])
def test_spread_positions_reach_both_ends(length, most):
    chosen = spread_positions(length, most)
    assert len(chosen) == min(length, most)
    assert list(chosen) == sorted(set(chosen))
    assert chosen[-1] == length - 1
    assert chosen[0] == 0 or len(chosen) == 1
