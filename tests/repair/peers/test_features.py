import pytest
import torch
from torch import nn

from mamba_mender.repair.peers.features import find_head, logits_and_features


def test_the_head_of_a_vim_is_found_at_any_depth(vim):
    assert find_head(vim, "t3a") is vim[1].head
    assert find_head(nn.Sequential(nn.Sequential(vim)), "t3a") is vim[1].head


def test_features_are_those_before_the_head(vim, pixels):
    logits, features = logits_and_features(vim, vim[1].head, pixels(3), "t3a")
    tokens = vim[1].forward_features(vim[0](pixels(3)))
    torch.testing.assert_close(features, vim[1].forward_head(tokens, pre_logits=True))
    assert torch.equal(logits, vim(pixels(3)))
    assert not vim[1].head._forward_pre_hooks


def test_a_head_can_be_named(conv, pixels):
    head = find_head(conv, "lame", "4")
    assert head is conv[4]
    torch.testing.assert_close(logits_and_features(conv, head, pixels(2), "lame")[1], conv[:4](pixels(2)))


def test_the_hook_goes_also_when_the_model_fails(vim):
    with pytest.raises(ValueError, match="PatchEmbed"):
        logits_and_features(vim, vim[1].head, torch.ones(1, 1, 5, 5, dtype=torch.float64), "t3a")
    assert not vim[1].head._forward_pre_hooks


def test_what_cannot_be_a_head_is_refused(vim, conv):
    with pytest.raises(ValueError, match=r"t3a: .* no module of the model has get_classifier\(\); give .* head='fc'"):
        find_head(conv, "t3a")
    with pytest.raises(ValueError, match=r"t3a: the model has no layer '1.hea'; the nearest are \['1.head'"):
        find_head(vim, "t3a", "1.hea")
    vim[1].reset_classifier(0)
    with pytest.raises(ValueError, match=r"lame: the head must be an nn.Linear, but it is Identity"):
        find_head(vim, "lame")


def test_a_head_that_reads_tokens_or_nothing_is_refused(vim, pixels):
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(16, 4)).double()
    with pytest.raises(ValueError, match=r"t3a: the head must read features of shape \(2, 16\) once.*\[\(2, 1, 16\)\]"):
        logits_and_features(tokens, tokens[1], pixels(2), "t3a")
    with pytest.raises(ValueError, match=r"once, but it read \[\]"):
        logits_and_features(vim, nn.Linear(6, 4), pixels(2), "t3a")
