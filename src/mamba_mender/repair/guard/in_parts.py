"""A batch in parts, so that what is computed of it takes little memory at a time."""

from torch import Tensor

MOST = 2**20  # entries of a part


def in_parts(batch: Tensor, *, like: Tensor) -> tuple[Tensor, ...]:
    """Cut a batch into parts of about a million entries of its states, one sample at least.

    Args:
        batch: (samples, ...).
        like: states of the same samples, (samples, tokens, channels); their size decides.

    Example:
        >>> import torch
        >>> states = torch.zeros(5, 1024, 512)
        >>> [len(part) for part in in_parts(torch.arange(5), like=states)]
        [2, 2, 1]
    """
    return batch.split(max(MOST * len(like) // max(like.numel(), 1), 1))
