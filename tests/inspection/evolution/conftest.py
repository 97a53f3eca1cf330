import pytest
import torch

transformers = pytest.importorskip("transformers")
WORDS = 50


@pytest.fixture
def words():
    return torch.randint(1, WORDS, (6, 11))


@pytest.fixture
def make_model():
    """Make a tiny random language model by its family."""

    def make(family):
        small = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 3, "pad_token_id": 0}
        eager = {"attn_implementation": "eager"}
        if family == "mamba":
            return transformers.MambaForCausalLM(transformers.MambaConfig(**small, state_size=4)).eval()
        if family == "mamba2":
            config = transformers.Mamba2Config(**small, state_size=4, num_heads=4, head_dim=8, n_groups=2, chunk_size=8)
            return transformers.Mamba2ForCausalLM(config).eval()
        if family == "gpt2":
            config = transformers.GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=3, n_head=2, n_positions=32, **eager)
            return transformers.GPT2LMHeadModel(config).eval()
        config = transformers.LlamaConfig(**small, intermediate_size=24, num_attention_heads=2, **eager)
        return transformers.LlamaForCausalLM(config).eval()

    return make
