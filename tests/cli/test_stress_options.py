import pytest

from mamba_mender._check import UserError
from mamba_mender.cli import stress_options as read


def test_attacks_at_several_budgets_with_one_that_ignores_the_repair_for_each():
    found = read.attacks("pgd-10,cw", "4/255,8/255", "0.5", repaired=True, seed=3)
    assert [(a.name, round(a.eps, 6), a.adaptive, a.source) for a in found] == [
        ("pgd", round(4 / 255, 6), True, ""),
        ("pgd", round(8 / 255, 6), True, ""),
        ("cw", 0.5, True, ""),
        ("transfer", round(4 / 255, 6), False, "none"),
        ("transfer", round(8 / 255, 6), False, "none"),
    ]
    assert {attack.seed for attack in found} == {3}


def test_attacks_in_l2_alone_are_transferred_in_l2():
    found = read.attacks("cw", "8/255", "1.5", repaired=True, seed=0)
    assert [(a.name, a.norm, a.eps) for a in found] == [("cw", "l2", 1.5), ("transfer", "l2", 1.5)]


def test_no_attack_is_added_without_a_repair_or_beside_one_that_is_named():
    assert [a.name for a in read.attacks("pgd", "8/255", "", repaired=False, seed=0)] == ["pgd"]
    assert [a.name for a in read.attacks("transfer-5,pgd", "0.1", "", repaired=True, seed=0)] == ["transfer", "pgd"]
    assert read.attacks("none", "8/255", "", repaired=True, seed=0) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bit_flip:0.01@2.h", ("bit_flip", 0.01, "h", 2, "", "any")),
        ("bit_flip-exponent:0.5@1.c.forward", ("bit_flip", 0.5, "c", 1, "forward", "exponent")),
        ("nan:1e-3", ("nan", 0.001, "h", None, "", "any")),
        ("zero:0.1@x", ("zero", 0.1, "x", None, "", "any")),
        ("stuck:0.1@embedding", ("stuck", 0.1, "h", -1, "", "any")),
        ("inf:0.1@0.state", ("inf", 0.1, "state", 0, "", "any")),
    ],
)
def test_a_fault_is_read(text, expected):
    (fault,) = read.faults(text)
    assert (fault.kind, fault.rate, fault.state, fault.block, fault.direction, fault.bits) == expected


@pytest.mark.parametrize("text", ["nan", "nan:x", "nan:0.1@1.h.forward.x"])
def test_what_is_no_fault_says_how_one_is_written(text):
    with pytest.raises(UserError, match="KIND:RATE@BLOCK"):
        read.faults(text)


def test_the_bare_model_comes_first_and_once():
    assert read.repairs("none") == ("none",)
    assert read.repairs("") == ("none",)
    assert read.repairs("tent,none,tent") == ("none", "tent")


@pytest.mark.parametrize("text", ["1-", "a-3", "1.5", "-2"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(UserError, match="takes whole numbers"):
        read.whole_numbers(text, "--severities")
