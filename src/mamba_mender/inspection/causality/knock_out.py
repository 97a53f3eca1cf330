"""Cut what a token, or an edge between two tokens, passes on inside a mixer."""

from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor

from mamba_mender.taps import Edit, ScanRecord


def knock_out(
    tokens: Collection[int],
    *,
    blocks: Collection[int] | None = None,
    direction: str = "",
    convolution: bool = True,
    decay: bool = True,
) -> list[Edit]:
    """Word edits after which no other token of a mixer sees the given tokens.

    A token reaches the others by three ways: its write into the state, the short convolution (the d_conv - 1
    tokens after it see it there), and its step, which makes the state before it decay. With all three cut, nothing
    of what it is reaches the others. Its entry is blank, but its position stays: the others keep their distances in
    the convolution, which sees a 0 there, so that they are not what they would be in a sequence without the token.
    What the token itself puts out is left as it is, but for what it would have read of itself from the state.

    Args:
        tokens: positions to remove as sources.
        blocks: in which blocks; None means all.
        direction: "forward" or "backward"; "" means both.
        convolution: whether to cut the convolution too; without it the neighbours still see the token.
        decay: whether to set the step to 0, so that the state passes the token undisturbed (ZERO_DELTA); without
            it only the write is dropped (ZERO_ATTENTION) and ``y[i] - sum over j of alpha[i, j] x[j]`` is what is left.

    Returns:
        Edits for :func:`mamba_mender.taps.edit`.

    Example:
        >>> [e.node for e in knock_out([5], blocks=[3])]
        ['write', 'decay', 'conv']

    Source: Endy et al., "Mamba Knockout" (ACL 2025), section 3; the convolution: Sharma, Atkinson & Bau,
    "Locating and editing factual associations in Mamba" (arXiv:2404.03646), section 5.
    """
    chosen = list(tokens)
    if not chosen:
        raise ValueError("knock_out: tokens must name at least one position, got none.")
    values = {"write": 0.0} | ({"decay": 1.0} if decay else {}) | ({"conv": 0.0} if convolution else {})
    return [Edit(node, value, blocks=blocks, direction=direction, positions=chosen) for node, value in values.items()]


class _Edge:
    """Follow what a token wrote into the state up to another, and take it out of what is read there."""

    def __init__(self) -> None:
        self._share: Tensor | None = None

    def write(self, term: Tensor) -> Tensor:
        self._share = term
        return term

    def decay(self, term: Tensor) -> Tensor:
        assert self._share is not None
        self._share = term * self._share
        return term

    def read(self, state: Tensor) -> Tensor:
        assert self._share is not None
        return state - self._share


def edge_knock_out(record: ScanRecord, source: int, target: int, *, convolution: bool = True) -> list[Edit]:
    """Word edits that cut the edge from one token to another in one scan, and no other edge.

    Computes ``y[target] - alpha[target, source] u[source]``, where alpha is the scan's hidden attention. The state
    goes on with the source's write, so that later tokens still read it. If the source is within the convolution's
    width, c[target] is computed without it.

    Args:
        record: the scan, recorded on the same inputs without edits before it; names the block and direction, and
            holds the convolution.
        source: position that is read.
        target: position that reads; not before the source in the order of the scan.
        convolution: whether to cut the edge in the convolution too.

    Returns:
        Edits for :func:`mamba_mender.taps.edit`.

    Raises:
        ValueError: a position is outside, or the target comes before the source.

    Source: Sharma, Atkinson & Bau (arXiv:2404.03646), section 5: subtract ``C_t (prod A) B_s x_s``.
    """
    first, last = record.start, record.start + record.length
    if not (first <= source < last and first <= target < last):
        raise ValueError(f"edge_knock_out: positions must be in {first}..{last - 1}, got {source} and {target}.")
    distance = (source - target) if record.reverse else (target - source)
    if distance < 0:
        raise ValueError(
            f"edge_knock_out: {record.name} scans {'backwards' if record.reverse else 'forwards'}, so {target} never "
            f"reads {source}."
        )
    edge, where = _Edge(), {"blocks": [record.block], "direction": record.direction}
    between = range(target, source) if record.reverse else range(source + 1, target + 1)
    edits = [Edit("write", edge.write, positions=[source], **where)]
    if between:
        edits.append(Edit("decay", edge.decay, positions=between, **where))
    edits.append(Edit("readout", edge.read, positions=[target], **where))
    conv = record.conv
    if convolution and conv is not None and 0 < distance < conv.weight.shape[1]:
        hidden = conv.x.clone()
        hidden[..., source - conv.start] = 0.0
        linear = conv.convolve(hidden, activation=False)[..., target - conv.start]
        c = F.silu(linear) if conv.activation else linear
        edits.append(Edit("c", c[:, None].detach(), positions=[target], **where))
    return edits
