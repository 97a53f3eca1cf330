import pytest
import torch

from mamba_mender.inspection.evolution import compare_families, family_evolution, perturbation_growth, transformer_run


def test_a_layer_that_turns_and_scales_is_all_alike_and_one_of_noise_is_not():
    h = torch.randn(10, 20, 6, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    states = [h, 3 * h @ turn, torch.randn(10, 20, 6, dtype=torch.float64)]
    found = family_evolution(states, [torch.eye(20).expand(10, 20, 20)] * 2, name="n", parameters=1)
    assert found.cka_to_next.tolist() == pytest.approx([1, 0], abs=0.03)
    assert found.shuffled_cka.tolist() == pytest.approx([0, 0], abs=0.03)
    assert found.transition.r2.tolist() == pytest.approx([1, 0], abs=0.05)
    assert torch.allclose(found.stability, found.shuffled_stability, atol=0.03)


@pytest.mark.parametrize(("mamba", "transformer"), [("mamba", "gpt2"), ("mamba2", "llama")])
def test_both_families_give_the_same_measures(mamba, transformer, make_model, words):
    one, other = make_model(mamba), make_model(transformer)
    found = compare_families(one, other, words)
    for family, model in ((found.mamba, one), (found.transformer, other)):
        assert family.parameters == model.num_parameters()
        assert family.name == type(model).__name__
        assert family.stability.shape == (4,)
        assert family.cka_to_next.shape == family.transition.r2.shape == family.mixing.entropy.shape == (3,)
        assert torch.allclose(family.mixing.rollout.sum(1), torch.ones(6, dtype=torch.float64))
        assert all(torch.isfinite(value).all() for value in (family.stability, family.cka_to_next))
    assert found.parameter_ratio == pytest.approx(found.mamba.parameters / found.transformer.parameters)
    assert found.mamba.mixing.uniform_distance == found.transformer.mixing.uniform_distance
    assert found.to_dict()["mamba"]["transition"]["inputs"] == 6


def test_right_padding_has_no_part(make_model, words):
    mamba, transformer = make_model("mamba"), make_model("gpt2")
    clean = compare_families(mamba, transformer, words)
    padded = torch.cat([words, torch.zeros(6, 3, dtype=torch.int64)], dim=1)
    mask = torch.arange(14).expand(6, 14) < 11
    found = compare_families(mamba, transformer, padded, mask=mask)
    for one, other in ((clean.mamba, found.mamba), (clean.transformer, found.transformer)):
        assert torch.allclose(one.stability, other.stability, atol=1e-5)
        assert torch.allclose(one.cka_to_next, other.cka_to_next, atol=1e-4)
        assert torch.allclose(one.mixing.entropy, other.mixing.entropy, atol=1e-5)
        assert torch.allclose(one.mixing.rollout, other.mixing.rollout[:, :11], atol=1e-5)


def test_hidden_states_and_attentions_of_transformers_do_as_they_are(make_model, words):
    model = make_model("llama")
    run = transformer_run(model, words)
    out = model(words, output_hidden_states=True, output_attentions=True)
    given = {"name": "llama", "parameters": 1}
    whole = family_evolution(run.states, run.attentions, **given)
    plain = family_evolution(out.hidden_states[:-1], out.attentions[:-1], **given)
    assert torch.allclose(whole.cka_to_next[:-1], plain.cka_to_next, atol=1e-5)


def test_perturbation_growth_takes_a_language_model(make_model, words):
    result = perturbation_growth(make_model("mamba").double(), words, positions=[4])
    assert result.blocks.tolist() == [-1, 0, 1, 2]
    assert result.spread[..., :4].sum() == 0  # nothing goes back in time
    assert result.spread[:, -1, 5:].sum() > 0


def test_refuses(make_model, words):
    mamba, transformer = make_model("mamba"), make_model("gpt2")
    with pytest.raises(RuntimeError, match="GPT2LMHeadModel is in training mode"):
        compare_families(mamba, transformer.train(), words)
    h = torch.randn(4, 5, 3)
    with pytest.raises(ValueError, match="2 states, the embedding first, need 1 matrices, got 2"):
        family_evolution([h, h], [torch.eye(5).expand(4, 5, 5)] * 2, name="n", parameters=1)
