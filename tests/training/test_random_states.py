import json
import random

import numpy as np
import pytest
import torch

from mamba_mender.training.random_states import kept_random_states, random_states, set_random_states


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_states_survive_json():
    random.gauss(0, 1)
    np.random.randn()  # each leaves a second number cached, which is part of the state
    states = json.loads(json.dumps(random_states()))
    first = draw()
    assert draw() != first
    set_random_states(states)
    assert draw() == first


def test_a_block_leaves_no_trace_even_on_error():
    states = random_states()
    with pytest.raises(ZeroDivisionError), kept_random_states():
        fail_after_drawing()
    assert random_states() == states


def fail_after_drawing():
    draw()
    raise ZeroDivisionError
