import torch

from mamba_mender.data import Normalise
from mamba_mender.repair.judgement import judge_model, judging_split


class Corner(torch.nn.Module):
    """Reads the label off the brightest corner: what a model that fell for the decoy does."""

    def forward(self, images):
        shade = images[..., [0, 0, -1, -1], [0, -1, 0, -1]].amax((1, 2))
        return -(255 * shade[:, None] - (255 - 25 * torch.arange(10))).abs()


def test_swapped_and_clean_images_unmask_who_reads_the_decoy(decoys):
    accuracy = judge_model(Corner(), decoys, Normalise([0.0], [1.0])).accuracy
    assert accuracy["validation"] > 0.9
    assert max(accuracy["swapped_validation"], accuracy["test"], accuracy["clean_test"]) < 0.4


def test_one_split_alone(decoys):
    assert list(judge_model(Corner(), decoys, Normalise([0.0], [1.0]), only="validation").correct) == ["validation"]


def test_who_judges(decoys):
    assert judging_split(decoys, "swapped") == "swapped_validation"
    assert judging_split(decoys, "validation") == "validation"
