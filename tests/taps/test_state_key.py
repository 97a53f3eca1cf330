import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.taps import STATES, StateKey

keys = st.builds(StateKey, st.integers(0, 200), st.sampled_from(STATES), st.sampled_from(["", "forward", "backward"]))


@given(keys)
def test_text_form_reads_back(key):
    assert StateKey.parse(str(key)) == key


def test_embedding_has_its_own_name():
    assert str(StateKey(-1, "h")) == "embedding"
    assert StateKey.parse("embedding") == (-1, "h", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c", "must be 'embedding' or start with a block number"),
        ("", "must be 'embedding' or start with a block number"),
        ("3", "no state ''"),
        ("3.q", "no state 'q'"),
        ("3.c.foward", r"no direction 'foward' in '3.c.foward'; the nearest are \['forward'\]"),
    ],
)
def test_rejects_what_names_no_state(text, message):
    with pytest.raises(ValueError, match=message):
        StateKey.parse(text)
