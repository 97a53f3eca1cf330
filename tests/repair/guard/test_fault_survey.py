"""What tells a fault is measured at any places, in any order, of models with dead channels too."""

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.models import Vim
from mamba_mender.repair.guard import GuardConfig, StateGuard
from mamba_mender.repair.guard.fault_survey import place_before, worst_scores

CONFIG = GuardConfig(alpha=0.05)


@pytest.mark.parametrize(
    "sites",
    [
        ["0.s.forward", "0.z.forward"],
        ["1.s.forward", "1.s.backward"],
        ["0.y", "0.c.backward", "embedding", "0.x.forward"],
        ["1.z.backward", "1.h"],
    ],
)
def test_any_states_can_be_guarded_and_healthy_samples_are_whole(trained, test_set, sites):
    guard = StateGuard.calibrate(trained, test_set[0][:239], test_set[0][239:], sites=sites, config=CONFIG)
    assert set(guard.laws) == set(sites)
    guarded = guard(trained)
    with torch.no_grad():
        for part in test_set[0].split(60):
            guarded(part)
            assert list(guarded.last.reports) == list(guard.laws)  # in the order of the pass
            counts = [report.faults for report in guarded.last.reports.values()] + list(guarded.last.faults.values())
            assert not torch.stack(counts).any()


def test_sites_are_in_the_order_of_the_pass_however_they_are_named(trained, test_set):
    sites = ["1.h", "0.s.backward", "0.x.forward", "embedding"]
    found = [
        list(StateGuard.calibrate(trained, test_set[0][:239], test_set[0][239:], sites=s, config=CONFIG).laws)
        for s in (sites, sites[::-1])
    ]
    assert found[0] == found[1] == ["embedding", "0.x.forward", "0.s.backward", "1.h"]


def test_what_is_before_a_place_is_the_residual_state_its_block_gets():
    keys = ["embedding", "0.x.forward", "0.h", "1.y", "1.h"]
    assert [place_before(key, keys) for key in keys] == [None, "embedding", "embedding", "0.h", "0.h"]


def test_a_channel_that_never_moves_leaves_the_other_limits_as_they_are(digits, test_set):
    torch.manual_seed(0)
    model = Vim(img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=24, depth=2, d_state=4, pool="mean")
    with torch.no_grad():
        for tensor in (model.patch_embed.proj.weight[3], model.patch_embed.proj.bias[3], model.pos_embed[..., 3]):
            tensor.zero_()
    guard = StateGuard.calibrate(model.eval(), test_set[0][:239], test_set[0][239:], config=CONFIG)
    law = guard.faults["embedding"]
    assert law.farthest.isfinite().all()
    assert law.judges_residuals
    guarded = guard(model)
    with torch.no_grad():
        guarded(test_set[0])
    assert not guarded.last.reports["embedding"].faults.any()
    keys = list(guard.faults)
    assert keys[0] == "embedding"
    assert law.farthest[3] < 0.1 * law.farthest.max()


def test_held_out_states_must_be_finite(trained, test_set):
    held_out = test_set[0][239:].clone()
    held_out[5, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="held-out states at 'embedding' are not finite"):
        StateGuard.calibrate(trained, test_set[0][:239], held_out, config=CONFIG)


def test_healthy_samples_are_rarely_stranger_than_all_held_out(guard, trained, test_set):
    """P(score above the largest of n) is at most 1 / (n + 1), over splits of exchangeable samples."""
    from mamba_mender.repair.guard.calibrate import watch

    keys = list(guard.faults)
    with torch.no_grad():
        scores = worst_scores(guard.faults, keys, watch(trained, keys, test_set[0])[0])
    count, above = 50, []
    for split in range(1000):
        order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(split))
        above.append(scores[order[count:]] > scores[order[:count]].max())
    rate = torch.stack(above).double().mean().item()
    assert 0.5 / (count + 1) < rate < 1.25 / (count + 1)
    assert scores.max() <= 1  # the guard's own limits let all pass: they are widened to what was held out
