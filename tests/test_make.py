"""What make says before it installs anything, and how the package is built."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def make(*arguments, **environment):
    clean = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CXX")
    }
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPOSITORY,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def script(tmp_path):
    """Write an executable shell script, and return its path."""

    def write(name, body):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_help_lists_the_targets():
    listed = [line.split()[1] for line in make("help").stdout.splitlines()]
    assert listed == ["help", "demo", "test", "check", "bench", "clean"]


def test_a_missing_python_is_named():
    result = make("tools", "PYTHON=python-that-is-not-there")
    assert result.returncode != 0
    assert "'python-that-is-not-there' is not there; install Python >= 3.11" in result.stdout


def test_an_old_python_is_refused(script):
    old = script("old", 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    result = make("tools", f"PYTHON={old}")
    assert result.returncode != 0
    assert "Python 3.9.2 is too old; install Python >= 3.11" in result.stdout


def test_a_python_without_venv_is_named(script):
    bare = script("bare", 'case "$2" in *venv*) exit 1;; esac')
    result = make("tools", f"PYTHON={bare}")
    assert result.returncode != 0
    assert "cannot make virtual environments" in result.stdout


def test_a_missing_compiler_is_named(script, tmp_path):
    for tool in ("make", "sh", "test"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    result = make("compiler", f"PYTHON={script('python', 'exit 0')}", PATH=str(tmp_path))
    assert result.returncode != 0
    assert "no C++ compiler; install one with C++17" in result.stdout


def test_missing_headers_are_named(script):
    bare = script("bare", 'case "$2" in *Python.h*) exit 1;; esac')
    result = make("compiler", f"PYTHON={bare}", CXX="sh")
    assert result.returncode != 0
    assert "Python.h is not there; install Python's headers" in result.stdout


def test_torch_is_installed_first_and_through_the_constraints(tmp_path):
    plan = make("--dry-run", "test", f"VENV={tmp_path / 'venv'}").stdout
    installs = [line for line in plan.splitlines() if "pip install" in line]
    assert [line.rpartition("constraints.txt ")[2] for line in installs] == ["torch", "--editable '.[test]'"]
    assert "MAMBA_MENDER_REQUIRE_KERNEL=1" in installs[1]
    assert "pytest --require cpu" in plan


def test_checks_require_the_kernel_and_run_every_stage(tmp_path):
    plan = make("--dry-run", "check", f"VENV={tmp_path / 'venv'}").stdout
    for stage in ("ruff check", "ruff format --check", "pyright", "pytest --require cpu", "fallback"):
        assert stage in plan


def test_the_build_falls_back_unless_the_kernel_is_required():
    overrides = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["scikit-build"]["overrides"]
    (fallback,) = (override for override in overrides if override["if"].get("failed"))
    assert fallback["if"]["env"] == {"MAMBA_MENDER_REQUIRE_KERNEL": False}
    assert fallback["wheel"]["cmake"] is False


def test_every_source_of_the_kernels_is_named_to_cmake():
    named = (REPOSITORY / "CMakeLists.txt").read_text()
    sources = [path.name for path in (REPOSITORY / "src" / "mamba_mender" / "ops" / "csrc").glob("*.cpp")]
    assert [name for name in sources if name not in named] == []
