import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mamba_mender.inspection.attention import attention_rollout, hidden_attention
from mamba_mender.inspection.attribution import (
    attention_relevance,
    mamba_attribution,
    rollout_relevance,
)
from mamba_mender.inspection.attribution.read_token import read_token
from mamba_mender.taps import record
from mamba_mender.taps.find_places import find_places
from mamba_mender.taps.spot import listen
from mamba_mender.taps.tap import Tap


def matrices(model, images):
    """The attention of each block, both directions, (batch, length, length)."""
    with torch.no_grad(), record(model, "") as run:
        model(images)
    scans = list(run.scans.values())
    return [[hidden_attention(scan).values for scan in scans[2 * k : 2 * k + 2]] for k in range(len(scans) // 2)]


def test_attention_is_the_row_of_the_token_that_is_read(make_vim, make_images):
    model, images = make_vim(), make_images()
    alpha = matrices(model, images)
    assert_close(attention_relevance(model, images).relevance, sum(alpha[-1])[:, 8])
    both = attention_relevance(model, images, token=-1, blocks=[0, 2]).relevance
    assert_close(both, (sum(alpha[0]) + sum(alpha[2]))[:, -1] / 2)
    mean = attention_relevance(make_vim(pool="mean"), images)
    assert_close(mean.relevance, sum(matrices(make_vim(pool="mean"), images)[-1]).mean(1))


def test_rollout_is_the_product_of_matrices(make_vim, make_images):
    model, images = make_vim(), make_images()
    with torch.no_grad(), record(model, "") as run:
        model(images)
    assert_close(rollout_relevance(model, images).relevance, attention_rollout(list(run.scans.values()), 8).values)
    product = torch.eye(17, dtype=torch.float64)
    for alpha in matrices(model, images):
        product = (torch.eye(17, dtype=torch.float64) + sum(alpha)) @ product
    assert_close(rollout_relevance(model, images, token="mean", normalise=False).relevance, product.mean(1))


class Gated(Tap):
    """Keep the gated output of each scan as a node of the graph."""

    def __init__(self):
        self.found = []

    def gate(self, site, s, z, run):
        self.found.append(run(s, z))
        return self.found[-1]


def test_mamba_attribution_is_the_product_of_its_matrices(make_vim, make_images):
    """Against the gradient taken at the gated output itself, and matrices written out."""
    model, images = make_vim(biases=True), make_images()
    tap, target = Gated(), torch.tensor([1, 0, 3])
    with listen(tap, find_places(model).sites.values()):
        score = model(images).gather(1, target[:, None]).sum()
    gradients = [g.mean(1) for g in torch.autograd.grad(score, tap.found)]
    product = torch.eye(17, dtype=torch.float64)
    for k, alpha in enumerate(matrices(model, images)):
        weighted = [F.relu(gradients[2 * k + i][..., None] * alpha[i]) for i in range(2)]
        product = (torch.eye(17, dtype=torch.float64) + sum(weighted)) @ product
    assert_close(mamba_attribution(model, images, target).relevance, product[:, 8].detach(), rtol=1e-6, atol=1e-9)


def test_mamba_attribution_depends_on_the_target(make_vim, make_images):
    model, images = make_vim(biases=True), make_images()
    one, other = (mamba_attribution(model, images, torch.full((3,), k)).relevance for k in (0, 1))
    assert (one - other).abs().max() > 1e-3 * one.abs().max()


@pytest.mark.parametrize("method", [attention_relevance, rollout_relevance, mamba_attribution])
def test_only_the_token_that_decides_has_relevance(planted, make_tokens, method):
    relevance = method(planted, make_tokens(), token=3).relevance
    assert (relevance.abs().argmax(1) == 3).all()
    assert relevance[:, [0, 1, 2, 4, 5, 6]].abs().max() < 1e-9


def test_every_family_is_read_at_its_last_real_token(make_family, family):
    model = make_family(family)
    ids = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(3))
    for method in (attention_relevance, rollout_relevance, mamba_attribution):
        found = method(model, ids)
        assert found.relevance.isfinite().all()
        assert found.relevance.abs().amax(1).min() > 0
        assert_close(found.score, model(ids).logits[:, -1].amax(1).detach(), rtol=1e-3, atol=1e-5)


def test_padding_has_no_relevance(make_family):
    model = make_family("Mamba")
    ids = torch.randint(3, 40, (2, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 5:] = False
    for method in (attention_relevance, rollout_relevance, mamba_attribution):
        found = method(model, ids, mask=mask)
        assert found.relevance[~mask].abs().max() == 0
        assert_close(found.relevance[1:, :5], method(model, ids[1:, :5]).relevance, rtol=1e-3, atol=1e-6)


def test_says_which_tokens_there_are(make_vim, make_images, planted, make_tokens):
    with pytest.raises(ValueError, match=r"token must be 'mean', 'last' or among -17 to 16, got 17"):
        rollout_relevance(make_vim(), make_images(), token=17)
    with pytest.raises(ValueError, match="Reader does not say which token it reads; pass token"):
        rollout_relevance(planted, make_tokens())
    mask = torch.tensor([[False, True, True], [True, False, False]])
    like = torch.zeros(2, 3)
    assert read_token("f", planted, like, mask=mask, token="mean").tolist() == [[0, 0.5, 0.5], [1, 0, 0]]
    assert read_token("f", planted, like, mask=mask, token="last").argmax(1).tolist() == [2, 0]
