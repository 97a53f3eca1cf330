import pytest
import torch

from mamba_mender.inspection.causality import class_logit, logit_difference

LOGITS = torch.tensor([[1.0, 0.0, 5.0], [2.0, 4.0, 0.0]])


def test_a_class_for_each_input():
    assert logit_difference(torch.tensor([2, 1]), torch.tensor([1, 0]))(LOGITS).tolist() == [5.0, 2.0]
    assert class_logit(torch.tensor([2, 1]))(LOGITS).tolist() == [3.0, 2.0]


def test_refuses_a_class_that_is_not_there():
    with pytest.raises(ValueError, match="there are 3 classes, got class 3"):
        class_logit(3)(LOGITS)
