import json

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.inspection.study.subject import describe, take_subject
from mamba_mender.models import save_model

transformers = pytest.importorskip("transformers")
LETTERS = list("\n abcdefgh")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Save a tiny language model of characters as transformers does, with its vocabulary beside it."""
    path = tmp_path_factory.mktemp("language")
    config = transformers.MambaConfig(
        vocab_size=len(LETTERS), hidden_size=8, state_size=2, num_hidden_layers=2, intermediate_size=16
    )
    transformers.MambaForCausalLM(config).save_pretrained(path)
    (path / "vocabulary.json").write_text(json.dumps(LETTERS))
    return path


def test_a_model_of_ours_comes_with_its_card(vim, tmp_path):
    extra = {"data": {"mean": [0.3], "std": [0.5]}, "classes": [f"class {i}" for i in range(10)]}
    path = save_model(vim, tmp_path / "model.safetensors", extra=extra)
    for given in (path, str(path), tmp_path):
        subject = take_subject(given)
        assert (subject.kind, subject.card["mean"], subject.word(3)) == ("image", [0.3], "class 3")
    assert take_subject(vim).word(3) == "3"
    told = describe(subject)
    assert told["parameters"] == sum(p.numel() for p in vim.parameters())
    assert (told["architecture"], told["dtype"], told["config"]["depth"]) == ("Vim", "float32", 2)


def test_a_language_model_of_characters(folder):
    subject = take_subject(folder)
    assert (subject.kind, type(subject.model).__name__) == ("text", "MambaForCausalLM")
    numbers = subject.encode("ab\nh")
    assert numbers == [2, 3, 0, 9]
    assert "".join(map(subject.word, numbers)) == "ab\nh"
    with pytest.raises(UserError, match=r"the model has no characters \['Z'\]; its vocabulary has 10"):
        subject.encode("aZ")
    assert describe(subject)["config"]["hidden_size"] == 8


def test_a_tokenizer_may_be_given(folder):
    assert take_subject(folder, tokenizer=["x", "y"]).encode("yx") == [1, 0]
    assert take_subject(torch.nn.Linear(1, 1)).encode is None


def test_a_model_that_cannot_be_read_says_why(folder, tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.safetensors"):
        take_subject(tmp_path / "nowhere.safetensors")
    with pytest.raises(UserError, match=r"neither config\.json nor model\.safetensors"):
        take_subject(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"transformers cannot load .*check the folder"):
        take_subject(tmp_path)


def test_a_vocabulary_that_is_no_list_of_characters(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "vocabulary.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="must be a list of characters"):
        take_subject(tmp_path)
    (tmp_path / "vocabulary.json").unlink()
    assert take_subject(tmp_path).encode is None


def test_a_model_without_its_head_is_refused(tmp_path):
    config = transformers.MambaConfig(
        vocab_size=9, hidden_size=8, state_size=2, num_hidden_layers=1, intermediate_size=16, tie_word_embeddings=False
    )
    transformers.MambaModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"lacks the weights \['lm_head\.weight'\]"):
        take_subject(tmp_path)
