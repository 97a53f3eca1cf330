import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data import MemoryImages
from mamba_mender.data.attach_masks import attach_masks


@pytest.fixture
def splits():
    def make(split, count):
        pixels = torch.zeros(count, 1, 4, 4, dtype=torch.uint8)
        pixels[:, :, 1:3, 1:3] = 99
        return MemoryImages(pixels, torch.arange(count) % 2, [f"{split}-{number}" for number in range(count)])

    return {"train": make("train", 20), "validation": make("val", 5), "test": make("test", 5)}


def put_masks(folder, splits, write_image, size=4):
    for key in ("train", "validation"):
        for name in splits[key].names:
            write_image(folder / f"{name}.png", torch.ones(size, size))


def test_rule_masks_every_split(splits):
    masked, notes = attach_masks(splits, "nonzero", missing_masks=0.05)
    assert notes == []
    for key, part in masked.items():
        assert part.has_mask.all()
        batch = part.batch(torch.arange(len(part)))
        assert torch.equal(batch.masks, batch.images > 0)
        assert part.names == splits[key].names


def test_black_image_has_no_mask(splits):
    splits["train"].images[3] = 0
    masked, _ = attach_masks(splits, "nonzero", missing_masks=0.05)
    assert (~masked["train"].has_mask).nonzero().flatten().tolist() == [3]


def test_folder_masks_by_name_and_the_test_may_do_without(splits, tmp_path, write_image):
    put_masks(tmp_path, splits, write_image)
    (tmp_path / "train-7.png").unlink()
    masked, notes = attach_masks(splits, str(tmp_path), missing_masks=0.05)
    assert (~masked["train"].has_mask).nonzero().flatten().tolist() == [7]
    assert masked["validation"].has_mask.all()
    assert not masked["test"].has_mask.any()
    assert "1 of 25 images" in notes[0]


def test_masks_of_another_size_are_refused(splits, tmp_path, write_image):
    put_masks(tmp_path, splits, write_image, size=5)
    with pytest.raises(UserError, match=r"25 of 25 images .*train-0: its mask has 5x5 pixels, the image 4x4"):
        attach_masks(splits, str(tmp_path), missing_masks=0.05)
