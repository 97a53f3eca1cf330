import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.attribution import attribute, embedding, faithfulness, predict_from
from mamba_mender.inspection.attribution.replacement import replacement_embedding


def test_curves_are_what_replacing_tokens_by_hand_gives(make_vim, make_images):
    model, images = make_vim(), make_images(2)
    relevance = torch.rand(2, 17, generator=torch.Generator().manual_seed(4))
    relevance[:, 8] = 100  # the class token: never replaced
    found = faithfulness(
        model, images, relevance, torch.tensor([1, 2]), steps=8, draws=2, measure="logit", batch_size=5
    )
    value, base = embedding(model, images), replacement_embedding(model, images)[0]
    for i in range(2):
        order = [t for t in relevance[i].argsort(descending=True).tolist() if t != 8]
        for k in range(9):
            deleted, inserted = value.clone(), value.clone()
            deleted[i, order[: 2 * k]] = base[i, order[: 2 * k]]
            inserted[i, order[2 * k :]] = base[i, order[2 * k :]]
            assert_close(found.deletion[i, k], predict_from(model, images, deleted)[i, i + 1].detach())
            assert_close(found.insertion[i, k], predict_from(model, images, inserted)[i, i + 1].detach())
    area = torch.stack([torch.trapezoid(curve, dx=1 / 8) for curve in found.deletion])
    assert_close(found.deletion_auc.value, area)
    assert found.share.tolist() == [k / 8 for k in range(9)]


def test_ends_are_the_whole_and_nothing_also_for_random_orders(make_vim, make_images):
    model, images = make_vim(), make_images()
    found = faithfulness(model, images, torch.rand(3, 17), draws=3)
    whole = model(images).softmax(1).amax(1).detach()
    assert found.deletion.shape == (3, 17)  # at most one point a token
    for curves in (found.deletion, found.insertion.flip(-1), *found.random_deletion):
        assert_close(curves[:, 0], whole)
        assert_close(curves[:, -1], found.deletion[:, -1])


@pytest.mark.parametrize("method", ["gradient_times_input", "mamba_lrp", "mamba_attribution"])
def test_finding_the_token_that_decides_beats_random_orders(planted, make_tokens, method):
    tokens = make_tokens(12)
    settings = {"token": 3} if method == "mamba_attribution" else {}
    found = attribute(planted, tokens, method=method, **settings)
    curves = faithfulness(planted, tokens, found.relevance.abs(), found.target, replacement=torch.zeros(4), draws=20)
    assert curves.deletion_auc.beats_random
    assert curves.insertion_auc.beats_random
    assert_close(curves.deletion[:, 1:], curves.deletion[:, -1:].expand(12, 7))  # gone with the first token
    assert (curves.deletion_auc.value < curves.deletion_auc.random.mean(0)).all()


def test_random_relevance_is_no_better_than_random(planted, make_tokens):
    tokens = make_tokens(40)
    relevance = torch.rand(40, 7, generator=torch.Generator().manual_seed(9))
    curves = faithfulness(planted, tokens, relevance, replacement=torch.zeros(4), draws=40)
    for auc in (curves.deletion_auc, curves.insertion_auc):
        assert auc.gain.low < 0 < auc.gain.high
        assert not auc.beats_random


def test_the_reverse_order_is_worse_than_random(planted, make_tokens):
    tokens = make_tokens(12)
    relevance = -attribute(planted, tokens, method="mamba_lrp").relevance.abs()
    curves = faithfulness(planted, tokens, relevance, replacement=torch.zeros(4), draws=20)
    assert curves.deletion_auc.gain.high < 0
    assert curves.insertion_auc.gain.high < 0


def test_padding_stays(make_family):
    model = make_family("Mamba")
    ids = torch.randint(3, 40, (2, 6), generator=torch.Generator().manual_seed(3))
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[1, 3:] = False
    relevance = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    found = faithfulness(model, ids, relevance, mask=mask, steps=3, draws=2, replacement=2)
    alone = faithfulness(model, ids[1:, :3], relevance[1:, :3], steps=3, draws=2, replacement=2)
    assert_close(found.deletion[1:], alone.deletion, rtol=1e-4, atol=1e-6)


def test_refuses_what_does_not_fit(make_vim, make_images):
    model, images = make_vim(), make_images()
    with pytest.raises(ValueError, match=r"relevance must be \(3, 17\), got \(3, 16\)"):
        faithfulness(model, images, torch.rand(3, 16))
    with pytest.raises(ValueError, match=r"no measure 'logits'; the nearest are \['logit'\]"):
        faithfulness(model, images, torch.rand(3, 17), measure="logits")
    with pytest.raises(ValueError, match="draws at least 2, got 20 and 1"):
        faithfulness(model, images, torch.rand(3, 17), draws=1)
