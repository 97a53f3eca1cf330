"""The recorded scans, block by block."""

from itertools import groupby

from mamba_mender.taps import ScanRecord
from mamba_mender.taps.run import Run


def scans_by_block(run: Run) -> list[list[ScanRecord]]:
    """List the scans of each block, its directions together, from the first block to the last."""
    scans = sorted(run.scans.values(), key=lambda scan: scan.block)
    return [list(group) for _, group in groupby(scans, key=lambda scan: scan.block)]
