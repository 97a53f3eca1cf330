"""Say what went wrong in a run in words that name the setting that helps."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mamba_mender._check import UserError, is_out_of_memory
from mamba_mender.training.config import TrainConfig

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "the file is too big"}


@contextmanager
def explained(config: TrainConfig, out: Path | None) -> Iterator[None]:
    """Turn "out of memory" and "disk full" into a UserError that names the setting that lowers the need.

    Args:
        config: the run's settings, quoted in the message.
        out: the run's folder, where the last checkpoint is.

    Raises:
        UserError: memory or disk ran out inside the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise UserError(
            f"train: {FULL[error.errno]} while writing under {out} ({error}); free some space or give another "
            f"folder, then go on with resume=True (--resume). {_kept(out)}"
        ) from error
    except (MemoryError, RuntimeError) as error:  # torch reports the CPU's as a plain RuntimeError
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"train: out of memory with batch_size={config.batch_size}; lower batch_size (--batch-size, and "
            f"--masked-batch-size when mending); when training, raise accumulate (now {config.accumulate}) by the same "
            f"factor for the same result, or set precision='bf16' (now {config.precision!r}). "
            f"{_kept(out)} The allocator said: {str(error).splitlines()[0]}"
        ) from error


def _kept(out: Path | None) -> str:
    if out is None:
        return "No folder was given, so nothing was saved."
    return f"What was saved so far is complete, in {out}."
