"""What a scan does at a token against what attention and neurons do there."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from mamba_mender._check import check_axes
from mamba_mender.inspection.similarity.correlation import Correlation, Method, token_correlation
from mamba_mender.inspection.similarity.exchange import Exchange
from mamba_mender.inspection.similarity.scan_series import scan_series
from mamba_mender.taps import ScanRecord


def ssm_attention_correlation(
    record: ScanRecord,
    attention: Tensor,
    *,
    names: Sequence[str] = (),
    method: Method = "spearman",
    exchange: Exchange = "rotation",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> Correlation:
    """Correlate what a scan does at each token with the attention that the token receives.

    Step and write are factors of the hidden attention of the same scan, alpha_ij = C_i (prod decay) step_j B_j, so
    with that attention a correlation is expected; with a rollout, or with another layer's, it is a finding.

    Args:
        record: a scan; padding is left out by its mask.
        attention: weight of each token in image order, (batch, length), or several kinds, (batch, length, kinds).
        names: of the kinds.
        method: "spearman" or "pearson".
        exchange: what chance exchanges, see :func:`draw_order`.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        Correlations over tokens, (series, kinds), with the series of :func:`scan_series`.

    Raises:
        ValueError: shapes disagree, or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8), (), blocks=[0]) as run:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> scan = run["layers.0.mixer.forward_scan"]
        >>> ssm_attention_correlation(scan, torch.rand(scan.batch, scan.length), permutations=9).value.shape
        torch.Size([7, 1])
    """
    if attention.dim() == 2:
        attention = attention[..., None]
    return _with_series("attention", record, attention, names, method, exchange, permutations, seed)


def ssm_neuron_correlation(
    record: ScanRecord,
    neurons: Tensor,
    *,
    method: Method = "spearman",
    exchange: Exchange = "rotation",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> Correlation:
    """Correlate what a scan does at each token with each neuron's activation there.

    Args:
        record: a scan; padding is left out by its mask.
        neurons: activations in image order, e.g. a state of the same or another block, (batch, length, channels).
        method: "spearman" or "pearson".
        exchange: what chance exchanges, see :func:`draw_order`.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        Correlations over tokens, (series, channels), with the series of :func:`scan_series`.

    Raises:
        ValueError: shapes disagree, or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8), (), blocks=[0]) as run:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> scan = run["layers.0.mixer.forward_scan"]
        >>> ssm_neuron_correlation(scan, scan.u.mT, permutations=9).value.shape == (7, scan.channels)
        True
    """
    return _with_series("neurons", record, neurons, (), method, exchange, permutations, seed)


def delta_neuron_correlation(
    record: ScanRecord,
    neurons: Tensor | None = None,
    *,
    paired: bool = True,
    method: Method = "spearman",
    exchange: Exchange = "rotation",
    permutations: int = 200,
    seed: int | Generator = 0,
) -> Correlation:
    """Correlate each channel's step with its activation: does it write more when it is more active?

    Args:
        record: a scan; padding is left out by its mask.
        neurons: activations in image order, (batch, length, channels); None takes the size of the scan's input, abs(u).
        paired: whether channel d's step meets only channel d; else all pairs, also of different widths.
        method: "spearman" or "pearson".
        exchange: what chance exchanges, see :func:`draw_order`.
        permutations: how many orders are drawn.
        seed: a number or a generator.

    Returns:
        Correlations over tokens, (channels) or (channels of the step, channels of the neurons). Heads of Mamba-2
        share a step among their channels.

    Raises:
        ValueError: shapes disagree, or the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8), (), blocks=[0]) as run:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> scan = run["layers.0.mixer.forward_scan"]
        >>> delta_neuron_correlation(scan, permutations=9).value.shape == (scan.channels,)
        True
    """
    if record.edits:
        raise ValueError(f"delta_neuron_correlation: the recurrence of {record.name} was edited; record it unedited.")
    neurons = record.u.abs().mT if neurons is None else neurons
    check_axes(
        "delta_neuron_correlation",
        {"batch": record.batch, "length": record.length} | ({"channels": record.channels} if paired else {}),
        neurons=(neurons, "batch length channels"),
    )
    return token_correlation(
        record.step.mT,
        neurons,
        mask=record.mask,
        paired=paired,
        method=method,
        exchange=exchange,
        permutations=permutations,
        seed=seed,
    )


def _with_series(
    name: str,
    record: ScanRecord,
    other: Tensor,
    names: Sequence[str],
    method: Method,
    exchange: Exchange,
    permutations: int,
    seed: int | Generator,
) -> Correlation:
    sizes = {"batch": record.batch, "length": record.length}
    where = "ssm_attention_correlation" if name == "attention" else "ssm_neuron_correlation"
    check_axes(where, sizes, **{name: (other, "batch length channels")})
    series = scan_series(record)
    return token_correlation(
        torch.stack(list(series.values()), -1),
        other,
        mask=record.mask,
        method=method,
        exchange=exchange,
        permutations=permutations,
        seed=seed,
        x_names=tuple(series),
        y_names=names,
    )
