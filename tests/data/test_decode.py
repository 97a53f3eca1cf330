import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mamba_mender._check import UserError
from mamba_mender.data.decode import UnreadableImageError, image_facts, read_image, read_mask

SQUARE = np.pad(np.full((4, 4), 200, np.uint8), 2)  # 8x8


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_grey_and_colour(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(SQUARE))
    assert image_facts(path).size == (8, 8)
    assert image_facts(path).grey
    assert torch.equal(read_image(path, 1, (8, 8))[0], torch.from_numpy(SQUARE))
    assert torch.equal(read_image(path, 3, (8, 8)), torch.from_numpy(SQUARE).expand(3, 8, 8))


def test_colour_channels_keep_their_order(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (2, 3), (10, 20, 30)))
    assert not image_facts(path).grey
    assert read_image(path, 3, (3, 2))[:, 0, 0].tolist() == [10, 20, 30]


def test_sixteen_bits_become_eight(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)))
    assert image_facts(path).grey
    assert read_image(path, 1, (2, 2)).unique().tolist() == [0x80]


def test_transparent_pixels_are_black(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGBA", (2, 2), (200, 200, 200, 0)))
    assert read_image(path, 3, (2, 2)).eq(0).all()


def test_photographs_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to the right to look at it
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, :8] = 255  # what is left becomes the top
    path = save(tmp_path / "a.jpg", Image.fromarray(pixels), exif=exif, quality=95)
    assert image_facts(path).size == (16, 8)
    upright = read_image(path, 1, (16, 8))[0].float()
    assert upright[:6].mean() > 240
    assert upright[10:].mean() < 15


def test_other_size_is_cut_in_the_middle_and_resized(tmp_path):
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, 2:14] = 255  # squashing would keep some of the black
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    assert read_image(path, 1, (4, 4)).eq(255).all()
    assert read_mask(path, (4, 4)).all()


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (3, 250)], ids=str)
def test_mask_is_what_is_above_half(tmp_path, values):
    low, high = values
    path = save(tmp_path / "m.png", Image.fromarray(np.where(SQUARE > 0, high, low).astype(np.uint8)))
    assert torch.equal(read_mask(path, (8, 8))[0], torch.from_numpy(SQUARE > 0))


def test_palette_mask_is_read_by_its_numbers(tmp_path):
    image = Image.fromarray((SQUARE > 0).astype(np.uint8) * 2, mode=None)
    image = image.convert("P")
    image.putpalette([255, 255, 255, 9, 9, 9, 0, 0, 0])  # background white, foreground black
    path = save(tmp_path / "m.png", image)
    with Image.open(path) as file:
        assert file.mode == "P"
    assert torch.equal(read_mask(path, (8, 8))[0], torch.from_numpy(SQUARE > 0))


def test_black_mask_is_empty(tmp_path):
    assert not read_mask(save(tmp_path / "m.png", Image.new("L", (4, 4))), (4, 4)).any()


def test_header_is_read_without_the_pixels(tmp_path):
    path = noise(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:200])
    assert image_facts(path).size == (32, 32)


def noise(path):
    return save(path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.tif", "a.webp"])
def test_truncated_file_is_named(tmp_path, name):
    path = noise(tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableImageError, match=name):
        read_image(path, 3, (32, 32))
    with pytest.raises(UnreadableImageError, match=name):
        read_mask(path, (32, 32))


@pytest.mark.parametrize("content", [b"", b"hello"], ids=["empty", "text"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a.png: not an image that Pillow can read"):
        image_facts(tmp_path / "a.png")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UnreadableImageError, match=r"gone.png: No such file"):
        read_image(tmp_path / "gone.png", 1, (2, 2))


def test_floating_pixels_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.zeros((2, 2), np.float32)))
    with pytest.raises(UnreadableImageError, match=r"mode 'F' have no fixed range; save it with 8 or 16 bits"):
        read_image(path, 1, (2, 2))


def test_error_survives_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(UnreadableImageError("a.png", "cut short")))
    assert str(error) == "a.png: cut short"
