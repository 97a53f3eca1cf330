import itertools

import pytest
import torch
from torch import nn


class Bigram(nn.Module):
    """Predict each token from the one before, by a table of log-probabilities, (vocabulary, vocabulary)."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, ids):
        return self.table[ids]


class Counts(nn.Module):
    """Predict each token from how often each came so far, plus one."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, ids):
        seen = nn.functional.one_hot(ids, self.vocabulary).float().cumsum(1) + 1
        return (seen / seen.sum(-1, keepdim=True)).log()


TEXT = (
    "now is the winter of our discontent made glorious summer by this sun of york and all the clouds that lour'd upon "
    "our house in the deep bosom of the ocean buried. "
) * 12
LETTERS = sorted(set(TEXT))


@pytest.fixture
def text():
    return TEXT


@pytest.fixture
def encode():
    return lambda part: [LETTERS.index(letter) for letter in part]


@pytest.fixture
def bigram(encode):
    """Train by hand: count the pairs of the text."""
    ids, counts = encode(TEXT), torch.full((len(LETTERS), len(LETTERS)), 0.1)
    for a, b in itertools.pairwise(ids):
        counts[a, b] += 1
    return Bigram((counts / counts.sum(1, keepdim=True)).log())


@pytest.fixture
def counts():
    return Counts(len(LETTERS))
