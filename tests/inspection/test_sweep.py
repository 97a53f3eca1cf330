import pytest
import torch

from mamba_mender.inspection import (
    THRESHOLDS,
    binarise,
    external_score,
    internal_score,
    sweep_alpha,
    sweep_beta,
)


def model(images):
    return images.flatten(1)[:, :3]


def test_alpha_sweep_is_one_score_per_threshold():
    given = (model, torch.rand(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]), torch.rand(4, 2, 2))
    settings = {"mean": [0.1], "std": [0.2], "masks": torch.rand(4, 1, 2, 2) < 0.5, "space": "raw"}
    sweep = sweep_alpha(*given, **settings)
    assert tuple(sweep) == THRESHOLDS
    assert sweep[0.3] == external_score(*given, alpha=0.3, **settings)
    coverages = [score.coverage for score in sweep.values()]
    assert coverages == sorted(coverages, reverse=True)


def test_beta_sweep_is_one_score_per_threshold():
    vectors = torch.rand(3, 5, 8)
    sweep = sweep_beta(vectors, [0.2, 0.6])
    expected = internal_score(torch.stack([binarise(own, 0.6) for own in vectors]))
    assert torch.equal(sweep[0.6].homogeneity, expected.homogeneity)
    assert (sweep[0.6].simplicity >= sweep[0.2].simplicity).all()


def test_beta_sweep_rejects_other_axes():
    with pytest.raises(ValueError, match=r"vectors must be \(classes, samples, channels\)"):
        sweep_beta(torch.zeros(5, 8))
