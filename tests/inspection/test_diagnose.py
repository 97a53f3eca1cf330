import pytest
import torch
from torch import nn
from torch.testing import assert_close

from mamba_mender._check import UserError
from mamba_mender.data import ImageData, MemoryImages
from mamba_mender.inspection import (
    binarise,
    correlation_target,
    diagnose,
    external_correlation,
    external_score,
    internal_correlation,
    internal_score,
)
from mamba_mender.inspection import diagnose as diagnose_function
from mamba_mender.models import create_model
from mamba_mender.taps import StateKey, find_states, record


@pytest.fixture
def data():
    def split(count):
        images = torch.randint(0, 256, (count, 1, 6, 6), dtype=torch.uint8)
        return MemoryImages(images, torch.arange(count) % 3, masks=torch.rand(count, 1, 6, 6) < 0.5)

    return ImageData(
        name="noise",
        train=split(30),
        validation=split(12),
        test=split(12),
        classes=["a", "b", "c"],
        channels=1,
        img_size=(6, 6),
        mean=[0.4],
        std=[0.3],
        description="noise",
    )


@pytest.fixture(params=["class", "mean"])
def vim(request):
    return create_model(
        "vim_micro",
        num_classes=3,
        img_size=6,
        patch_size=3,
        in_chans=1,
        embed_dim=4,
        depth=2,
        d_state=2,
        pool=request.param,
    )


def test_is_what_the_parts_say(vim, data):
    """Recompute one key's map, vector and scores by hand, from the samples that were chosen."""
    found = diagnose(vim, data, count=2, alpha=0.4, beta=0.2, sign="authors", target="logit", space="raw", batch_size=5)
    vim.eval()
    token = vim.class_token_index if vim.pool == "class" else "mean"
    batch = data.train.batch(found.hard.indices)
    with record(vim) as run:
        logits = vim((batch.images - 0.4) / 0.3)
    gradients = run.gradients(correlation_target(logits, batch.labels, "logit"))
    both = [StateKey(1, "c", "forward"), StateKey(1, "c", "backward")]
    expected = external_correlation(
        [run.states[key] for key in both],
        [gradients[key] for key in both],
        vim.grid,
        class_token=vim.class_token_index,
        sign="authors",
    ).detach()
    assert_close(found.hard.maps[StateKey(1, "c")], expected)
    vector = internal_correlation(run.states[both[1]], gradients[both[1]], token=token, sign="authors").detach()
    assert_close(found.hard.vectors[both[1]], vector)
    score = external_score(
        vim,
        batch.images,
        batch.labels,
        expected,
        mean=[0.4],
        std=[0.3],
        masks=batch.masks,
        alpha=0.4,
        space="raw",
    )
    assert found.hard.external[StateKey(1, "c")].to_dict() == pytest.approx(score.to_dict(), rel=1e-5)
    inside = internal_score(binarise(vector, 0.2).view(3, 2, -1))
    assert_close(found.hard.internal[both[1]].homogeneity, inside.homogeneity)
    assert_close(found.hard.confidence, logits.detach().double().softmax(1).gather(1, batch.labels[:, None])[:, 0])


def test_covers_every_state(vim, data):
    found = diagnose(vim, data, count=1)
    keys = find_states(vim)
    together = {key._replace(direction="") for key in keys}
    for group in (found.easy, found.hard):
        assert set(group.vectors) == set(group.internal) == set(keys)
        assert set(group.external) == together
        assert set(group.maps) == together | set(keys)
        assert set(group.features) == {
            key for key in keys if key.block == -1 or (key.block == 1 and key.state in "xcs")
        }
    assert found.curve("iou", "c").blocks == [0, 1]
    assert found.curve("simplicity", "h").blocks == [-1, 0, 1]
    assert len(found.curve("homogeneity", "s", "backward").hard) == 2


def test_easy_are_surer_than_hard_and_in_order(vim, data):
    found = diagnose(vim, data, count=3, states=["h"], blocks=[-1])
    assert found.easy.labels.tolist() == found.hard.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    easy, hard = (group.confidence.view(3, 3) for group in (found.easy, found.hard))
    assert (easy.diff(dim=1) <= 1e-6).all()
    assert (hard.diff(dim=1) >= -1e-6).all()
    assert (easy.amin(1) >= hard.amax(1)).all()
    assert found.accuracy is not None


def test_activations_and_gradients_are_of_the_same_images(vim, data):
    """The first-order product from the kept features is the vector of the same row."""
    found = diagnose(vim, data, count=2, batch_size=4, sign="signed", features=["0.s"])
    for group in (found.easy, found.hard):
        for key, (state, gradient) in group.features.items():
            assert_close(internal_correlation(state, gradient, token=found.token, sign="signed"), group.vectors[key])


def test_batch_size_changes_nothing(vim, data):
    one, other = (diagnose(vim, data, count=2, batch_size=size) for size in (3, 64))
    assert torch.equal(one.easy.indices, other.easy.indices)
    assert_close(one.easy.maps, other.easy.maps, rtol=1e-4, atol=1e-8)
    assert_close(one.hard.vectors, other.hard.vectors, rtol=1e-4, atol=1e-8)


def test_leaves_the_model_as_it_was(vim, data):
    vim.train()
    vim.layers[0].eval()
    before = {name: tensor.clone() for name, tensor in vim.state_dict().items()}
    diagnose(vim, data, count=1, states=["c"])
    assert vim.training
    assert not vim.layers[0].training
    assert all(parameter.grad is None for parameter in vim.parameters())
    assert_close(dict(vim.state_dict()), before, rtol=0, atol=0)


def test_like_takes_the_same_samples_again(vim, data):
    before = diagnose(vim, data, count=2, states=["h"])
    with torch.no_grad():
        vim.head.weight.neg_()
    after = diagnose(vim, data, like=before, states=["h"])
    assert torch.equal(after.easy.indices, before.easy.indices)
    assert torch.equal(after.hard.indices, before.hard.indices)
    assert after.accuracy is None
    assert after.count == 2
    assert not torch.allclose(after.easy.confidence, before.easy.confidence)


def test_sweep_scores_both_directions_together(vim, data):
    found = diagnose(vim, data, count=1, sweep=["last.s", "embedding"], features=())
    assert [str(key) for key in found.easy.alpha_sweep] == ["embedding", "1.s"]
    assert found.easy.alpha_sweep[StateKey(1, "s")][0.5] == found.easy.external[StateKey(1, "s")]
    assert found.easy.features == {}
    assert len(found.easy.beta_sweep(StateKey(0, "y"))[0.3].simplicity) == 3


def test_works_without_masks(vim, data):
    bare = MemoryImages(data.train.images, data.train.labels)
    found = diagnose(vim, ImageData(**{**vars(data), "train": bare}), count=1, states=["h"])
    assert found.easy.masks is None
    assert found.curve("score", "h").easy == [None] * 3


def test_frozen_model(vim, data):
    expected = diagnose(vim, data, count=1)
    vim.requires_grad_(False)
    assert_close(diagnose(vim, data, count=1).easy.maps, expected.easy.maps)


def test_features_too_large_are_refused_before_anything_runs(vim, data, monkeypatch):
    module = __import__("sys").modules[diagnose_function.__module__]
    monkeypatch.setattr(module, "FEATURE_LIMIT", 1000)
    with pytest.raises(UserError, match=r"the features of 6 samples take .* GiB.*keep fewer \(--features "):
        diagnose(vim, data, count=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["a", "b"]}, "the model takes 3 classes, but noise has 2"),
        ({"channels": 3}, "the model takes 1 image channels, but noise has 3"),
        ({"img_size": (8, 8)}, r"takes \(6, 6\) pixels in height and width, but noise has \(8, 8\)"),
    ],
)
def test_model_and_data_must_fit(vim, data, changes, message):
    with pytest.raises(UserError, match=message):
        diagnose(vim, ImageData(**{**vars(data), **changes}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "trian"}, r"no split 'trian'; the nearest are \['train'\]"),
        ({"count": 6}, "class 0 has 10 samples, but 6 easy and 6 hard"),
        ({"states": ["c", "q"]}, "no states 'q'; it must be one of"),
        ({"states": ["c"], "blocks": [-1]}, r"blocks \[-1\] of this model have no state \['c'\]"),
        ({"blocks": [7]}, r"blocks \[7\] of this model have no state"),
        ({"features": ["9.c"]}, "no state '9.c' in this model"),
        ({"sign": "plus"}, "no sign 'plus'"),
        ({"target": "loss"}, "no target 'loss'"),
        ({"space": "lab"}, "no space 'lab'"),
        ({"alpha": 1.5}, r"alpha must lie in \[0, 1\), got 1.5"),
    ],
)
def test_rejects(vim, data, settings, message):
    with pytest.raises(ValueError, match=message):
        diagnose(vim, data, **{"count": 1} | settings)


def test_like_must_be_about_the_same_images(vim, data):
    before = diagnose(vim, data, count=1, states=["h"])
    with pytest.raises(UserError, match="like is about the train images of noise, not the test images"):
        diagnose(vim, data, split="test", like=before)
    moved = ImageData(**{**vars(data), "train": data.train.subset(torch.arange(29, -1, -1))})
    with pytest.raises(UserError, match="like is about other images of this name"):
        diagnose(vim, moved, like=before)


def test_empty_split_is_named(vim, data):
    with pytest.raises(UserError, match="the split 'test' of noise has no images"):
        diagnose(vim, ImageData(**{**vars(data), "test": data.test.subset(torch.arange(0))}), split="test")


def test_foreign_model_is_refused(data):
    with pytest.raises(UserError, match="Linear has no states"):
        diagnose(nn.Linear(1, 1), data)
