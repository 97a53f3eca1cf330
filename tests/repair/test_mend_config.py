import json

import pytest

from mamba_mender._check import UserError
from mamba_mender.repair import MendConfig


def test_survives_json():
    config = MendConfig(seeds=(3, 5), external=("0.c", "embedding"), measure="share", weight_external=None)
    assert MendConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"arms": ("control", "exd")}, r"no arm 'exd'; the nearest are \['ext'"),
        ({"arms": ("ext",)}, "arms lack 'control'"),
        ({"measure": "shere"}, r"no measure 'shere'; the nearest are \['share'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"weight_swap": -1.0}, "weight_swap must be a number of at least 0, or None, got -1"),
        ({"seeds": ()}, "seeds must be different numbers"),
        ({"seeds": (1, 1)}, "seeds must be different numbers"),
    ],
)
def test_names_the_bad_setting(setting, message):
    with pytest.raises(UserError, match=message):
        MendConfig(**setting)


def test_refuses_an_unknown_setting():
    with pytest.raises(UserError, match=r"no setting 'step'; the nearest are \['steps'"):
        MendConfig.from_dict({"step": 3})


def test_the_path_constrains_the_embedding_to_second_order():
    with pytest.raises(UserError, match="'path' constrains the embedding, not"):
        MendConfig(external=("last.s",))
    with pytest.raises(UserError, match="'path' is of second order"):
        MendConfig(detach_gradient=True)
