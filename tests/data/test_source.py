import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data.source import read_digits, read_idx_folder, resize


def test_digits_use_the_whole_range_of_bytes():
    source = read_digits(None)
    assert source.train.images.shape == (1797, 1, 8, 8)
    assert (source.train.images.min(), source.train.images.max()) == (0, 255)
    assert source.train.labels.unique().tolist() == list(range(10))
    assert source.test is None


def test_idx_folder_has_its_own_test_split(idx_folder):
    source = read_idx_folder(idx_folder, None, None)
    assert (len(source.train), len(source.test)) == (100, 20)
    assert source.classes == [str(number) for number in range(10)]
    assert source.test.names[3] == "test-00003"


def test_idx_folder_without_test_files(idx_folder):
    for file in idx_folder.glob("t10k*"):
        file.unlink()
    assert read_idx_folder(idx_folder, None, None).test is None


def test_idx_images_are_resized(idx_folder):
    assert read_idx_folder(idx_folder, None, (7, 10)).train.images.shape == (100, 1, 7, 10)


def test_missing_labels_are_named(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="the test labels are missing in"):
        read_idx_folder(idx_folder, None, None)


def test_images_and_labels_must_belong_together(idx_folder, write_idx):
    write_idx(idx_folder / "train-labels-idx1-ubyte.gz", [0, 1, 2])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz has shape \(100, 14, 14\) and .* \(3,\)"):
        read_idx_folder(idx_folder, None, None)


def test_empty_set_is_refused(idx_folder, write_idx):
    write_idx(idx_folder / "train-images-idx3-ubyte.gz", torch.zeros(0, 4, 4))
    write_idx(idx_folder / "train-labels-idx1-ubyte.gz", torch.zeros(0))
    with pytest.raises(UserError, match="there is no image in it"):
        read_idx_folder(idx_folder, None, None)


def test_label_above_the_classes_is_refused(idx_folder):
    with pytest.raises(UserError, match=r"a label is 9, but there are only 2 classes: \['x', 'y'\]"):
        read_idx_folder(idx_folder, ["x", "y"], None)


def test_resize_keeps_the_mean():
    images = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    assert abs(resize(images, (14, 14)).float().mean() - images.float().mean()) < 1
    assert resize(images, None) is images
    assert resize(images, (28, 28)) is images
