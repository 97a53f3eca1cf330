import pytest
import torch

from mamba_mender.inspection.attribution import METHODS, compare_methods


def test_all_methods_find_the_token_that_decides_beside_the_same_random_orders(planted, make_tokens):
    token = {"token": 3}
    settings = {name: token for name in ("attention", "attention_rollout", "mamba_attribution")}
    masks = torch.zeros(8, 7)
    masks[:, 3] = 1
    tokens = make_tokens(8)
    found = compare_methods(planted, tokens, settings=settings, masks=masks, replacement=torch.zeros(4), draws=5)
    assert list(found.faithfulness) == list(METHODS)
    assert found.failed == {}
    first = found.faithfulness["mamba_lrp"]
    for name in METHODS:
        assert torch.equal(found.faithfulness[name].random_deletion, first.random_deletion)
        assert found.seconds[name] > 0
    assert found.localisation["mamba_attribution"].pointing.value.tolist() == [1.0] * 8
    assert set(found.to_dict()) == {"attributions", "faithfulness", "localisation", "seconds", "failed"}


def test_a_method_whose_law_fails_is_listed(make_vim, make_images):
    model = make_vim(biases=True)
    model.head = torch.nn.Sequential(torch.nn.Tanh(), model.head)
    found = compare_methods(model, make_images(2), methods=["attention", "mamba_lrp"], draws=2, steps=3)
    assert list(found.attributions) == list(found.faithfulness) == ["attention"]
    assert "relevance is not conserved" in found.failed["mamba_lrp"]
    assert found.localisation == {}


def test_refuses_unknown_methods(make_vim, make_images):
    with pytest.raises(ValueError, match="no method 'lrp'"):
        compare_methods(make_vim(), make_images(), methods=["lrp"])
    with pytest.raises(ValueError, match="no method 'lrp'"):
        compare_methods(make_vim(), make_images(), methods=["attention"], settings={"lrp": {}})
