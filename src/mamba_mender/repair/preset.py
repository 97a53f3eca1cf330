"""Settings that suit a data set, by its name."""

from dataclasses import replace

from mamba_mender.repair.mend_config import MendConfig

CHOSEN = {"weight_external": None, "weight_internal": None, "weight_swap": None, "selection_steps": 100}
LARGER = CHOSEN | {"architecture": "vim_nano", "base_steps": 1000, "steps": 400, "masked_batch_size": 32}
PRESETS = {
    "decoy-digits": {"base_steps": 300, "steps": 200, "learning_rate": 3e-3, "weight_external": 0.3},  # two minutes
    "digits": CHOSEN | {"judge": "validation"},
    "decoy-fashion-mnist": LARGER,
    "decoy-mnist": LARGER,
    "fashion-mnist": LARGER | {"judge": "validation", "augment": True},
    "mnist": LARGER | {"judge": "validation", "augment": True},
}
FOLDER = LARGER | {"augment": True}  # masks of a person's own: swapped backgrounds are the judge
MASKS = {"digits": "nonzero", "mnist": "nonzero", "fashion-mnist": "nonzero"}


def mend_preset(data: str, **changes: object) -> MendConfig:
    """Choose the settings of mending that suit a data set.

    The weights of the losses are left to be chosen on validation images, save for "decoy-digits".

    Args:
        data: its name, or the path of a folder.
        changes: settings that are given.

    Returns:
        The settings.

    Example:
        >>> mend_preset("decoy-digits", steps=20).steps
        20
    """
    return replace(MendConfig(), **PRESETS.get(data, FOLDER) | changes)


def mask_preset(data: str) -> str:
    """Choose where masks come from when nobody says: "none" for a folder, and for decoys, which have their own.

    Example:
        >>> mask_preset("fashion-mnist"), mask_preset("decoy-digits")
        ('nonzero', 'none')
    """
    return MASKS.get(data, "none")
