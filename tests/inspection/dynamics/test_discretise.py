import torch
from torch.testing import assert_close

from mamba_mender.inspection.dynamics import discretise


def test_terms_are_those_of_the_recurrence(scan, unroll):
    decay, write, _ = unroll(scan)
    found = discretise(scan, range(scan.length))
    assert found.positions == tuple(range(scan.length))
    assert_close(found.decay, decay.movedim(0, 1))
    assert_close(found.write, write.movedim(0, 1))
    assert_close(found.input_matrix * scan.u.mT[..., None], write.movedim(0, 1))


def test_only_what_is_asked_for_is_made(make_record, unroll):
    record = make_record(length=9, reverse=True)
    found = discretise(record, [-1, 2])
    assert found.positions == (8, 2)
    assert_close(found.write, unroll(record)[1][[8, 2]].movedim(0, 1))


def test_float32_becomes_exact_when_asked(make_record, unroll):
    record = make_record(dtype=torch.float32)
    exact = discretise(record, [4], dtype=torch.float64)
    assert_close(exact.decay[:, 0], unroll(record)[0][4], rtol=1e-14, atol=0)


def test_no_step_keeps_all_and_writes_nothing(make_record, make_constant):
    found = discretise(make_constant(make_record, step=0.0, A=[[-1.0, -2.0]]), [3])
    assert (found.decay == 1).all()
    assert (found.write == 0).all()


def test_to_dict_lists_the_fields(make_record):
    assert set(discretise(make_record(), [0]).to_dict()) == {"positions", "decay", "input_matrix", "write"}
