from dataclasses import fields, replace

import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import transition_spectrum


def test_quantiles_radius_and_histogram_are_those_of_all_eigenvalues(scan, unroll):
    a = unroll(scan)[0]  # (length, batch, channels, state)
    levels = (0.0, 0.1, 0.5, 0.9, 1.0)
    found = transition_spectrum(scan, levels=levels, bins=7, window=3)
    true = torch.quantile(a, torch.tensor(levels).double(), dim=0).movedim(0, -1)
    assert_close(found.quantiles, true)
    radius = a.amax((-2, -1)).T
    assert_close((found.radius, found.margin), (radius, 1 - radius))
    for i in range(scan.batch):
        counts = torch.histc(a[:, i], bins=7, min=0, max=1)
        assert_close(found.histogram[i].double(), counts)
    assert_close(found.edges, torch.linspace(0, 1, 8).double())


@pytest.mark.parametrize("reverse", [False, True])
def test_a_window_multiplies_what_was_scanned_last(make_record, unroll, reverse):
    record = make_record(reverse=reverse, length=8)
    a = unroll(record)[0]
    found = transition_spectrum(record, window=3)
    for t in range(8):
        part = a[t : t + 3] if reverse else a[max(t - 2, 0) : t + 1]
        if len(part) < 3:
            assert found.window_radius[:, t].isnan().all()
        else:
            radius = part.prod(0).amax((-2, -1))
            assert_close(found.window_radius[:, t], radius)
            assert_close(found.window_margin[:, t], 1 - radius)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_does_not_count(make_record, pad, reverse):
    record = make_record(reverse=reverse)
    bare, padded = (transition_spectrum(r, window=2) for r in (record, pad(record, 2, 3)))
    for field in fields(bare):
        one, other = getattr(bare, field.name), getattr(padded, field.name)
        if field.name in ("radius", "margin", "window_radius", "window_margin"):
            assert other[:, :2].isnan().all()
            assert other[:, -3:].isnan().all()
            other = other[:, 2:-3]
        assert_close(one, other, equal_nan=True, msg=field.name) if isinstance(one, torch.Tensor) else None


def test_a_sample_of_padding_alone_is_nan(make_record):
    record = replace(make_record(length=5), mask=torch.tensor([[True] * 5, [False] * 5]))
    found = transition_spectrum(record)
    assert found.quantiles[1].isnan().all()
    assert found.histogram.sum(-1).tolist() == [5 * 6 * 4, 0]


def test_nothing_forgotten_has_radius_1_and_all_forgotten_0(make_record, make_constant):
    still = transition_spectrum(make_constant(make_record, step=0.0, A=[[-1.0, -2.0]]))
    assert (still.radius == 1).all()
    assert (still.margin == 0).all()
    assert still.histogram[0, -1] == still.histogram.sum()
    gone = transition_spectrum(make_constant(make_record, step=1e4, A=[[-1.0, -2.0]]))
    assert (gone.radius == 0).all()
    assert (gone.margin == 1).all()
    assert gone.histogram[0, 0] == gone.histogram.sum()


def test_a_growing_coordinate_has_a_negative_margin(make_record, make_constant):
    found = transition_spectrum(make_constant(make_record, step=0.5, A=[[-1.0, 0.2]], length=4), window=4)
    grows = torch.tensor(0.1).double().exp()
    assert_close(found.radius, grows.expand(1, 4))
    assert_close(found.window_radius[0, -1], torch.tensor(0.4).double().exp())
    assert (found.margin < 0).all()
    assert found.histogram[0, -1] == 4  # the four that grow
    assert_close(found.quantiles[0, 0, 1], grows.expand(5))


def test_arguments_are_checked(make_record):
    with pytest.raises(ValueError, match=r"levels must be numbers in \[0, 1\]"):
        transition_spectrum(make_record(), levels=[1.5])
    with pytest.raises(ValueError, match="bins and window must be at least 1, got 0 and 3"):
        transition_spectrum(make_record(), bins=0, window=3)
