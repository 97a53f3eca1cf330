import pytest

from mamba_mender._check import UserError
from mamba_mender.repair.guard import GuardConfig, read_guard_config


def test_settings_go_round_by_name():
    config = GuardConfig(alpha=0.01, repair="whiten", mode="episodic", hebbian=False)
    assert GuardConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, r"alpha must lie in \(0, 1\), got 0.0"),
        ({"shrinkage": 1.0}, r"shrinkage must lie in \(0, 1\), got 1.0"),
        ({"strength": 1.5}, r"strength must lie in \(0, 1\], got 1.5"),
        ({"depression": 0.0}, r"depression must lie in \(0, 1\], got 0.0"),
        ({"potentiation_threshold": -0.1}, r"potentiation_threshold must lie in \[0, inf\), got -0.1"),
        ({"potentiation_threshold": float("inf")}, r"potentiation_threshold must lie in \[0, inf\), got inf"),
        ({"depression_threshold": 1.0}, r"depression_threshold must lie in \[0, 1\), got 1.0"),
        ({"depression_threshold": float("nan")}, r"depression_threshold must lie in \[0, 1\), got nan"),
        ({"bands": 0}, "bands must be at least 1, got 0"),
        ({"horizon": float("nan")}, "horizon must be at least 1, got nan"),
        ({"repair": "elipsoid"}, "no repair 'elipsoid'; the nearest are"),
        ({"mode": "x"}, "no mode 'x'; it must be one of"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        GuardConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strenght": 1.0}, r"no setting 'strenght'; the nearest are \['strength'\]"),
        ({"alpha": "low"}, "alpha must be a float, got 'low'"),
        ({"bands": 2.5}, "bands must be a int, got 2.5"),
        ({"bands": True}, "bands must be a int, got True"),
        ({"hebbian": 1}, "hebbian must be a bool, got 1"),
    ],
)
def test_a_setting_of_another_kind_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        GuardConfig.from_dict(settings)


def test_a_whole_number_will_do_for_a_float():
    assert GuardConfig.from_dict({"strength": 1}).strength == 1


@pytest.mark.parametrize("text", ["alpha: 0.01", "guard:\n  alpha: 0.01"])
def test_a_file_changes_what_it_names(tmp_path, text):
    path = tmp_path / "guard.yaml"
    path.write_text(text)
    assert read_guard_config(path) == GuardConfig(alpha=0.01)


def test_a_file_may_set_the_thresholds_of_plasticity(tmp_path):
    path = tmp_path / "guard.yaml"
    path.write_text("potentiation: 0.5\npotentiation_threshold: 2\ndepression_threshold: 0.1")
    expected = GuardConfig(potentiation=0.5, potentiation_threshold=2.0, depression_threshold=0.1)
    assert read_guard_config(path) == expected


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "guard.yaml").write_text("")
    assert read_guard_config(tmp_path / "guard.yaml") == GuardConfig()


@pytest.mark.parametrize(("text", "message"), [("a: [", "is no YAML"), ("- 1", "must hold settings by name")])
def test_a_file_that_holds_no_settings_is_refused(tmp_path, text, message):
    path = tmp_path / "guard.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_guard_config(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no file .*none.yaml"):
        read_guard_config(tmp_path / "none.yaml")
