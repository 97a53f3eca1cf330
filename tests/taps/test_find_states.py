import pytest
from torch import nn

from mamba_mender._check import UserError
from mamba_mender.taps import StateKey, find_states, record


def test_finds_what_record_sees(vim, images):
    with record(vim) as run:
        vim(images)
    assert set(find_states(vim)) == set(run.states)
    assert len(find_states(vim)) == len(run.states)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["embedding"], ["embedding"]),
        (["last.c"], ["1.c.forward", "1.c.backward"]),
        (["*.y"], ["0.y", "1.y"]),
        (["0.s.backward", "0.s"], ["0.s.forward", "0.s.backward"]),
        ([], []),
    ],
)
def test_patterns(vim, patterns, expected):
    assert [str(key) for key in find_states(vim, patterns)] == expected


def test_star_is_every_state_of_a_block(vim):
    assert {key.block for key in find_states(vim, ["last.*"])} == {1}
    assert len(find_states(vim, ["last.*"])) == 10


@pytest.mark.parametrize("pattern", ["2.c", "0.q", "embeding", "0.y.forward", ""])
def test_names_no_state(vim, pattern):
    with pytest.raises(UserError, match=f"no state '{pattern}' in this model; "):
        find_states(vim, [pattern])


def test_model_without_states():
    with pytest.raises(UserError, match="Linear has no states"):
        find_states(nn.Linear(1, 1))


def test_keys_are_keys(vim):
    assert find_states(vim, ["embedding"]) == [StateKey(-1, "h", "")]
