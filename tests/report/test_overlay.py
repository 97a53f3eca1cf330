import torch

from mamba_mender.report.overlay import enlarge, overlay


def test_an_unused_place_stays_grey_and_the_peak_turns_yellow():
    relevance = torch.zeros(4, 4)
    relevance[0, 0] = 2.0
    picture = overlay(torch.full((1, 8, 8), 0.5), relevance)
    red, green, blue = picture[0, 0]
    assert min(red, green) > blue + 0.3
    assert picture[-1, -1].std() < 1e-6


def test_negative_relevance_is_not_shown():
    image = torch.rand(1, 8, 8)
    assert (overlay(image, -torch.rand(4, 4)) == overlay(image, torch.zeros(4, 4))).all()


def test_a_colour_image_keeps_its_colours_and_a_large_one_its_size():
    image = torch.rand(3, 90, 100)
    assert torch.equal(torch.from_numpy(enlarge(image)), image.permute(1, 2, 0))
