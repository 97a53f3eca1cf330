"""Norm-statistics adaptation: what norm layers read gets the moments it had on the source."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mamba_mender._check import UserError
from mamba_mender.data import ImageSet
from mamba_mender.repair.peers.norm_layers import channel_axis, norm_layers
from mamba_mender.repair.peers.peer import Peer


class Realign(nn.Module):
    """Move a batch's mean and variance per channel to the source's.

    Args:
        mean: the source's, (channels,).
        variance: likewise.
        prior: weight of the source in the batch's moments, in images.
        axis: which axis is channels; the first is the batch.
        eps: added to variances.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, mean: Tensor, variance: Tensor, prior: float, axis: int, eps: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("variance", variance)
        self.prior, self.axis, self.eps = prior, axis, eps

    def forward(self, x: Tensor) -> Tensor:
        if self.prior == 0 and x.numel() == x.shape[self.axis]:
            raise UserError(
                f"norm_statistics: one value per channel, shape {tuple(x.shape)}, has no variance; give batches of at "
                "least 2 images, or prior above 0."
            )
        last = x.movedim(self.axis, -1)
        values = last.to(torch.promote_types(last.dtype, self.mean.dtype))
        variance, mean = torch.var_mean(values.flatten(0, -2), dim=0, correction=0)
        source = self.prior / (self.prior + len(x))
        mean = source * self.mean + (1 - source) * mean
        variance = source * self.variance + (1 - source) * variance
        scale = ((self.variance + self.eps) / (variance + self.eps)).sqrt()
        return ((values - mean) * scale + self.mean).to(x.dtype).movedim(-1, self.axis)

    def before(self, _: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Realign what a norm layer is about to read, as a forward pre-hook."""
        return (self(args[0]), *args[1:])


class NormStatistics(Peer):
    """Realign the input of each norm layer, batch by batch; nothing is remembered."""

    name = "norm_statistics"

    def __init__(self, model: nn.Module, moments: dict[str, tuple[Tensor, Tensor]], prior: float) -> None:
        super().__init__(model)
        layers = norm_layers(self.model)
        self.realigns = nn.ModuleList()
        for name, (mean, variance) in moments.items():
            norm = layers[name]
            realign = Realign(mean, variance, prior, channel_axis(norm), _eps(norm))
            norm.register_forward_pre_hook(realign.before)
            self.realigns.append(realign)


def norm_statistics(
    model: nn.Module, source: ImageSet | None = None, *, prior: float = 16.0, batch_size: int = 256
) -> NormStatistics:
    """Set the mean and variance per channel of what each norm layer reads back to the source's.

    With n images in the batch, mu_t and v_t the mean and the variance (divided by the count) of a channel over all
    images and positions, mu_s and v_s those of the source, and N the prior::

        mu = (N mu_s + n mu_t) / (N + n),  v = (N v_s + n v_t) / (N + n)
        x <- (x - mu) sqrt((v_s + eps) / (v + eps)) + mu_s,  then the norm layer as it is

    For BatchNorm in evaluation mode, with mu_s and v_s its running statistics, this is BatchNorm with mu and v: the
    adaptation of Schneider et al. LayerNorm, GroupNorm and RMSNorm keep no statistics; theirs are measured on
    ``source``, and the same realignment stands for what re-estimated statistics do in BatchNorm. Only what the norm
    reads is realigned, not the residual stream beside it; later layers see what earlier ones have made of it. Nothing
    is remembered from batch to batch, answers depend on the batch, and gradients go through its moments; ``held()``
    changes nothing.

    Args:
        model: takes pixels in [0, 1], gives logits; copied, not changed.
        source: training images; their labels are not used. Not needed if all norm layers are BatchNorm.
        prior: N, the source's weight in images: 0 takes the batch alone, infinity the source.
        batch_size: source images at a time.

    Returns:
        A module on pixels whose answers depend on the batch.

    Raises:
        UserError: the model has no norm layer, source is missing or empty, or a setting is out of range; when images
            come, there is one value per channel and the prior is 0.

    Example:
        >>> norm = nn.BatchNorm2d(1, affine=False).eval()
        >>> peer = norm_statistics(nn.Sequential(norm, nn.Flatten()), prior=0.0)
        >>> peer(torch.tensor([5.0, 7.0]).view(2, 1, 1, 1)).flatten().round(decimals=3).tolist()
        [-1.0, 1.0]

    Source: Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation"
    (arXiv:2006.16971), equation 2; Li et al., "Adaptive batch normalization" (arXiv:1603.04779).
    """
    if not 0 <= prior < float("inf") or batch_size < 1:
        raise UserError(
            f"norm_statistics: prior must be at least 0 and batch_size at least 1, got {prior} and {batch_size}."
        )
    copied = Peer(model).model
    layers = norm_layers(copied)
    if not layers:
        raise UserError("norm_statistics: the model has no BatchNorm, GroupNorm, LayerNorm or RMSNorm layer.")
    known = {name: kept for name, norm in layers.items() if (kept := _kept_statistics(norm)) is not None}
    unknown = {name: norm for name, norm in layers.items() if name not in known}
    if unknown and (source is None or len(source) == 0):
        raise UserError(
            f"norm_statistics: {next(iter(unknown))!r} is a {type(next(iter(unknown.values()))).__name__}, which keeps "
            "no statistics; give source=, a set of training images."
        )
    if unknown:
        assert source is not None
        known |= source_moments(copied, unknown, source, batch_size=batch_size)
    return NormStatistics(model, {name: known[name] for name in layers if name in known}, prior)


@torch.no_grad()
def source_moments(
    model: nn.Module, layers: dict[str, nn.Module], source: ImageSet, *, batch_size: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Measure the mean and variance per channel of what layers read, over a set; layers that never run are left out.

    Args:
        model: takes pixels.
        layers: name to norm layer of the model.
        source: the images.
        batch_size: images at a time.

    Returns:
        Name to mean and variance, (channels,), each, in the model's dtype, float32 at least.
    """
    totals: dict[str, list[Tensor]] = {}  # count, mean, sum of squared deviations
    like = next(model.parameters(), torch.empty(0))
    dtype = torch.promote_types(like.dtype, torch.float32)
    with _watch(layers, totals):
        for part in torch.arange(len(source)).split(batch_size):
            model(source.batch(part).images.to(like))
    return {name: (mean.to(dtype), (squares / count).to(dtype)) for name, (count, mean, squares) in totals.items()}


@contextmanager
def _watch(layers: dict[str, nn.Module], totals: dict[str, list[Tensor]]) -> Iterator[None]:
    """Add up the moments of what layers read inside the block (Chan et al.)."""

    def watch(name: str) -> Any:
        def add(norm: nn.Module, args: tuple[Any, ...]) -> None:
            values = args[0].movedim(channel_axis(norm), -1).flatten(0, -2).double()
            count, mean = values.new_tensor(float(len(values))), values.mean(0)
            squares = (values - mean).square().sum(0)
            if name in totals:
                old, old_mean, old_squares = totals[name]
                shift, both = mean - old_mean, old + count
                squares = old_squares + squares + shift.square() * old * count / both
                mean, count = old_mean + shift * count / both, both
            totals[name] = [count, mean, squares]

        return add

    hooks = [norm.register_forward_pre_hook(watch(name)) for name, norm in layers.items()]
    try:
        yield
    finally:
        _remove(hooks)


def _remove(hooks: Iterable[Any]) -> None:
    for hook in hooks:
        hook.remove()


def _kept_statistics(norm: nn.Module) -> tuple[Tensor, Tensor] | None:
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return None
    return norm.running_mean, norm.running_var


def _eps(norm: nn.Module) -> float:
    eps = getattr(norm, "eps", None)
    return torch.finfo(torch.float32).eps if eps is None else float(eps)
