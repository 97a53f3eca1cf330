import pytest
import torch

from mamba_mender.repair import class_templates

LABELS = torch.tensor([0, 0, 1])
CORRELATIONS = torch.tensor([[4.0, 0.0, 1.0], [2.0, 0.0, 0.2], [0.0, 1.0, 0.0]])


def test_keeps_the_channels_that_stand_out():
    assert class_templates(CORRELATIONS, LABELS, 2).tolist() == [[True, False, False], [False, True, False]]


def test_a_lower_threshold_keeps_more():
    assert class_templates(CORRELATIONS, LABELS, 2, beta=0.1)[0].tolist() == [True, False, True]
    assert class_templates(CORRELATIONS, LABELS, 2, beta=0.0).all()


def test_each_sample_weighs_the_same_whatever_its_scale():
    scaled = CORRELATIONS * torch.tensor([[1e-12], [1e6], [3.0]])
    assert torch.equal(class_templates(scaled, LABELS, 2), class_templates(CORRELATIONS, LABELS, 2))


def test_no_channel_stands_out_so_all_are_kept():
    assert class_templates(torch.ones(3, 4), LABELS, 2).all()


def test_refuses_a_class_without_samples_and_a_bad_threshold():
    with pytest.raises(ValueError, match=r"classes \[2\] have no easy sample"):
        class_templates(CORRELATIONS, LABELS, 3)
    with pytest.raises(ValueError, match="beta must be in"):
        class_templates(CORRELATIONS, LABELS, 2, beta=1.0)
