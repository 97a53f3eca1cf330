"""The part of a model whose blocks are numbered from 0."""

from torch import nn

from mamba_mender.nn import StatePoint
from mamba_mender.nn.scan import Scan
from mamba_mender.taps.foreign_places import is_mixer


def tapped_part(model: nn.Module) -> nn.Module:
    """Go into each Sequential one of whose children holds all states, as that of Normalise and a classifier does.

    The module "1.layers.0" of such a model would be read as block 1; seen from inside it is block 0.

    Args:
        model: any model.

    Returns:
        The model itself, or the part of it where the first number in a name is that of a block.

    Example:
        >>> from mamba_mender.models import create_model
        >>> inner = create_model("vim_micro", num_classes=2, img_size=8)
        >>> tapped_part(nn.Sequential(nn.Identity(), inner)) is inner, tapped_part(inner) is inner
        (True, True)
    """
    names = [name.split(".") for name, m in model.named_modules() if isinstance(m, StatePoint | Scan) or is_mixer(m)]
    part = inner = model
    for parts in zip(*names, strict=False):
        if len(set(parts)) > 1:
            break
        outer, part = part, part.get_submodule(parts[0])
        if isinstance(outer, nn.Sequential):
            inner = part
    return inner
