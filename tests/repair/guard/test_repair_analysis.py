import json

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.repair.guard.law import law_of, wasserstein
from mamba_mender.repair.guard.repair_analysis import repair_analysis


def test_what_the_repair_did_to_states_and_answers(guard, trained, test_set):
    images, labels = test_set[2][:250], test_set[1][:250]
    found = repair_analysis(guard(trained), images, labels, batch_size=50)
    guarded = guard(trained)
    with torch.no_grad():
        ours = torch.cat([guarded(part).argmax(1) for part in images.split(50)])
        plain = trained(images).argmax(1)
    assert found.base == pytest.approx((plain == labels).double().mean().item())
    assert found.repaired == pytest.approx((ours == labels).double().mean().item())
    assert found.to_right == ((plain != labels) & (ours == labels)).sum()
    assert found.to_wrong == ((plain == labels) & (ours != labels)).sum()
    assert found.changed == (plain != ours).sum()
    assert found.to_right - found.to_wrong == round(250 * (found.repaired - found.base))
    assert found.samples == 250
    first = found.sites["embedding"]
    assert first.restored == pytest.approx(1 - first.after / first.before)
    assert first.restored > 0.5
    assert json.loads(json.dumps(found.to_dict()))["sites"]["0.h"]["samples"] == found.sites["0.h"].samples


def test_the_distances_are_those_of_the_flagged_states(shifted, test_set):
    with shifted.held():
        found = repair_analysis(shifted, test_set[2][250:330], test_set[1][250:330])
    shifted.keep_states = True
    with torch.no_grad(), shifted.held():
        shifted(test_set[2][250:330])
    law, report = shifted.guards()["0.h"].law, shifted.last.reports["0.h"]
    for states, distance in ((report.before, found.sites["0.h"].before), (report.after, found.sites["0.h"].after)):
        expected = wasserstein(law_of(states.double(), law.modes), report.realignment.target, law.modes, 4).item()
        assert distance == pytest.approx(expected, rel=1e-4)
    assert found.sites["0.h"].samples == len(report.before)
    assert found.sites["0.h"].health == pytest.approx(report.health.mean().item(), rel=1e-5)
    assert found.sites["0.h"].flagged == pytest.approx((report.health < 1).double().mean().item())


def test_where_nothing_is_repaired_nothing_is_said_of_it(guard, trained, test_set):
    frozen = guard.with_config(mode="frozen")(trained)
    found = repair_analysis(frozen, test_set[2][:60], test_set[1][:60])
    assert (found.to_right, found.to_wrong, found.changed) == (0, 0, 0)
    assert found.sites["0.h"].before is None
    assert found.sites["0.h"].restored is None
    assert found.flagged > 0.3


def test_states_are_kept_for_the_analysis_only(shifted, test_set):
    repair_analysis(shifted, test_set[2][:20], test_set[1][:20])
    assert not shifted.keep_states


@pytest.mark.parametrize(("inputs", "labels"), [(0, 0), (3, 2)])
def test_inputs_without_labels_are_refused(shifted, test_set, inputs, labels):
    with pytest.raises(UserError, match=f"equally many, and some, got {inputs} and {labels}"):
        repair_analysis(shifted, test_set[2][:inputs], test_set[1][:labels])
