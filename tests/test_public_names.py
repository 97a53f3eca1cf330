"""The public names are pinned, so that none appears or goes unnoticed. When one is meant to:

python tests/test_public_names.py > tests/golden/public_names.txt
"""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mamba_mender

GOLDEN = Path(__file__).parent / "golden" / "public_names.txt"
PACKAGES = [
    *["", ".ops", ".nn", ".models", ".taps", ".data", ".training", ".inspection"],
    *[".stress", ".stress.attacks", ".stress.faults", ".stress.language"],
    *[".repair", ".repair.guard", ".repair.guard_training", ".repair.peers", ".report"],
]


def public_names():
    """List what `__all__` of the package and of each subpackage says."""
    modules = [importlib.import_module(f"mamba_mender{package}") for package in PACKAGES]
    return [name for module in modules for name in sorted(f"{module.__name__}.{name}" for name in module.__all__)]


def test_the_public_names_are_the_pinned_ones():
    assert public_names() == GOLDEN.read_text().split()


@pytest.mark.parametrize("name", mamba_mender.__all__)
def test_each_public_name_is_there_and_documented(name):
    assert getattr(mamba_mender, name).__doc__
    assert name in dir(mamba_mender)


def test_no_public_name_is_that_of_a_subpackage():
    subpackages = {path.parent.name for path in Path(mamba_mender.__file__).parent.glob("*/__init__.py")}
    assert not subpackages & set(mamba_mender.__all__)


def test_subpackages_are_loaded_when_they_are_used():
    assert mamba_mender.ops.selective_scan is importlib.import_module("mamba_mender.ops").selective_scan


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'creat_model'; it has .*'create_model'"):
        mamba_mender.creat_model  # noqa: B018


def test_importing_the_package_does_not_load_torch():
    code = "import sys, mamba_mender; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


if __name__ == "__main__":
    print("\n".join(public_names()))  # noqa: T201
