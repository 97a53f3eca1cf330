import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mamba_mender.repair.peers import t3a
from mamba_mender.repair.peers.t3a import _surest


def by_loop(features, answers, entropies, weight, bias, kept):
    """Write the paper's algorithm out for features that come one batch after the other; gives the last logits."""
    classes = len(weight)
    supports = []
    for k in range(classes):
        logits = weight @ weight[k] + bias
        supports.append([(torch.distributions.Categorical(logits=logits).entropy().item(), weight[k])])
    for batch, answer, entropy in zip(features, answers, entropies, strict=True):
        for z, k, h in zip(batch, answer.tolist(), entropy.tolist(), strict=True):
            supports[k].append((h, z))
        supports = [sorted(pairs, key=lambda pair: pair[0])[:kept] for pairs in supports]
    prototypes = [sum(z / z.norm() for _, z in pairs) for pairs in supports]
    return torch.stack([torch.stack([z @ c / c.norm() for c in prototypes]) for z in features[-1]])


@pytest.mark.parametrize("kept", [1, 3, 100])
def test_the_logits_are_those_of_the_prototypes(vim, pixels, kept):
    peer = t3a(vim, filter=kept)
    vim[1].head.bias.data.normal_()
    peer.model[1].head.bias.data.copy_(vim[1].head.bias.data)
    peer.reset()
    features, answers, entropies = [], [], []
    for seed in range(3):
        tokens = vim[1].forward_features(vim[0](pixels(9, seed)))
        features.append(tokens.mean(1).detach())
        logits = vim(pixels(9, seed)).detach()
        answers.append(logits.argmax(1))
        entropies.append(torch.distributions.Categorical(logits=logits).entropy())
        expected = by_loop(features, answers, entropies, vim[1].head.weight.detach(), vim[1].head.bias.detach(), kept)
        torch.testing.assert_close(peer(pixels(9, seed)), expected)


def test_before_any_image_the_prototypes_are_the_heads_rows(vim, pixels):
    peer = t3a(vim)
    with peer.held():
        logits = peer(pixels(5))
    rows = nn.functional.normalize(vim[1].head.weight, dim=1)
    torch.testing.assert_close(logits, vim[1].forward_features(vim[0](pixels(5))).mean(1) @ rows.T)


def test_the_heads_rows_count_with_the_entropy_that_the_head_gives_them(vim):
    head = vim[1].head
    head.bias.data.normal_(std=2)
    logits = head.weight @ head.weight.T + head.bias
    torch.testing.assert_close(t3a(vim)._entropies, torch.distributions.Categorical(logits=logits).entropy())


@given(
    seed=st.integers(0, 999),
    count=st.integers(1, 4),
    size=st.integers(1, 25),
    shades=st.sampled_from([2, 1000]),  # with few shades there are ties
)
def test_the_surest_of_each_class_are_kept(seed, count, size, shades):
    generator = torch.Generator().manual_seed(seed)
    entropies = torch.randint(shades, (size,), generator=generator).double()
    classes = torch.randint(3, (size,), generator=generator)
    kept = []
    for k in range(3):
        of_class = [i for i in range(size) if classes[i] == k]
        kept += sorted(of_class, key=lambda i: (entropies[i].item(), i))[:count]
    assert _surest(entropies, classes, count).tolist() == sorted(kept)


def test_no_more_is_remembered_than_the_filter_allows(vim, pixels):
    peer = t3a(vim, filter=2)
    for seed in range(5):
        peer(pixels(30, seed))
    assert len(peer._supports) == len(peer._classes) == len(peer._entropies) <= 2 * 4


def test_a_head_without_bias_and_with_a_name():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False))
    assert t3a(model, head="1")(torch.rand(5, 1, 2, 2)).shape == (5, 3)


def test_it_does_not_harm_on_clean_images(trained, accuracy):
    assert accuracy(t3a(trained, filter=100)) >= accuracy(trained) - 0.05


def test_bad_settings_and_models_are_refused(vim, conv):
    with pytest.raises(ValueError, match="t3a: filter must be at least 1 support, got 0"):
        t3a(vim, filter=0)
    with pytest.raises(ValueError, match="t3a: it needs the features before the head"):
        t3a(conv)
