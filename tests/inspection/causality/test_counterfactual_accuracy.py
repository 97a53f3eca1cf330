import pytest
import torch

from mamba_mender.inspection.causality import (
    activation_patching,
    attribution_patching,
    class_logit,
    counterfactual_accuracy,
)


def test_all_right_is_1_and_all_wrong_is_0():
    truth = torch.tensor([1.0, -2.0, 3.0, 0.5])
    assert counterfactual_accuracy(truth * 3, truth).accuracy == 1
    wrong = counterfactual_accuracy(-truth, truth)
    assert wrong.accuracy == 0
    assert wrong.baseline == 0.75  # always "up"
    assert (wrong.low, wrong.high, wrong.cases) == (0, 0, 4)


def test_classes():
    found = counterfactual_accuracy(torch.tensor([2, 1, 0, 0]), torch.tensor([2, 1, 1, 1]))
    assert found.accuracy == 0.5
    assert found.baseline == 0.75
    assert found.low < 0.5 < found.high


def test_negligible_changes_count_as_none():
    found = counterfactual_accuracy(torch.tensor([1e-9, 1.0]), torch.tensor([-1e-9, 1.0]), negligible=1e-6)
    assert found.accuracy == 1
    assert counterfactual_accuracy(torch.tensor([0.0]), torch.tensor([1.0])).accuracy == 0


def test_of_a_first_order_screen(vim, images):
    near = images + 1e-3 * torch.randn(images.shape, dtype=torch.float64)
    options = {"node": "c", "blocks": [1]}
    screen = attribution_patching(vim, images, near, class_logit(0), **options)
    truth = activation_patching(vim, images, near, class_logit(0), **options)
    assert counterfactual_accuracy(screen.effect, truth.effect, negligible=1e-12).accuracy > 0.95


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (torch.zeros(2), torch.zeros(3), "one shape"),
        (torch.zeros(0), torch.zeros(0), "at least one case"),
        (torch.zeros(2), torch.zeros(2).long(), "both must be changes"),
        (torch.zeros(1), torch.tensor([torch.nan]), "NaN"),
    ],
)
def test_refuses(predicted, truth, message):
    with pytest.raises(ValueError, match=message):
        counterfactual_accuracy(predicted, truth)
