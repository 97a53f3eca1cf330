"""How far metaplasticity raised a learning rate."""

from mamba_mender.repair.guard.memory import Learning


def metaplastic_adaptation(learning: Learning | None, samples: int, *, horizon: float) -> float:
    """Measure how far the rate of a step lies above the one that a full memory with no surprise has.

        (r - r0) / (1 - r0),   r0 = samples / (horizon + samples)

    It is 0 where the rate is r0, as it is without metaplasticity from the second step on, and where nothing is learned;
    it is 1 where the new samples are all that is believed, as the first ones are.

    Args:
        learning: of a :class:`SiteReport`; None where a site learned nothing.
        samples: unhealthy samples it learned from.
        horizon: of the guard's settings.

    Returns:
        A number in [0, 1].

    Raises:
        ValueError: it learned from no samples.

    Source: Abraham & Bear, Metaplasticity: the plasticity of synaptic plasticity (1996), for the name.
    """
    if learning is None:
        return 0.0
    if samples < 1:
        raise ValueError(f"metaplastic_adaptation: a step learns from at least one sample, got {samples}.")
    usual = samples / (horizon + samples)
    return min(max((learning.rate - usual) / (1 - usual), 0.0), 1.0)
