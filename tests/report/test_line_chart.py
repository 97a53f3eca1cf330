from mamba_mender.report.line_chart import Line, Panel, line_chart


def test_one_legend_for_all_panels():
    lines = {"easy": Line([1.0, 2.0], "black"), "hard": Line([3.0, 4.0], "black", dashed=True)}
    figure = line_chart([Panel("a", lines), Panel("b", lines), Panel("c", lines)])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["easy", "hard"]
    assert [axis.get_visible() for axis in figure.axes] == [True, True, True, False]


def test_names_the_places_and_thins_them_when_there_are_many():
    panel = Panel(
        "a", {"easy": Line(list(range(26)), "black")}, places=[str(n) for n in range(26)], level=(3.0, "even")
    )
    figure = line_chart([panel])
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == [str(n) for n in range(0, 26, 2)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["easy", "even"]
