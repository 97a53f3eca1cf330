import numpy as np
import pytest

from mamba_mender._check import UserError
from mamba_mender.data.mask_files import judge_masks, match_masks

ONES = np.full((4, 4), 255)


@pytest.mark.parametrize("place", ["train/cat/01.png", "cat/01.png", "01.png", "01.bmp"])
def test_found_by_path_or_by_stem(tmp_path, write_image, place):
    file = write_image(tmp_path / place, ONES)
    matched = match_masks(["train/cat/01.jpg"], [(4, 4)], tmp_path)
    assert matched.files == [file]
    assert matched.problems == {}


def test_nearest_path_wins(tmp_path, write_image):
    write_image(tmp_path / "01.png", ONES)
    file = write_image(tmp_path / "cat" / "01.png", ONES)
    assert match_masks(["cat/01.jpg"], [(4, 4)], tmp_path).files == [file]


def test_each_problem_is_worded(tmp_path, write_image):
    write_image(tmp_path / "small.png", ONES[:2])
    write_image(tmp_path / "empty.png", ONES * 0)
    (tmp_path / "text.png").write_text("hello")
    cut = write_image(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 256, (4, 4)))
    cut.write_bytes(cut.read_bytes()[:-30])
    names = ["small.jpg", "empty.jpg", "text.jpg", "cut.jpg", "gone.jpg"]
    matched = match_masks(names, [(4, 4)] * 5, tmp_path)
    assert matched.files == [None] * 5
    assert matched.problems["small.jpg"] == "its mask has 2x4 pixels, the image 4x4"
    assert matched.problems["empty.jpg"] == "its mask is empty"
    assert matched.problems["text.jpg"] == "its mask cannot be read: not an image that Pillow can read"
    assert matched.problems["cut.jpg"].startswith("its mask cannot be read: ")
    assert matched.problems["gone.jpg"] == "missing"


def test_one_mask_for_two_images_is_refused(tmp_path, write_image):
    write_image(tmp_path / "01.png", ONES)
    with pytest.raises(UserError, match=r"01.png fits both cat/01.jpg and dog/01.jpg. Put the masks into sub-folders"):
        match_masks(["cat/01.jpg", "dog/01.jpg"], [(4, 4)] * 2, tmp_path)


def test_two_masks_for_one_image_are_refused(tmp_path, write_image):
    write_image(tmp_path / "01.png", ONES)
    write_image(tmp_path / "01.bmp", ONES)
    with pytest.raises(UserError, match=r"two masks for one image: .*01.bmp and .*01.png"):
        match_masks(["01.jpg"], [(4, 4)], tmp_path)


def test_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no image in it"):
        match_masks(["01.jpg"], [(4, 4)], tmp_path)
    with pytest.raises(UserError, match=r"there is no folder of masks '.*nowhere'"):
        match_masks(["01.jpg"], [(4, 4)], tmp_path / "nowhere")


def test_few_problems_give_a_note_and_many_are_refused(tmp_path):
    problems = {f"{number}.png": "missing" for number in range(7)}
    assert judge_masks({}, 100, folder=tmp_path, allowed=0.05) == []
    (note,) = judge_masks(problems, 140, folder=tmp_path, allowed=0.05)
    assert "7 of 140 images have no usable mask" in note
    assert "; 4.png: missing; and 2 more)" in note
    with pytest.raises(
        UserError, match=r"7 of 139 images .*more than the 5% that is allowed.*missing_masks \(1.0 takes"
    ):
        judge_masks(problems, 139, folder=tmp_path, allowed=0.05)
