import pytest

from mamba_mender._check import UserError
from mamba_mender.data import list_data
from mamba_mender.repair import mask_preset, mend_preset


@pytest.mark.parametrize("name", [*list_data(), "some/folder"])
def test_what_is_given_wins(name):
    assert mend_preset(name, steps=7, architecture="vim_micro").steps == 7


def test_a_bad_setting_is_named():
    with pytest.raises(UserError, match="steps must be at least 1"):
        mend_preset("digits", steps=0)


def test_weights_are_chosen_but_for_the_demonstration():
    names = ("weight_external", "weight_internal", "weight_swap")
    for data in (*list_data(), "some/folder"):
        weights = [getattr(mend_preset(data), name) for name in names]
        assert (None in weights) == (data != "decoy-digits")
        assert mend_preset(data).selection_steps == (None if data == "decoy-digits" else 100)


def test_decoys_bring_their_own_masks():
    assert [mask_preset(name) for name in ("decoy-digits", "digits", "folder")] == ["none", "nonzero", "none"]
