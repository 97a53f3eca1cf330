import matplotlib as mpl
import pytest

from mamba_mender.report.palette import ARMS, look, style


def test_settings_are_put_back_even_on_error():
    before = mpl.rcParams["axes.spines.top"]
    with style():
        assert mpl.rcParams["axes.spines.top"] is False
    with pytest.raises(ZeroDivisionError), style():
        raise ZeroDivisionError
    assert mpl.rcParams["axes.spines.top"] is before


def test_arms_differ_in_colour_and_in_marker():
    assert len({arm.colour for arm in ARMS.values()}) == len({arm.marker for arm in ARMS.values()}) == len(ARMS)


def test_an_unknown_arm_keeps_its_name():
    assert look("longer").label == "longer"
