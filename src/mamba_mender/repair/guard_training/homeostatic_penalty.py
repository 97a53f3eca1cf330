"""What keeps the activity of channels where it is when the model is healthy."""

from torch import Tensor

from mamba_mender.repair.guard_training.running_law import RunningLaw, activity_of


def homeostatic_penalty(states: Tensor, healthy: RunningLaw) -> Tensor:
    """Measure how far the activity of channels lies from the healthy one.

    mean over channels of log(a_c / a*_c)^2, with a_c the root mean square over samples and tokens.

    Args:
        states: (samples, tokens, channels).
        healthy: gives a*.

    Returns:
        A number, 0 where each channel is as active as it is in healthy states.

    Source: Turrigiano et al., Activity-dependent scaling of quantal amplitude in neocortical neurons (1998).
    """
    activity = activity_of(states.float())
    return (activity / healthy.activity.to(activity)).log().square().mean()
