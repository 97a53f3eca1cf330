import torch

from mamba_mender.report.channel_chart import channel_chart


def test_channels_are_ordered_by_the_class_that_uses_them():
    easy = torch.zeros(2, 3, 4)
    easy[0, :, [1, 3]] = torch.tensor([0.5, 1.0])
    easy[1, :, 2] = 7.0
    shown = channel_chart({"easy": easy, "hard": easy.flip(0)}, ["a", "b"]).axes
    assert shown[0].images[0].get_array().tolist() == [[1, 0.5, 0, 0]] * 3 + [[0, 0, 0, 1]] * 3
    assert shown[1].images[0].get_array().tolist() == [[0, 0, 0, 1]] * 3 + [[1, 0.5, 0, 0]] * 3
    assert [label.get_text() for label in shown[0].get_yticklabels()] == ["a", "b"]


def test_a_row_without_relevance_stays_dark():
    (axis, _) = channel_chart({"easy": torch.zeros(1, 1, 3)}, ["a"]).axes
    assert axis.images[0].get_array().tolist() == [[0, 0, 0]]
