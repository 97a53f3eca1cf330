"""The norm layers of a network: which they are, and which axis of theirs is channels."""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mamba_mender._check import UserError
from mamba_mender.nn import RMSNorm

NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, RMSNorm)
CHANNELS_FIRST = (_BatchNorm, nn.GroupNorm)  # (batch, channels, ...); the others have (..., channels)


def norm_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Find the norm layers of a model by type: BatchNorm, GroupNorm, LayerNorm and RMSNorm.

    Returns:
        Name to module, in the order in which the model holds them.

    Example:
        >>> list(norm_layers(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))))
        ['1']
    """
    return {name: module for name, module in model.named_modules() if isinstance(module, NORMS)}


def channel_axis(norm: nn.Module) -> int:
    """Give the axis of a norm layer's input that is channels.

    Example:
        >>> channel_axis(nn.BatchNorm2d(3)), channel_axis(nn.LayerNorm(3))
        (1, -1)
    """
    return 1 if isinstance(norm, CHANNELS_FIRST) else -1


def norm_parameters(where: str, model: nn.Module, *, top: float = 0.0) -> list[nn.Parameter]:
    """Collect the scales and shifts of the norm layers.

    Args:
        where: the peer that asks, named in the message.
        model: the network.
        top: share of the norm layers, rounded up, that is left out at the top; one is always kept.

    Raises:
        UserError: no norm layer has parameters.

    Example:
        >>> len(norm_parameters("f", nn.Sequential(nn.LayerNorm(2), nn.LayerNorm(2)), top=0.25))
        2
    """
    owners = [norm for norm in norm_layers(model).values() if next(norm.parameters(recurse=False), None) is not None]
    if not owners:
        raise UserError(
            f"{where}: it adapts the scale and shift of BatchNorm, GroupNorm, LayerNorm or RMSNorm layers, but the "
            "model has none; take a peer that needs no norm layers, such as t3a or lame."
        )
    kept = max(1, int(len(owners) * (1 - top)))
    return [parameter for norm in owners[:kept] for parameter in norm.parameters(recurse=False)]


def use_batch_statistics(model: nn.Module, where: str) -> None:
    """Let BatchNorm layers normalise by the batch at hand, also in evaluation mode; in place.

    Args:
        model: the network.
        where: the peer that asks, named in the message.

    Raises:
        UserError: later, in the forward pass, when a batch gives a channel one value only.
    """

    def refuse_one_value(norm: nn.Module, args: tuple[Any, ...]) -> None:
        x: Tensor = args[0]
        if x.numel() == x.shape[1]:
            raise UserError(
                f"{where}: it normalises by the batch, but {type(norm).__name__} got one value per channel, "
                f"shape {tuple(x.shape)}; give it batches of at least 2 images."
            )

    for norm in norm_layers(model).values():
        if isinstance(norm, _BatchNorm):
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
            norm.register_forward_pre_hook(refuse_one_value)
