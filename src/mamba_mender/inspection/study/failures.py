"""What may go wrong with one input or one analysis while the others go on."""

import torch

# What torch, the taps and the analyses raise for an input that cannot be worked with. A TypeError, KeyError or
# AttributeError is a fault of this package and is never caught.
EXPECTED = (RuntimeError, ValueError, ArithmeticError, MemoryError, ImportError)


def is_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, on the GPU or the CPU.

    Example:
        >>> is_memory(MemoryError()), is_memory(RuntimeError("shape mismatch"))
        (True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def tell_error(error: BaseException) -> dict[str, str]:
    """Put an error into JSON values: its kind and its first line.

    Example:
        >>> tell_error(ValueError("x is empty; give more"))
        {'kind': 'ValueError', 'message': 'x is empty; give more'}
    """
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if is_memory(error):
        message = (
            f"out of memory; look at fewer or shorter inputs (--length, --layers, --batch-size). {message}".strip()
        )
    return {"kind": type(error).__name__, "message": message or type(error).__name__}
