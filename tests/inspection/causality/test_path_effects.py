import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import class_logit, path_effects
from mamba_mender.taps import Edit, edit


def reads(channel):
    return lambda logits: logits[:, channel]


def test_a_block_that_the_head_does_not_read_has_no_direct_effect(chain, tokens):
    found = path_effects(chain, tokens, reads(0))  # the channel that layer 1 writes
    assert found.blocks == [0, 1, 2]
    y0 = torch.tanh(2 * tokens[..., 0])
    assert_close(found.total[0], -y0.mean(1))
    assert found.direct[0].abs().max() < 1e-12
    assert_close(found.indirect[0], found.total[0])
    assert_close(found.mediated[0], found.total[0])
    assert_close(found.direct[1], -(y0 + tokens[..., 1] + 0.7 * tokens[..., 4] ** 2).mean(1))
    assert found.indirect[1:].abs().max() < 1e-12
    assert found.total[2].abs().max() < 1e-12


def test_a_fork_has_both(fork, tokens):
    """Layer 0 adds a to channel 1, and layer 1 says 2 c + c^2 of it: every effect can be written down."""
    a, b = tokens[..., 0], tokens[..., 1]
    found = path_effects(fork, tokens, lambda logits: logits.sum(1))
    direct = -a
    indirect = (2 * b + b**2) - (2 * (a + b) + (a + b) ** 2)
    assert_close(found.direct[0], direct.mean(1))
    assert_close(found.indirect[0], indirect.mean(1))
    assert_close(found.mediated[0], indirect.mean(1))  # the head adds, so the paths do not interact
    assert_close(found.total, found.direct + found.indirect)


def test_paths_that_interact(fork, tokens):
    """With a product of what both say, the indirect effect is not what the later blocks do alone."""
    found = path_effects(fork, tokens, lambda logits: logits.prod(1))
    assert (found.indirect[0] - found.mediated[0]).abs().max() > 0.01
    assert_close(found.total, found.direct + found.indirect)


def test_total_is_the_edit(vim, images, donors):
    metric = class_logit(1)
    found = path_effects(vim, images, metric, donor=donors, blocks=[0], positions=[1, 2])
    from mamba_mender.inspection.causality import observe, places_of

    (place,) = places_of(vim, "y", blocks=[0])
    value = observe(vim, donors, "y", [place], positions=[1, 2]).values[place]
    with torch.no_grad(), edit(vim, Edit("y", value, blocks=[0], positions=[1, 2])):
        changed = metric(vim(images))
    assert_close(found.total[0], changed - metric(vim(images)).detach(), rtol=1e-8, atol=1e-12)
    assert found.direct[0].abs().max() > 1e-6
    assert found.indirect[0].abs().max() > 1e-6


def test_the_donor_itself_has_no_effect(vim, images):
    found = path_effects(vim, images, class_logit(1), donor=images)
    for effect in (found.total, found.direct, found.indirect, found.mediated):
        assert effect.abs().max() < 1e-12


def test_interval(fork, tokens):
    found = path_effects(fork, tokens, lambda logits: logits.sum(1))
    interval = found.interval("indirect")
    assert interval.mean.shape == (2,)
    assert interval.low[0] < found.indirect[0].mean() < interval.high[0]
