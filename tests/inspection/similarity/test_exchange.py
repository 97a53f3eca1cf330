import pytest
import torch

from mamba_mender.inspection.similarity import draw_order
from mamba_mender.inspection.similarity.exchange import check_exchange

SEQUENCE = torch.tensor([0, 0, 0, 0, 1, 2, 2, 2])


def orders(exchange, sequence=SEQUENCE, count=60):
    generator = torch.Generator().manual_seed(3)
    return torch.stack([draw_order(sequence, exchange, generator) for _ in range(count)])


@pytest.mark.parametrize("exchange", ["rows", "tokens", "rotation"])
def test_every_order_holds_each_row_once(exchange):
    assert (orders(exchange).sort(1).values == torch.arange(8)).all()


@pytest.mark.parametrize("exchange", ["tokens", "rotation"])
def test_rows_stay_in_their_input(exchange):
    assert (SEQUENCE[orders(exchange)] == SEQUENCE).all()


def test_tokens_come_in_every_order_and_rotations_keep_their_neighbours():
    assert len(orders("tokens", SEQUENCE[5:] - 2).unique(dim=0)) == 6
    turned = orders("rotation")
    assert len(turned[:, :4].unique(dim=0)) == 4  # every offset, no more
    assert ((turned[:, 1:4] - turned[:, :3]) % 4 == 1).all()


def test_whole_inputs_take_each_others_place():
    sequence = torch.arange(4).repeat_interleave(3)
    found = orders("inputs", sequence).view(60, 4, 3)
    assert (found % 3 == torch.arange(3)).all()  # a row stays at its place in the input
    assert (found[..., 0].sort(1).values == torch.arange(0, 12, 3)).all()
    assert len(found[..., 0].unique(dim=0)) > 10


def test_inputs_of_different_lengths_do_not():
    with pytest.raises(ValueError, match="1 to 4 rows cannot take each other's place"):
        orders("inputs")


@pytest.mark.parametrize(
    ("sequence", "exchange", "possible"),
    [([0, 1, 2], "rotation", "'rows', 'inputs'"), ([0, 0], "inputs", "'rows', 'tokens', 'rotation'")],
)
def test_an_exchange_that_changes_nothing_is_refused(sequence, exchange, possible):
    with pytest.raises(ValueError, match=f"changes nothing .*{possible}"):
        check_exchange("f", torch.tensor(sequence), exchange)


def test_an_unknown_exchange_is_refused():
    with pytest.raises(ValueError, match="exchange must be one of"):
        draw_order(SEQUENCE, "swap", torch.Generator())
    with pytest.raises(ValueError, match="exchange must be one of"):
        check_exchange("f", SEQUENCE, "swap")
