import pytest
import torch

from mamba_mender.report.overlay_sheet import overlay_sheet


def sheet(**settings):
    settings = {"rows": ["zero", "one", "two"]} | settings
    return overlay_sheet(
        torch.rand(3, 1, 8, 8), {"block 0": torch.rand(3, 4, 4), "block 1": torch.rand(3, 4, 4)}, **settings
    )


def words(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_has_a_picture_for_each_image_and_map():
    figure = sheet()
    assert len(figure.axes) == 3 * 3
    assert [axis.get_title() for axis in figure.axes[:3]] == ["image", "block 0", "block 1"]


def test_names_rows_groups_and_notes():
    figure = sheet(groups=[("easy", 1), ("hard", 2)], notes={"block 1": ["1 %", "2 %", "3 %"]})
    assert {"zero", "one", "two", "easy", "hard", "1 %", "2 %", "3 %"} <= set(words(figure))


def test_outlines_the_border_of_the_mask_only():
    masks = torch.ones(3, 8, 8, dtype=torch.bool)
    masks[0, :2, :2] = False
    edges = [sum(len(lines.get_segments()) for lines in axis.collections) for axis in sheet(masks=masks).axes]
    assert edges == [4, 4, 4, 0, 0, 0, 0, 0, 0]


def test_groups_must_add_up():
    with pytest.raises(ValueError, match="must add up to the 3 images"):
        sheet(groups=[("easy", 1)])
