"""Which rows may take each other's place if there is nothing to find."""

from typing import Literal, get_args

import torch
from torch import Generator, Tensor

from mamba_mender._check import check_axes

Exchange = Literal["rows", "tokens", "rotation", "inputs"]


def draw_order(sequence: Tensor, exchange: Exchange, generator: Generator) -> Tensor:
    """Draw a new order of rows that would be as likely as the old one if there were nothing to find.

    ==========  =======================================================  =========================================
    exchange    the new order                                            right where, without a relation,
    ==========  =======================================================  =========================================
    rows        any order of all rows                                    rows are independent
    tokens      any order of the rows inside each input                  the tokens of an input are independent
    rotation    the rows of each input turned round by a random offset   tokens depend on their neighbours
    inputs      whole inputs in each other's place                       inputs are independent, all of one length
    ==========  =======================================================  =========================================

    Neighbouring tokens are alike in every model; shuffling them makes chance look smaller than it is.

    Args:
        sequence: number of the input that each row belongs to, rising, from 0 without gaps, (rows).
        exchange: what is exchanged.
        generator: source of chance.

    Returns:
        The rows in their new order, (rows).

    Raises:
        ValueError: the exchange is unknown, or inputs of different lengths cannot be exchanged.

    Example:
        >>> draw_order(torch.tensor([0, 0, 0, 1]), "rotation", torch.Generator().manual_seed(2))
        tensor([2, 0, 1, 3])

    Source: Good, Permutation, Parametric and Bootstrap Tests of Hypotheses (2005); rotations: Fortin & Jacquez
    (2000), for series that depend on their own past.
    """
    check_axes("draw_order", {}, sequence=(sequence, "rows"))
    rows = len(sequence)
    if exchange == "rows":
        return torch.randperm(rows, generator=generator)
    if exchange == "tokens":
        return (sequence + torch.rand(rows, generator=generator, dtype=torch.float64)).argsort()
    lengths = torch.bincount(sequence)
    first = lengths.cumsum(0) - lengths
    place = torch.arange(rows) - first[sequence]
    if exchange == "rotation":
        offset = (torch.rand(len(lengths), generator=generator, dtype=torch.float64) * lengths).long()
        return first[sequence] + (place + offset[sequence]) % lengths[sequence]
    if exchange != "inputs":
        raise ValueError(f"draw_order: exchange must be one of {get_args(Exchange)}, got {exchange!r}.")
    if len(lengths) and (lengths != lengths[0]).any():
        raise ValueError(
            f"draw_order: inputs of {int(lengths.min())} to {int(lengths.max())} rows cannot take each other's place; "
            "exchange 'rotation' keeps each input's rows together."
        )
    other = torch.randperm(len(lengths), generator=generator)
    return first[other[sequence]] + place


def check_exchange(where: str, sequence: Tensor, exchange: Exchange) -> None:
    """Refuse an exchange that can change nothing, so that chance would look like the finding itself.

    Raises:
        ValueError: names the exchanges that are possible.
    """
    lengths = torch.bincount(sequence)
    inputs, longest = len(lengths), int(lengths.max()) if len(lengths) else 0
    movable = {"rows": len(sequence), "tokens": longest, "rotation": longest, "inputs": inputs}
    if exchange not in movable:
        raise ValueError(f"{where}: exchange must be one of {get_args(Exchange)}, got {exchange!r}.")
    if movable[exchange] < 2:
        possible = [name for name, count in movable.items() if count > 1]
        raise ValueError(
            f"{where}: exchange {exchange!r} changes nothing with {inputs} inputs of at most {longest} rows; "
            f"possible here: {possible}."
        )
