"""The states of all random generators, as JSON, and a block that leaves them as they were."""

import base64
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """Take down the states of the generators of Python, NumPy, torch and every CUDA device, as JSON values.

    Example:
        >>> sorted(random_states())[:3]
        ['cuda', 'numpy', 'python']
    """
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [version, list(words), gauss],
        "numpy": [name, _text(np.asarray(keys, dtype="<u4").tobytes()), position, has_gauss, cached],
        "torch": _text(torch.get_rng_state().numpy().tobytes()),
        "cuda": [_text(state.numpy().tobytes()) for state in cuda],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Put the generators into the states that :func:`random_states` took down.

    Example:
        >>> states = random_states()
        >>> first = torch.rand(1)
        >>> set_random_states(states)
        >>> torch.equal(first, torch.rand(1))
        True
    """
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.frombuffer(base64.b64decode(keys), dtype="<u4"), position, has_gauss, cached))
    torch.set_rng_state(_tensor(states["torch"]))
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([_tensor(state) for state in states["cuda"]])


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave every generator as it was before the block, also on error."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
