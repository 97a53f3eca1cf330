"""Image folders as people have them, whole and broken."""

import shutil

import numpy as np
import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data.file_images import FileImages
from mamba_mender.data.folder import FolderOptions, read_image_folder
from mamba_mender.data.memory_images import MemoryImages


def read(folder, **options):
    return read_image_folder(folder, FolderOptions(**options))


def everything(images):
    return images.batch(torch.arange(len(images)))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size - 30])


def test_classes_and_names_come_from_the_folders(image_folder):
    source = read(image_folder)
    assert source.classes == ["a", "b"]
    assert source.train.names[0] == "a/00.png"
    assert source.train.labels.tolist() == [0] * 10 + [1] * 10
    assert (source.validation, source.test) == (None, None)


def test_splits_of_their_own_are_kept(image_folder, tmp_path):
    for split in ("train", "val", "test"):
        shutil.copytree(image_folder, tmp_path / "whole" / split)
    source = read(tmp_path / "whole")
    assert source.validation.names[0] == "val/a/00.png"
    assert source.test.names[0] == "test/a/00.png"
    shutil.rmtree(tmp_path / "whole" / "test")
    source = read(tmp_path / "whole")
    assert source.validation is None
    assert source.test.names[0] == "val/a/00.png"


def test_small_folders_are_held_in_memory_unless_told(image_folder):
    memory, files = read(image_folder).train, read(image_folder, in_memory=False).train
    assert isinstance(memory, MemoryImages)
    assert isinstance(files, FileImages)
    assert torch.equal(everything(memory).images, everything(files).images)


def test_one_colour_image_makes_all_colour(image_folder, write_image):
    write_image(image_folder / "a" / "colour.png", np.zeros((8, 8, 3)))
    assert everything(read(image_folder).train).images.shape == (21, 3, 8, 8)


@pytest.mark.parametrize("in_memory", [True, False])
def test_masks_of_a_folder(image_folder, mask_folder, in_memory):
    batch = everything(read(image_folder, masks=str(mask_folder), in_memory=in_memory).train)
    assert batch.has_mask.all()
    assert torch.equal(batch.masks, batch.images > 0)


def test_mask_folder_may_lie_among_the_classes(image_folder, mask_folder):
    inside = shutil.move(mask_folder, image_folder / "masks")
    source = read(image_folder, masks=str(inside))
    assert source.classes == ["a", "b"]
    assert source.train.has_mask.all()


@pytest.mark.parametrize("in_memory", [True, False])
def test_image_and_mask_are_resized_alike(image_folder, mask_folder, in_memory):
    options = {"masks": str(mask_folder), "img_size": (24, 24), "in_memory": in_memory}
    batch = everything(read(image_folder, **options).train)
    assert batch.images.shape == (20, 1, 24, 24)
    bright = batch.images > batch.images.flatten(1).amax(1).view(-1, 1, 1, 1) / 2
    assert (bright == batch.masks).float().mean() > 0.98


def test_few_missing_masks_are_noted(image_folder, mask_folder):
    (mask_folder / "03.png").unlink()
    source = read(image_folder, masks=str(mask_folder))
    assert source.train.has_mask.sum() == 19
    assert "1 of 20 images have no usable mask" in source.notes[0]
    assert "b/03.png: missing" in source.notes[0]


def test_many_missing_masks_are_refused_unless_allowed(image_folder, mask_folder, write_image):
    (mask_folder / "03.png").unlink()
    write_image(mask_folder / "04.png", np.ones((9, 9)))
    with pytest.raises(
        UserError,
        match=r"(?s)2 of 20 images have no usable mask in .*a/04.png: its mask has 9x9 pixels, the image 8x8.*5%",
    ):
        read(image_folder, masks=str(mask_folder))
    assert read(image_folder, masks=str(mask_folder), missing_masks=0.1).train.has_mask.sum() == 18


def test_test_images_may_do_without_masks(image_folder, mask_folder, tmp_path):
    shutil.copytree(image_folder, tmp_path / "whole" / "train")
    shutil.copytree(image_folder / "a", tmp_path / "whole" / "test" / "a")
    for number, file in enumerate((tmp_path / "whole" / "test" / "a").iterdir()):
        file.rename(file.with_name(f"unmasked-{number}.png"))
    source = read(tmp_path / "whole", masks=str(mask_folder))
    assert source.train.has_mask.all()
    assert not source.test.has_mask.any()
    assert source.notes == []


@pytest.mark.parametrize("in_memory", [True, False])
def test_unreadable_images_are_named_or_skipped_and_counted(image_folder, in_memory):
    (image_folder / "a" / "02.png").write_text("hello")
    cut(image_folder / "b" / "05.png")
    with pytest.raises(UserError, match=r"cannot be read \(a/02.png: not an image .*pass skip_bad=True \(--skip-bad\)"):
        read(image_folder, in_memory=in_memory)
    source = read(image_folder, in_memory=in_memory, skip_bad=True)
    assert len(source.train) == 18
    assert "a/02.png" in source.notes[0]
    assert "1 of 19 images" in source.notes[1]
    assert "b/05.png" in source.notes[1]
    assert len(everything(source.train)) == 18


def test_many_unreadable_images_are_counted_and_a_few_named(image_folder):
    for file in image_folder.glob("a/*.png"):
        file.write_text("")
    with pytest.raises(UserError, match=r"10 of 20 images .*; and 5 more"):
        read(image_folder)


def test_all_unreadable_is_refused_even_when_skipping(image_folder):
    for file in image_folder.rglob("*.png"):
        file.write_text("")
    with pytest.raises(UserError, match="20 of 20 images"):
        read(image_folder, skip_bad=True)


def test_class_that_lost_all_its_images_is_refused(image_folder):
    for file in image_folder.glob("b/*.png"):
        cut(file)
    with pytest.raises(UserError, match=r"no training images for \['b'\]"):
        read(image_folder, skip_bad=True)


def test_several_sizes_need_img_size(image_folder, write_image):
    write_image(image_folder / "a" / "wide.png", np.zeros((8, 9)))
    with pytest.raises(
        UserError, match=r"images of 2 sizes: 8x8 \(20, .*, 8x9 \(1, such as a/wide.png\). Pass img_size"
    ):
        read(image_folder)
    assert everything(read(image_folder, img_size=(8, 8)).train).images.shape == (21, 1, 8, 8)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no class folders. Put images into one sub-folder for each class"):
        read(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match=r"has no images in it \(.bmp, "):
        read(tmp_path)


def test_one_class_is_refused(image_folder):
    shutil.rmtree(image_folder / "b")
    with pytest.raises(UserError, match="one class only, 'a'; a classifier needs at least two"):
        read(image_folder)


def test_class_without_images_is_refused(image_folder):
    (image_folder / "c").mkdir()
    with pytest.raises(UserError, match=r"no training images for \['c'\]"):
        read(image_folder)


def test_unknown_class_in_the_test_split_is_refused(image_folder, tmp_path):
    shutil.copytree(image_folder, tmp_path / "whole" / "train")
    shutil.copytree(image_folder / "a", tmp_path / "whole" / "test" / "aa")
    with pytest.raises(UserError, match=r"test/aa' is no class of the training images; the nearest are \['a'\]"):
        read(tmp_path / "whole")
