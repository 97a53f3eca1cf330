import pytest
import torch
from PIL import Image

from mamba_mender._check import UserError
from mamba_mender.inspection.study.inputs import read_images, read_text, take_inputs, text_windows
from mamba_mender.inspection.study.subject import Subject


@pytest.fixture
def reader():
    """Read letters as their place in the alphabet."""
    return Subject(torch.nn.Linear(1, 1), "letters", "text", lambda t: [ord(c) - 97 for c in t], lambda n: chr(97 + n))


@pytest.fixture
def viewer(vim):
    return Subject(vim, "viewer", "image", card={"mean": [0.5], "std": [0.25]})


def paint(path, value, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def test_windows_are_spread_over_the_text(reader):
    windows = text_windows(reader, "abcdefghij", 4, 3, "alphabet")
    assert ["".join(own.words) for own in windows] == ["abcd", "defg", "ghij"]
    assert windows[0].tensor.tolist() == [0, 1, 2, 3]
    assert [own.truth for own in windows] == ["e", "h", None]
    assert windows[1].name == "alphabet from token 3"
    (whole,) = text_windows(reader, "abc", 4, 3, "short")
    assert (whole.words, whole.name, whole.slug) == (("a", "b", "c"), "short", "short")


def test_texts_and_tensors_are_inputs(reader):
    found, _ = take_inputs(reader, {"a!": "abcdef", "b": torch.tensor([1, 2])}, 3, 9)
    assert [(own.name, own.slug, own.words) for own in found] == [("a!", "a", tuple("abc")), ("b", "b", ("b", "c"))]
    assert [own.name for own in take_inputs(reader, torch.tensor([[0, 1], [2, 3]]), 8, 1)[0]] == ["input 0", "input 1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([torch.zeros(3)], r"input 0 must be token numbers, \(length\), got torch.float32 of \(3,\)"),
        ([torch.zeros(0, dtype=torch.long)], "must be token numbers"),
        ([3.5], "input 0 is a float; an input is a text or a tensor"),
        ([], "there is no input"),
        ("", "text holds no token"),
    ],
)
def test_what_cannot_be_an_input_is_refused(reader, given, message):
    with pytest.raises(UserError, match=message):
        take_inputs(reader, given, 4, 2)


def test_a_text_needs_a_tokenizer():
    bare = Subject(torch.nn.Linear(1, 1), "bare", "text")
    with pytest.raises(UserError, match=r"bare has no tokenizer beside it; put its tokenizer\.json there"):
        text_windows(bare, "abc", 4, 1)


def test_a_text_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_text(tmp_path / "no.txt")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not text in UTF-8"):
        read_text(tmp_path / "bad.txt")


def test_images_are_normalised_as_the_card_says(viewer, tmp_path):
    paint(tmp_path / "cat" / "a.png", 255, (16, 16))
    paint(tmp_path / "dog" / "b.png", 0)
    found, notes = read_images(viewer, tmp_path, 5)
    assert [(own.name, own.truth) for own in found] == [("cat/a.png", "cat"), ("dog/b.png", "dog")]
    assert found[0].tensor.shape == (1, 8, 8)
    assert [own.tensor.unique().tolist() for own in found] == [[2.0], [-2.0]]
    assert found[0].pixels.dtype == torch.uint8
    assert notes == []


def test_without_a_card_the_images_say_how_they_are_normalised(vim, tmp_path):
    for value in (0, 255):
        paint(tmp_path / f"{value}.png", value)
    found, notes = read_images(Subject(vim, "bare", "image"), tmp_path, 5)
    together = torch.stack([own.tensor for own in found])
    torch.testing.assert_close((together.mean(), together.std()), (torch.tensor(0.0), torch.tensor(1.0)))
    assert "bare does not say how its images were normalised; these images' own mean and std are used" in notes[0]
    subject = Subject(vim, "bare", "image")
    found, notes = read_images(subject, "digits", 3)
    assert len(found) == 3
    assert "the data set's own" in notes[0]
    assert subject.word(7) == "7"


def test_an_image_that_cannot_be_read_is_kept_with_the_reason(viewer, tmp_path):
    paint(tmp_path / "a.png", 9)
    (tmp_path / "b.png").write_bytes(b"no image")
    good, bad = read_images(viewer, tmp_path, 5)[0]
    assert good.error is None
    assert bad.tensor is None
    assert "cannot be read" in bad.error


def test_a_folder_that_is_not_there(viewer, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*digits"):
        read_images(viewer, tmp_path / "no", 5)


def test_tensors_are_images_as_the_model_sees_them(viewer, images):
    found, _ = take_inputs(viewer, images, 1, 1)
    assert len(found) == 3
    assert torch.equal(found[2].tensor, images[2])
    assert (found[0].pixels.min(), found[0].pixels.max()) == (0, 255)
    with pytest.raises(UserError, match=r"must be an image, \(channels, height, width\), got shape \(8, 8\)"):
        take_inputs(viewer, [images[0, 0]], 1, 1)
