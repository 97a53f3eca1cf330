import subprocess
import sys

import pytest
import torch

from mamba_mender._check import UserError, check_axes, nearest


def test_sizes_are_learnt_across_calls():
    sizes = {"length": 5}
    check_axes("f", sizes, x=(torch.zeros(2, 5), "batch length"))
    check_axes("f", sizes, y=(torch.zeros(2, 3), "batch channels"), z=(None, "batch"))
    assert sizes == {"batch": 2, "length": 5, "channels": 3}


def test_wrong_number_of_axes_is_named():
    with pytest.raises(ValueError, match=r"f: x must be \(batch, length\), got shape \(2, 3, 4\)\."):
        check_axes("f", {}, x=(torch.zeros(2, 3, 4), "batch length"))


def test_two_sizes_of_one_axis_are_named():
    message = r"f: y has length=4 in shape \(4,\), but an earlier argument has length=3\."
    with pytest.raises(ValueError, match=message):
        check_axes("f", {}, x=(torch.zeros(3), "length"), y=(torch.zeros(4), "length"))


def test_one_name_twice_in_a_tensor_is_one_size():
    with pytest.raises(ValueError, match="has state=3"):
        check_axes("f", {}, A=(torch.zeros(2, 3), "state state"))


def test_nearest_offers_what_looks_alike_else_all():
    assert nearest("vim_tinny", ["vim_tiny", "vim_base"]) == "the nearest are ['vim_tiny']"
    assert nearest("zzz", iter(["b", "a"])) == "it must be one of ['a', 'b']"


def test_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)


def test_importing_the_checks_does_not_load_torch():
    code = "import sys, mamba_mender._check; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
