"""What a network's head reads and answers."""

from torch import Tensor, nn

from mamba_mender._check import UserError, nearest


def find_head(model: nn.Module, where: str, name: str | None = None) -> nn.Linear:
    """Find the linear layer that gives the logits.

    Args:
        model: the network, at any depth inside which a module may have ``get_classifier()``.
        where: the peer that asks, named in the message.
        name: the layer's name in the model, for networks without ``get_classifier()``.

    Raises:
        UserError: there is no such layer, or it is not an ``nn.Linear``.

    Example:
        >>> find_head(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), "f", "1").out_features
        3
    """
    modules = dict(model.named_modules())
    if name is not None:
        if name not in modules:
            raise UserError(f"{where}: the model has no layer {name!r}; {nearest(name, modules)}.")
        head = modules[name]
    else:
        owner = next((module for module in modules.values() if callable(getattr(module, "get_classifier", None))), None)
        if owner is None:
            raise UserError(
                f"{where}: it needs the features before the head, but no module of the model has get_classifier(); "
                "give the name of the linear layer that gives the logits, such as head='fc'."
            )
        head = owner.get_classifier()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        raise UserError(f"{where}: the head must be an nn.Linear, but it is {type(head).__name__}.")
    return head


def logits_and_features(model: nn.Module, head: nn.Linear, images: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """Run a network once and give what its head answers and reads.

    Returns:
        Logits, (batch, classes), and features, (batch, features).

    Raises:
        UserError: the head does not read one row of features per image, once.
    """
    read: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    try:
        logits = model(images)
    finally:
        hook.remove()
    shapes = [tuple(features.shape) for features in read]
    if shapes != [expected := (len(images), head.in_features)]:
        raise UserError(f"{where}: the head must read features of shape {expected} once, but it read {shapes}.")
    return logits, read[0]
