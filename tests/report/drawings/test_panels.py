import pytest
import torch

from mamba_mender.report.drawings.panels import heat_map, note, panels, short_names


def drawn(values, **given):
    with panels([1]) as (figure, (axis,)):
        heat_map(figure, axis, values, "a share", limits=(0.0, 1.0), **given)
        note(figure, "a note")
    figure.draw_without_rendering()
    return figure, axis


def test_a_small_heat_map_has_its_numbers_and_what_is_unknown_has_none():
    values = torch.tensor([[0.25, torch.nan], [-0.5, 1.0]])
    figure, axis = drawn(values, rows=["a", "b"], columns=["c", "d"], bold=values == 1.0)
    assert [text.get_text() for text in axis.texts] == ["0.25", "", "\N{MINUS SIGN}0.50", "1.00"]
    assert [text.get_weight() for text in axis.texts] == ["normal", "normal", "normal", "bold"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]
    assert figure.axes[1].get_ylabel() == "a share"
    assert figure._supxlabel.get_text() == "a note"


def test_a_large_one_has_none_and_few_names():
    names = [str(number) for number in range(40)]
    _, axis = drawn(torch.rand(40, 40), rows=names, columns=names)
    assert not axis.texts
    assert len(axis.get_xticklabels()) == len(axis.get_yticklabels()) == 14


def test_titles_stand_on_the_left():
    with panels([1, 2]) as (_, axes):
        axes[1].set(title="words")
    assert axes[1].get_title(loc="left") == "words"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["layers.0.mixer.scan"], ["layers.0.mixer.scan"]),
        (["layers.0.forward", "layers.0.backward"], ["forward", "backward"]),
        (["a.b", "c"], ["a.b", "c"]),
    ],
)
def test_names_keep_what_tells_them_apart(names, short):
    assert short_names(names) == short
