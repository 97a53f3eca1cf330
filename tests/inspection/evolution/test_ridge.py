import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mamba_mender.inspection.evolution.ridge import fit_ridge


@pytest.mark.parametrize("rows", [5, 40])
@pytest.mark.parametrize("toward_copy", [False, True])
def test_agrees_with_sklearn(rows, toward_copy):
    x, y, new = (torch.randn(n, 7, dtype=torch.float64) + 2 for n in (rows, rows, 3))
    penalty = 0.3
    gram = torch.linalg.eigvalsh((x - x.mean(0)).mT @ (x - x.mean(0)))
    peer = Ridge(alpha=penalty * gram.mean().item()).fit(x.numpy(), (y - x if toward_copy else y).numpy())
    expected = peer.predict(new.numpy()) + (new.numpy() if toward_copy else 0)
    assert np.allclose(fit_ridge(x, y).predict(new, penalty, toward_copy=toward_copy), expected, atol=1e-10)


def test_a_large_penalty_leads_to_the_mean_or_to_the_copy():
    x, y = torch.randn(20, 3, dtype=torch.float64), torch.randn(20, 3, dtype=torch.float64)
    fit = fit_ridge(x, y)
    assert torch.allclose(fit.predict(x, 1e12), y.mean(0).expand(20, 3), atol=1e-8)
    assert torch.allclose(fit.predict(x, 1e12, toward_copy=True), x + (y - x).mean(0), atol=1e-8)


def test_a_constant_source_predicts_the_mean():
    x, y = torch.ones(20, 3, dtype=torch.float64), torch.randn(20, 2, dtype=torch.float64)
    assert torch.equal(fit_ridge(x, y).predict(x, 1e-8), y.mean(0).expand(20, 2))
