from dataclasses import replace

import pytest
import torch

from mamba_mender.inspection.attention import (
    attention_columns,
    attention_rollout,
    attention_rows,
    attention_spread,
    attention_top_k,
    hidden_attention,
)
from mamba_mender.report.drawings import attention  # noqa: F401  registers the drawings
from mamba_mender.report.plot import plot


@pytest.fixture
def scan(make_record):
    return make_record(length=20)


def test_a_matrix_has_a_panel_for_each_sample_or_channel(scan):
    figure = plot(hidden_attention(scan))
    assert [axis.get_title(loc="left") for axis in figure.axes[:2]] == ["sample 0", "sample 1"]
    figure = plot(hidden_attention(scan, channels=[1, 4, 5]))
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.images and axis.get_xlabel()]
    assert titles == ["channel 1", "channel 4", "channel 5"]
    shown = figure.axes[0].images[0]
    low, high = shown.get_clim()
    assert low == -high < 0
    assert (shown.get_array() == hidden_attention(scan, channels=[1]).values[0, 0].numpy()).all()


def test_few_rows_and_columns_are_lines(scan):
    rows = attention_rows(scan, [3, -1])
    figure = plot(rows)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert {"to position 3", "to position 19"} <= set(lines)
    assert (lines["to position 19"].get_ydata() == rows.values[0, 1].numpy()).all()
    columns = attention_columns(scan, [2], channels=[4])
    figure = plot(columns)
    assert figure.axes[0].get_xlabel() == "to position"
    assert (figure.axes[0].lines[0].get_ydata() == columns.values[0, 0, :, 0].numpy()).all()


def test_the_strongest_inputs_are_marks(scan):
    found = attention_top_k(scan, range(20), 3)
    marks = plot(found).axes[0].collections[0]
    assert sorted(map(tuple, marks.get_offsets().tolist())) == sorted(
        (query, key)
        for query in range(20)
        for key, value in zip(found.keys[0, query].tolist(), found.values[0, query].tolist(), strict=True)
        if value  # the first outputs see fewer than three inputs
    )
    assert len(marks.get_offsets()) == 20 * 3 - 3


@pytest.mark.parametrize("channels", [None, (0, 3)])
def test_spread_is_drawn_over_positions(scan, channels):
    found = attention_spread(scan, [7, 2, 15], channels=channels)
    left, right = plot(found).axes
    assert left.lines[0].get_xdata().tolist() == [2, 7, 15]
    middle = found.strength.reshape(-1, 3).quantile(0.5, dim=0)[[1, 0, 2]]
    assert torch.allclose(torch.tensor(right.lines[0].get_ydata()), middle)
    assert left.get_ylim()[0] < 0 < 1 < left.get_ylim()[1]


@pytest.mark.parametrize("channels", [None, (0, 3)])
def test_rollout_is_drawn_before_each_block(make_record, channels):
    scans = [replace(make_record(seed=i), block=i) for i in (2, 5)]
    found = attention_rollout(scans, 6, channels=channels)
    figure = plot(found)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    values = found.values[0] if channels is None else found.values[0, 0]
    assert heights == values.tolist()
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["2", "5"]
    assert figure.axes[0].get_title(loc="left") == "What reaches position 6"
