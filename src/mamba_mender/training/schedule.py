"""The learning rate over the steps of a run."""

import math


def cosine_schedule(step: int, steps: int, *, warmup: float = 0.05, floor: float = 0.01) -> float:
    """Give the learning rate of a step as a share of the peak.

    A linear warm-up over w = round(warmup * steps) steps, then half a cosine down to the floor::

        step <  w:   (step + 1) / (w + 1)                          never 0, 1 is first reached at step w
        step >= w:   floor + (1 - floor) (1 + cos(pi (step - w) / (steps - 1 - w))) / 2

    Args:
        step: the step's number, from 0 to steps - 1.
        steps: number of steps in the whole run.
        warmup: share of the steps spent warming up, in [0, 1).
        floor: share of the peak that is left at the last step.

    Returns:
        A factor in (0, 1].

    Raises:
        ValueError: the step is outside the run.

    Example:
        >>> [round(cosine_schedule(step, 5, warmup=0.2, floor=0.1), 3) for step in range(5)]
        [0.5, 1.0, 0.775, 0.325, 0.1]

    Source:
        Loshchilov & Hutter, SGDR (arXiv:1608.03983), equation 5, without restarts.
    """
    if not 0 <= step < steps:
        raise ValueError(f"cosine_schedule: step must lie in 0 to {steps - 1}, got {step}.")
    warm = min(round(warmup * steps), steps - 1)
    if step < warm:
        return (step + 1) / (warm + 1)
    fall = max(steps - 1 - warm, 1)
    return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warm) / fall)) / 2
