"""Whole data sets: names, paths, splits, decoys and what is refused."""

import shutil

import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data import list_data, load_data


@pytest.fixture
def mnist(idx_folder, monkeypatch):
    monkeypatch.setenv("MAMBA_MENDER_DATA", str(idx_folder.parent))


def everything(image_set):
    return image_set.batch(torch.arange(len(image_set)))


@pytest.mark.parametrize("seed", [0, 1])
def test_splits_are_a_partition(seed):
    data = load_data("digits", seed=seed)
    names = [name for part in (data.train, data.validation, data.test) for name in part.names]
    assert len(set(names)) == len(names) == 1797
    for part in (data.train, data.validation, data.test):
        assert part.labels.unique().tolist() == list(range(10))


def test_seed_fixes_everything():
    one, same, other = (load_data("decoy-digits", seed=seed, mask_share=0.3) for seed in (4, 4, 5))
    for key in ("train", "validation", "test"):
        a, b = everything(getattr(one, key)), everything(getattr(same, key))
        assert getattr(one, key).names == getattr(same, key).names
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.has_mask, b.has_mask)
    assert one.train.names != other.train.names


def test_test_split_of_the_files_is_kept(mnist):
    data = load_data("mnist")
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    assert data.test.names[:2] == ["test-00000", "test-00001"]


def test_path_and_name_give_the_same(mnist, idx_folder):
    by_name, by_path = load_data("mnist"), load_data(idx_folder)
    assert torch.equal(everything(by_name.train).images, everything(by_path.train).images)
    assert by_path.classes == by_name.classes


@pytest.mark.parametrize(
    ("options", "train", "validation"),
    [
        ({}, 90, 10),
        ({"validation": 0.3}, 70, 30),
        ({"validation": 40}, 60, 40),
        ({"limit": 45, "validation": 0.2}, 45, 11),  # ten classes of 20: the proportion is kept, and every class
        ({"limit": 45, "validation": 20}, 45, 20),
        ({"limit": 1000}, 90, 10),
    ],
    ids=str,
)
def test_sizes_of_the_splits(mnist, options, train, validation):
    data = load_data("mnist", **options)
    assert (len(data.train), len(data.validation)) == (train, validation)


def test_larger_limit_contains_the_smaller(mnist):
    assert set(load_data("mnist", limit=20).train.names) < set(load_data("mnist", limit=60).train.names)


def test_decoy_variant_has_the_same_images_below(mnist):
    clean, data = load_data("mnist"), load_data("decoy-mnist")
    for key in ("train", "validation", "test"):
        planted, original = everything(getattr(data, key)), everything(getattr(data, f"clean_{key}"))
        assert torch.equal(original.images, everything(getattr(clean, key)).images)
        assert torch.equal(planted.images[planted.masks], original.images[planted.masks])
        assert (~planted.masks).sum() == len(planted) * 4  # 14 pixels: a patch of 2
        assert planted.has_mask.all()
    assert clean.clean_train is None


def test_splits_have_unrelated_corners(mnist):
    data = load_data("decoy-mnist", validation=45)
    train, validation = everything(data.train).masks[:45], everything(data.validation).masks[:45]
    assert not torch.equal(train, validation)


def test_decoy_in_training_only(mnist):
    data = load_data("decoy-mnist", decoy_test=False)
    assert data.test is data.clean_test
    assert not data.test.has_mask.any()


def test_decoy_size_can_be_chosen_and_grows_with_the_image(mnist):
    assert (~everything(load_data("decoy-mnist", decoy_size=5).train).masks[0]).sum() == 25
    assert (~everything(load_data("decoy-mnist", img_size=28).train).masks[0]).sum() == 16


def test_decoy_with_foreground_masks_leaves_the_patch_out():
    data = load_data("decoy-digits", masks="nonzero")
    batch, clean = everything(data.train), everything(data.clean_train)
    patch = ~everything(load_data("decoy-digits").train).masks
    assert torch.equal(batch.masks, (clean.images > 0) & ~patch)


def test_mask_share_keeps_masks_for_some_of_each_class():
    data = load_data("decoy-digits", mask_share=0.1)
    for part in (data.train, data.validation):
        assert part.has_mask.sum() == round(0.1 * len(part))
        assert part.labels[part.has_mask].unique().tolist() == list(range(10))
    assert data.test.has_mask.all()
    assert not load_data("decoy-digits", mask_share=0).train.has_mask.any()
    more = load_data("decoy-digits", mask_share=0.2)
    assert (more.train.has_mask | ~data.train.has_mask).all()  # contains the smaller share


def test_normalisation_is_the_training_splits():
    data = load_data("digits")
    pixels = everything(data.train).images
    torch.testing.assert_close(torch.tensor(data.mean), pixels.mean().view(1))
    torch.testing.assert_close(torch.tensor(data.std), pixels.std(correction=0).view(1))


def test_image_folder(image_folder, mask_folder):
    data = load_data(str(image_folder), masks=mask_folder, validation=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 4)
    assert (data.classes, data.channels, data.img_size) == (["a", "b"], 1, (8, 8))
    for part in (data.train, data.validation, data.test):
        batch = everything(part)
        assert torch.equal(batch.masks, batch.images > 0)
        assert part.labels.bincount().min() > 0


def test_image_folder_with_computed_masks(image_folder):
    data = load_data(image_folder, masks="otsu", in_memory=False)
    batch = everything(data.train)
    assert torch.equal(batch.masks, batch.images > 0)


def test_description_counts():
    description = load_data("decoy-digits", mask_share=0.5).description
    assert "1294 train, 144 validation, 359 test images of 8x8 pixels in 10 classes" in description
    assert "647 training images have a mask" in description


def test_notes_reach_the_person(image_folder):
    (image_folder / "a" / "02.png").write_text("hello")
    data = load_data(image_folder, skip_bad=True)
    assert "1 of 20 images" in data.notes[0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("decoy-digit", {}, r"'decoy-digit' is neither a folder nor .*the nearest are \['decoy-digits', "),
        ("nowhere/at/all", {}, "'nowhere/at/all' is neither a folder nor a data set's name"),
        ("digits", {"masks": "otzu"}, r"masks='otzu' is neither a folder nor a rule; the nearest are \['otsu'\]"),
        ("digits", {"masks": "otsu"}, "too few for 'otsu'; use 'nonzero'"),
        ("digits", {"validation": 0}, "validation must be a share between 0 and 1 or a whole number, got 0"),
        ("digits", {"validation": 2.5}, "validation must be a share between 0 and 1 or a whole number, got 2.5"),
        ("digits", {"validation": 5000}, r"no training image is left for \['0', .* lower validation=5000"),
        ("digits", {"limit": 1}, "limit must be at least 2 training images, got 1"),
        ("digits", {"mask_share": 1.5}, "mask_share must be a share from 0 to 1, got 1.5"),
        ("digits", {"missing_masks": -1}, "missing_masks must be a share from 0 to 1, got -1"),
        ("digits", {"img_size": 0}, r"img_size must be at least 1 pixel, got \(0, 0\)"),
    ],
)
def test_bad_input(name, options, message):
    with pytest.raises(UserError, match=message):
        load_data(name, **options)


def test_class_too_small_to_split_is_named(image_folder):
    for file in list((image_folder / "b").iterdir())[1:]:
        file.unlink()
    with pytest.raises(
        UserError, match=r"no training image is left for \['b'\] after splitting; give these classes more"
    ):
        load_data(image_folder)


def test_missing_named_data_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MAMBA_MENDER_DATA", raising=False)
    with pytest.raises(UserError, match=r"'mnist' were not found. Put train-images-idx3-ubyte.gz"):
        load_data("mnist")


def test_damaged_idx_file_is_named(mnist, idx_folder):
    file = idx_folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz: the gzip file is cut short"):
        load_data("mnist")


def test_every_listed_name_loads(idx_folder, monkeypatch):
    shutil.copytree(idx_folder, idx_folder.parent / "fashion-mnist")
    monkeypatch.setenv("MAMBA_MENDER_DATA", str(idx_folder.parent))
    for name in list_data():
        assert len(load_data(name).classes) == 10
