"""Whether all that blocks say to the prediction goes through the residual stream that they put out."""

import torch
from torch import Tensor, nn

from mamba_mender.inspection.causality.observe import Observed, places_of
from mamba_mender.inspection.predict import predict
from mamba_mender.taps import Edit, edit


def refuse_bypass(
    where: str, model: nn.Module, inputs: Tensor, stream: Observed, *, mask: Tensor | None = None
) -> None:
    """Refuse a model in which something passes the last block's output h by.

    Effects along the residual stream are exact only if h is all of it. The check runs the model once with every
    earlier mixer silenced and the last h as it was: the logits must then be as they were.

    Args:
        where: who asks, for the message.
        model: any model that :func:`mamba_mender.taps.edit` takes.
        inputs: images or token numbers.
        stream: h of the plain run, from :func:`observe`, the last block's among it.
        mask: True at real tokens, (batch, length).

    Raises:
        ValueError: the logits are not as they were.
    """
    last = max(stream.values)
    earlier = [key.block for key in places_of(model, "y") if key.block < last.block]
    if not earlier:
        return
    silence, hold = Edit("y", 0.0, blocks=earlier), Edit("h", stream.values[last], blocks=[last.block])
    with torch.no_grad(), edit(model, silence, hold):
        logits = predict(model, inputs, mask=mask)
    size = float(stream.logits.abs().max())
    if not torch.allclose(logits, stream.logits, rtol=1e-4, atol=1e-5 * size):
        moved = float((logits - stream.logits).abs().max())
        raise ValueError(
            f"{where}: {type(model).__name__} carries more past its last block than that block's output h: "
            f"with h held, the earlier blocks still change the logits by up to {moved:.2g}. "
            "Direct effects are defined here for models whose blocks put out the whole residual stream."
        )
