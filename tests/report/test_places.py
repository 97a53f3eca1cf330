from mamba_mender.inspection import Diagnosis
from mamba_mender.report.places import channel_state, name_state
from mamba_mender.taps import StateKey


def test_shows_the_channels_of_the_last_x_forward(finished_run):
    assert channel_state(Diagnosis.load(finished_run)) == StateKey(1, "x", "forward")


def test_names_a_state_of_a_whole_block():
    assert name_state(StateKey(0, "y")) == "state y of block 0"
