import os
import warnings

import pytest

from mamba_mender.stress.attacks import gradient_attacks
from mamba_mender.stress.attacks.gradient_attacks import _environment, load_foolbox


def test_foolbox_is_imported_in_silence(monkeypatch):
    def imported(*_, **__):
        assert os.environ["GIT_PYTHON_REFRESH"] == "quiet"  # or GitPython raises where there is no git
        warnings.warn("Please import `gaussian_filter` from scipy.ndimage", DeprecationWarning, stacklevel=1)

    monkeypatch.setattr(gradient_attacks, "need", imported)
    load_foolbox(where="test")


def test_other_warnings_are_heard(monkeypatch):
    monkeypatch.setattr(gradient_attacks, "need", lambda *_, **__: warnings.warn("else", DeprecationWarning, 1))
    with pytest.raises(DeprecationWarning, match="else"):
        load_foolbox(where="test")


def test_the_environment_is_put_back():
    load_foolbox(where="test")
    assert "GIT_PYTHON_REFRESH" not in os.environ
    with pytest.raises(KeyError), _environment("MENDER_TEST", "x"):
        raise KeyError
    assert "MENDER_TEST" not in os.environ


def test_a_variable_that_was_set_stays(monkeypatch):
    monkeypatch.setenv("MENDER_TEST", "mine")
    with _environment("MENDER_TEST", "x"):
        assert os.environ["MENDER_TEST"] == "mine"
    assert os.environ["MENDER_TEST"] == "mine"
