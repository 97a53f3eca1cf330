from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

CASES = [
    {},
    {"reverse": True},
    {"groups": 3, "initial": True},
    {"groups": 2, "initial": True, "reverse": True, "batch": 3, "length": 13},
    {"length": 1},
    {"length": 1, "initial": True, "reverse": True},
]


@pytest.fixture(params=CASES, ids=str)
def scan(request, make_record):
    return make_record(**request.param)


@pytest.fixture
def unroll():
    """Run the recurrence one position after the other, in float64 and from its definition.

    Returns decay, write and state, (length, batch, channels, state), in the order of the record.
    """

    def run(record):
        size = record.channels // record.B.shape[1]
        bias = 0 if record.delta_bias is None else record.delta_bias.double()[:, None]
        step = record.delta.double() + bias
        step = F.softplus(step) if record.delta_softplus else step
        shape = (record.length, record.batch, record.channels, record.state)
        decay, write, h = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
        now = torch.zeros(shape[1:], dtype=torch.float64)
        if record.initial_state is not None:
            now = record.initial_state.double()
        order = range(record.length)
        for t in reversed(order) if record.reverse else order:
            for c in range(record.channels):
                decay[t, :, c] = torch.exp(step[:, c, t, None] * record.A[c].double())
                amount = step[:, c, t, None] * record.u[:, c, t, None].double()
                write[t, :, c] = amount * record.B[:, c // size, :, t].double()
            now = decay[t] * now + write[t]
            h[t] = now
        return decay, write, h

    return run


@pytest.fixture
def pad():
    """Put padding before and after a record's tokens, with large numbers in it that must not count.

    quiet: the padding's input is 0, as a model makes it that masks it, so that the states stay what they were.
    """

    def padded(record, left, right, *, quiet=False):
        def long(tensor, value):
            return F.pad(tensor, (left, right), value=value)

        mask = torch.ones(record.batch, record.length, dtype=torch.bool)
        return replace(
            record,
            u=long(record.u, 0.0 if quiet else 50.0),
            delta=long(record.delta, 1.7),
            B=long(record.B, 9.0),
            C=long(record.C, -7.0),
            y=long(record.y, 11.0),
            z=None,
            conv=None,
            mask=long(mask, False),
        )

    return padded


@pytest.fixture
def make_constant():
    """Build a record whose step is constant and whose u, B and C are 1: every quantity has a closed form."""

    def make(make_record, *, step, A, length=40, reverse=False):
        A = torch.tensor(A, dtype=torch.float64)
        record = make_record(batch=1, channels=len(A), state=A.shape[1], length=length, reverse=reverse)
        ones = {name: torch.ones_like(getattr(record, name)) for name in ("u", "B", "C")}
        fixed = torch.full_like(record.delta, step)
        return replace(
            record, A=A, delta=fixed, delta_bias=None, delta_softplus=False, D=None, z=None, conv=None, **ones
        )

    return make


@pytest.fixture
def edited(make_record):
    from mamba_mender.taps.edited_scan import RecurrenceEdit

    change = RecurrenceEdit("write", frozenset({3}), lambda _, term, *rest: torch.zeros_like(term))
    return replace(make_record(), edits=(change,))


@pytest.fixture(params=[None, 60])
def stretched(request, monkeypatch):
    """Also cut the sequence into many short stretches."""
    if request.param:
        monkeypatch.setattr("mamba_mender.inspection.dynamics.scan_terms.STRETCH", request.param)
