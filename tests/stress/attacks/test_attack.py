import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender._check import UserError
from mamba_mender.stress.attacks import Attack


@pytest.mark.parametrize(
    ("text", "norm", "eps", "steps", "restarts"),
    [
        ("fgsm", "linf", 8 / 255, 1, 1),
        ("pgd", "linf", 8 / 255, 20, 1),
        ("pgd-100", "linf", 8 / 255, 100, 1),
        ("PGD-l2-40x3", "l2", 0.5, 40, 3),
        ("cw", "l2", 0.5, 100, 1),
        ("deepfool-l2", "l2", 0.5, 50, 1),
        ("autoattack", "linf", 8 / 255, 100, 1),
        ("transfer", "linf", 8 / 255, 20, 1),
        ("square-2000", "linf", 8 / 255, 2000, 1),
    ],
)
def test_text_names_an_attack(text, norm, eps, steps, restarts):
    attack = Attack.parse(text)
    assert (attack.norm, attack.eps, attack.steps, attack.restarts) == (norm, eps, steps, restarts)


def test_eps_may_be_a_fraction():
    assert Attack.parse("pgd", eps="8/255").eps == 8 / 255
    assert Attack.parse("pgd", eps="0.1").eps == 0.1
    assert Attack.parse("pgd", eps=0).eps == 0


@given(
    name=st.sampled_from(["pgd", "transfer", "square", "autoattack"]),
    norm=st.sampled_from(["linf", "l2"]),
    steps=st.integers(1, 999),
    restarts=st.integers(1, 9),
    eot=st.integers(1, 9),
    bpda=st.booleans(),
    adaptive=st.booleans(),
    context=st.none() | st.integers(1, 99),
    seed=st.integers(0, 9),
)
def test_a_label_reads_back_as_the_attack(**settings):
    attack = Attack(**settings)
    assert Attack.parse(attack.label, eps=attack.eps) == attack
    assert Attack(**json.loads(json.dumps(asdict(attack)))) == attack


def test_labels_tell_settings_apart_and_leave_eps_out():
    assert Attack("pgd", eps=0.1).label == Attack("pgd", eps=0.2).label == "pgd-linf-20x1"
    assert Attack("pgd", eot=4, bpda=True, seed=2, source="bare").label == "pgd-linf-20x1-eot4-bpda-seed2-from-bare"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attack("pdg"), r"the attack 'pdg' is unknown; the nearest are \['pgd'"),
        (lambda: Attack("pgd", norm="l1"), "the norm 'l1' is unknown; "),
        (lambda: Attack("cw", norm="linf"), "'cw' is an attack in L2"),
        (lambda: Attack("pgd", eps=8), r"eps must be in pixels of \[0, 1\], such as 8/255, not 8.0"),
        (lambda: Attack("pgd", eps=-0.1), "eps must be in pixels"),
        (lambda: Attack("pgd", eps=float("nan")), "eps must be in pixels"),
        (lambda: Attack("pgd", steps=0), "steps must be at least 1, not 0"),
        (lambda: Attack("pgd", eot=0), "eot must be at least 1, not 0"),
        (lambda: Attack("pgd", context=0), "context must be at least 1, not 0"),
        (lambda: Attack("fgsm", steps=3), "'fgsm' is one step, not 3"),
        (lambda: Attack("deepfool", restarts=2), "'deepfool' begins at the image itself, so 2 restarts do the same"),
        (lambda: Attack.parse("pgd-many"), "'many' in 'pgd-many' is none of linf, l2, STEPS"),
        (lambda: Attack.parse("pgd", eps="8/0"), "eps must be a number or a fraction such as 8/255, not '8/0'"),
        (lambda: Attack.parse("pgd", eps="small"), "eps must be a number or a fraction"),
    ],
)
def test_says_what_is_wrong(make, message):
    with pytest.raises(UserError, match=message):
        make()
