import logging
import sys

import pyautoattack
import pytest
import torch

from mamba_mender.stress.attacks import Attack
from mamba_mender.stress.attacks.attack_view import AttackView
from mamba_mender.stress.attacks.ensemble_attacks import _trace_kept, _warnings_kept, auto_attack, square_attack


def test_a_debuggers_trace_is_put_back():
    trace = sys.gettrace()

    def mine(*_):
        return None

    try:
        sys.settrace(mine)
        with _trace_kept():
            sys.settrace(None)
        assert sys.gettrace() is mine
    finally:
        sys.settrace(trace)


def test_warnings_are_kept_and_no_more(capfd):
    logger = logging.getLogger("test-of-notes")
    with _warnings_kept("test-of-notes") as notes:
        logger.debug("quiet")
        logger.warning("loud %d", 1)
    assert notes == ["loud 1"]
    assert logger.propagate
    assert logger.handlers == []
    assert capfd.readouterr() == ("", "")


def test_square_asks_as_often_as_it_may_and_not_for_gradients(digits):
    net, images, labels = digits
    view = AttackView(net)
    square_attack(view, images[:1], labels[:1], Attack("square", steps=37, eps=1 / 255), seed=0)
    assert view.queries == 38
    assert view.gradients == 0


@pytest.mark.parametrize(("classes", "targets"), [(3, 2), (10, 9)])
def test_the_targeted_parts_aim_at_every_other_class(classes, targets, monkeypatch):
    autoattack = pyautoattack.AutoAttack
    seen = []

    def run(self, images, labels, batch_size):
        seen.append((self.attacks_to_run, self.fab.n_target_classes, self.apgd.n_iter_2, self.square.n_queries))
        return images, labels

    monkeypatch.setattr(autoattack, "run_standard_evaluation", run)
    view = AttackView(torch.nn.Flatten())
    images = torch.rand(2, 1, 5, 5)
    auto_attack(view, images, torch.zeros(2, dtype=torch.long), Attack("autoattack"), classes=classes, seed=0)
    parts = ["apgd-ce", "apgd-dlr" if classes == 3 else "apgd-t", "fab-t", "square"]
    assert seen == [(parts, targets, 22, 5000)]


def test_square_is_left_out_where_only_gradients_are_asked_for(digits, monkeypatch):
    net, images, labels = digits
    parts = []

    def run(self, images, labels, batch_size):
        parts.extend(self.attacks_to_run)
        return images, labels

    monkeypatch.setattr(pyautoattack.AutoAttack, "run_standard_evaluation", run)
    attack = Attack("autoattack", steps=2)
    auto_attack(AttackView(net), images[:2], labels[:2], attack, classes=10, seed=0, square=False)
    assert parts == ["apgd-ce", "apgd-t", "fab-t"]
