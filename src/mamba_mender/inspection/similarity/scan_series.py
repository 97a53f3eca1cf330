"""What a scan does at each token, in a few numbers."""

import torch
from torch import Tensor

from mamba_mender.taps import ScanRecord, derived

SERIES = ("step", "decay", "input", "write", "B", "C", "read")


@derived
def scan_series(record: ScanRecord) -> dict[str, Tensor]:
    r"""Describe each token of a scan by the size of what the scan does there.

    With channels d, coordinates n of the state, and rms the root of the mean square::

        step_t  = mean_d delta_td               decay_t = mean_dn exp(delta_td A_dn)
        input_t = rms_d u_td                    write_t = rms_dn delta_td B_tn u_td
        B_t     = rms_n B_tn                    C_t     = rms_n C_tn
        read_t  = rms_d (y_td - D_d u_td)

    Each is taken at the token itself, so tokens are in image order in both directions. Takes no memory beyond
    (batch, channels, length).

    Args:
        record: a scan.

    Returns:
        Name to values in at least float32, (batch, length), padding included.

    Raises:
        ValueError: the recurrence was edited.

    Example:
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.taps import record
        >>> with record(model := create_model("vim_micro", num_classes=3, img_size=8), (), blocks=[0]) as run:
        ...     _ = model(torch.rand(2, 3, 8, 8))
        >>> scan = run["layers.0.mixer.forward_scan"]
        >>> scan_series(scan)["step"].shape == (2, scan.length)
        True
    """
    if record.edits:
        raise ValueError(f"scan_series: the recurrence of {record.name} was edited; record it without edits.")
    with torch.no_grad():
        step = record.step
        exact = torch.promote_types(record.u.dtype, step.dtype)
        u, B, C = record.u.to(exact), record.B.to(exact), record.C.to(exact)
        decay = torch.zeros_like(step[:, 0])
        for column in record.A.to(step.dtype).unbind(1):
            decay += (step * column[:, None]).exp().mean(1)
        read = record.y.to(exact) if record.D is None else record.y.to(exact) - record.D.to(exact)[:, None] * u
        wrote = (step * u).square().unflatten(1, (B.shape[1], -1)).sum(2)  # (batch, groups, length)
        written = (wrote * B.square().sum(2)).sum(1) / (record.channels * record.state)
        values = (step.mean(1), decay / record.state, _rms(u, 1), written.sqrt(), _rms(B, (1, 2)), _rms(C, (1, 2)))
        return dict(zip(SERIES, (*values, _rms(read, 1)), strict=True))


def _rms(values: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    return values.square().mean(axes).sqrt()
