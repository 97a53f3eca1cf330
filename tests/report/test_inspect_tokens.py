import pytest
import torch

from mamba_mender.inspection.attention import HiddenAttention
from mamba_mender.inspection.study.input_facts import InputFacts
from mamba_mender.report.inspect_tokens import (
    attention_grid,
    entropy_against_strength,
    over_input,
    shaded_lines,
    show_token,
)


def text_facts(words):
    return InputFacts("text", "a text", tuple(words), None, None, None, None, ("e",), torch.ones(1))


def image_facts(**changes):
    given = {"grid": (2, 2), "class_token": 2, "pixels": torch.zeros(1, 8, 8, dtype=torch.uint8)} | changes
    return InputFacts("image", "a cat", (), truth="cat", likeliest=("dog",), probabilities=torch.ones(1), **given)


def attention(size):
    positions = tuple(range(size))
    return HiddenAttention(torch.randn(1, size, size).tril(), positions, positions, None, "scan")


def test_blanks_and_line_ends_can_be_seen():
    assert [show_token(word) for word in (" a", "\n", "\x00", "$")] == ["·a", "↵", "□", "\\$"]


def test_attention_names_the_tokens_of_a_short_text():
    figure = attention_grid({f"layer {i}": attention(6) for i in range(5)}, text_facts("abc de"))
    shown = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert [axis.get_title(loc="left") for axis in shown] == [f"layer {i}" for i in range(5)]
    assert [label.get_text() for label in shown[0].get_xticklabels()] == ["a", "b", "c", "·", "d", "e"]
    figure = attention_grid({"layer 0": attention(60)}, text_facts("a" * 60))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "20", "39", "59"]


def test_a_text_is_written_in_lines_with_its_values():
    values = torch.zeros(100)
    values[80] = 2.0
    figure = over_input({"relevance": values}, text_facts("x" * 100), marked=99)
    (axis,) = figure.axes
    picture = axis.images[0].get_array()
    assert picture.shape == (2, 72)
    assert picture[1, 8] == 2.0
    assert len(axis.texts) == 100
    assert axis.lines[0].get_xdata().min() == pytest.approx(26.5)  # 99 is the 28th of the second line


def test_an_image_is_overlaid_without_its_class_token():
    figure = over_input({"a": torch.tensor([1.0, 0.0, 9.0, 0.0, 0.0])}, image_facts())
    assert [axis.get_title() for axis in figure.axes] == ["image", "a"]
    picture = figure.axes[1].images[0].get_array()
    height = picture.shape[0] // 2
    width = picture.shape[1] // 2
    corner = picture[: height // 2, : width // 2]  # the class token's 9 would outshine it
    assert corner.max() > 2 * picture[height + height // 2 :].max()
    with pytest.raises(ValueError, match="has no grid of tokens"):
        over_input({"a": torch.ones(4)}, image_facts(grid=None))


def test_tokens_without_attention_have_no_mark():
    entropy, strength = torch.tensor([0.5, float("nan"), 1.0]), torch.tensor([1.0, 0.0, 2.0])
    figure = entropy_against_strength({"0": (entropy, strength)})
    assert figure.axes[0].collections[0].get_offsets().tolist() == [[1.0, 0.5], [2.0, 1.0]]


def test_deeper_layers_are_lighter():
    figure = shaded_lines({"0": torch.ones(3), "9": torch.zeros(3)}, xlabel="x", ylabel="y", title="t", first=1)
    first, last = (line.get_color() for line in figure.axes[0].lines[:2])
    assert sum(last[:3]) > sum(first[:3])
    assert list(figure.axes[0].lines[0].get_xdata()) == [1, 2, 3]
