"""Settings by name: right types alone, and messages that name the class."""

from dataclasses import dataclass

import pytest

from mamba_mender._check import UserError
from mamba_mender.repair.guard.named_settings import named_settings


@dataclass(frozen=True)
class Oven:
    heat: float = 180.0
    trays: int = 2
    fan: bool = True


def test_what_is_left_out_keeps_its_default():
    assert named_settings(Oven, {}) == Oven()
    assert named_settings(Oven, {"heat": 200, "fan": False}) == Oven(heat=200, fan=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heatt": 1.0}, r"Oven: no setting 'heatt'; the nearest are \['heat'\]"),
        ({"heat": "hot"}, "Oven: heat must be a float, got 'hot'"),
        ({"heat": True}, "Oven: heat must be a float, got True"),
        ({"trays": 1.5}, "Oven: trays must be a int, got 1.5"),
        ({"fan": 1}, "Oven: fan must be a bool, got 1"),
    ],
)
def test_a_wrong_name_or_type_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        named_settings(Oven, settings)
