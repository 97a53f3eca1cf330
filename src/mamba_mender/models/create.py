"""Models by name."""

import inspect
from fnmatch import fnmatchcase
from typing import Any

from mamba_mender._check import UserError, nearest
from mamba_mender.models.vim import Vim

_SETTINGS = set(inspect.signature(Vim).parameters)
_MODELS: dict[str, dict[str, Any]] = {
    "vim_tiny": {"embed_dim": 192, "depth": 24, "patch_size": 16},
    "vim_small": {"embed_dim": 384, "depth": 24, "patch_size": 16},
    "vim_base": {"embed_dim": 768, "depth": 24, "patch_size": 16},
    "vim_tiny_stride8": {"embed_dim": 192, "depth": 24, "patch_size": 16, "stride": 8},
    "vim_small_stride8": {"embed_dim": 384, "depth": 24, "patch_size": 16, "stride": 8},
    "vim_base_stride8": {"embed_dim": 768, "depth": 24, "patch_size": 16, "stride": 8},
    "vim_nano": {"embed_dim": 64, "depth": 4, "patch_size": 4, "pool": "mean"},
    "vim_micro": {"embed_dim": 32, "depth": 4, "d_state": 8, "patch_size": 4, "pool": "mean"},
}
_ALIASES = {
    f"vim_{short}{stride}": f"vim_{long}{stride}"
    for short, long in {"ti": "tiny", "s": "small", "b": "base"}.items()
    for stride in ("", "_stride8")
}


def create_model(
    name: str,
    *,
    num_classes: int = 1000,
    img_size: int | tuple[int, int] = 224,
    patch_size: int | None = None,
    in_chans: int = 3,
    **overrides: Any,
) -> Vim:
    """Build a model by name, with random weights.

    Args:
        name: one of :func:`list_models`, or a published short name such as "vim_ti".
        num_classes: outputs of the head.
        img_size: height and width of the images, or one number for both.
        patch_size: height and width of a patch; the name's own if omitted.
        in_chans: channels of the images.
        overrides: any other argument of :class:`mamba_mender.models.Vim`.

    Raises:
        UserError: no model has that name, or no argument that name.

    Example:
        >>> create_model("vim_micro", num_classes=10, img_size=28, in_chans=1).grid
        (7, 7)
    """
    full_name = _ALIASES.get(name, name)
    if full_name not in _MODELS:
        raise UserError(f"create_model: no model {name!r}; {nearest(name, [*_MODELS, *_ALIASES])}.")
    if unknown := sorted(overrides.keys() - _SETTINGS):
        raise UserError(f"create_model: {full_name} has no setting {unknown[0]!r}; {nearest(unknown[0], _SETTINGS)}.")
    settings: dict[str, Any] = _MODELS[full_name] | {"name": full_name} | overrides
    if patch_size is not None:
        settings["patch_size"] = patch_size
    return Vim(num_classes=num_classes, img_size=img_size, in_chans=in_chans, **settings)


def list_models(pattern: str = "*") -> list[str]:
    """List the names of models that match a shell pattern.

    Example:
        >>> list_models("vim_*stride8")
        ['vim_base_stride8', 'vim_small_stride8', 'vim_tiny_stride8']
    """
    return sorted(name for name in _MODELS if fnmatchcase(name, pattern))
