"""What a saved model says about the data it was trained on."""

from typing import Any

from mamba_mender.data import ImageData


def model_card(data: ImageData) -> dict[str, Any]:
    """Make the part of a model's card that its data decide; pass it to ``save_model(extra=...)``.

    Args:
        data: what the model was trained on.

    Returns:
        "classes", the classes' names, and "data": name, mean, std, channels and img_size.

    Example:
        >>> from mamba_mender.data import load_data
        >>> model_card(load_data("digits"))["data"]["img_size"]
        [8, 8]
    """
    about = {
        "name": data.name,
        "mean": list(data.mean),
        "std": list(data.std),
        "channels": data.channels,
        "img_size": list(data.img_size),
    }
    return {"classes": list(data.classes), "data": about}
