import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import effect_graph


def test_the_chain_has_one_edge(chain, tokens):
    found = effect_graph(chain, tokens)
    assert found.edges(1e-9).tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert_close(found.direct, found.total)
    before = (torch.tanh(2 * tokens[..., 0]) + tokens[..., 1] + 0.7 * tokens[..., 4] ** 2).norm(dim=1)
    assert_close(found.total[0, 1], (torch.tanh(2 * tokens[..., 0]).norm(dim=1) / before).mean())


def test_what_goes_through_another_block_is_not_direct(relay, tokens):
    found = effect_graph(relay, tokens)
    assert (found.total > 1e-3).tolist() == [[False, True, True], [False, False, True], [False] * 3]
    assert found.edges(1e-9).tolist() == [[False, True, False], [False, False, True], [False] * 3]


def test_a_donor_that_is_the_input_has_no_effect(vim, images):
    assert effect_graph(vim, images, donor=images).total.abs().max() < 1e-12


def test_on_a_vim(vim, images, donors):
    found = effect_graph(vim, images, donor=donors)
    assert found.blocks == [0, 1]
    assert found.total[0, 1] > 1e-3
    assert found.total.tril().abs().max() == 0
