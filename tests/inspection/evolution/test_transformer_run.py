import pytest
import torch

from mamba_mender.inspection.evolution import transformer_run


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_states_and_attention_are_those_of_transformers(kind, make_model, words):
    model = make_model(kind)
    run = transformer_run(model, words)
    out = model(words, output_hidden_states=True, output_attentions=True)
    assert len(run.states) == len(out.hidden_states) == 4
    assert all(torch.allclose(a, b) for a, b in zip(run.states[:-1], out.hidden_states[:-1], strict=True))
    # the last one of transformers is normalised
    norm = model.transformer.ln_f if kind == "gpt2" else model.model.norm
    assert torch.allclose(norm(run.states[-1]), out.hidden_states[-1], atol=1e-6)
    assert all(torch.allclose(a, b) for a, b in zip(run.attentions, out.attentions, strict=True))


def test_leaves_no_hook_behind(make_model, words):
    model = make_model("gpt2")
    model(words, output_hidden_states=True, output_attentions=True)  # transformers hangs hooks of its own, for good

    def hooks():
        return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]

    before = hooks()
    with pytest.raises(IndexError):
        transformer_run(model, words + 100)
    assert hooks() == before


def test_refuses_a_model_without_attention(make_model, words):
    model = make_model("llama")
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="attn_implementation"):
        transformer_run(model, words)


def test_refuses_what_has_no_layers(words):
    with pytest.raises(ValueError, match=r"Linear has no list of config.num_hidden_layers=None layers"):
        transformer_run(torch.nn.Linear(2, 2), words)
