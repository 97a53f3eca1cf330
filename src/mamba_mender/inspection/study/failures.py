"""What may go wrong with one input or one analysis while the others go on."""

from mamba_mender._check import is_out_of_memory

# What torch, the taps and the analyses raise for an input that cannot be worked with. A TypeError, KeyError or
# AttributeError is a fault of this package and is never caught.
EXPECTED = (RuntimeError, ValueError, ArithmeticError, MemoryError, ImportError)


def tell_error(error: BaseException) -> dict[str, str]:
    """Put an error into JSON values: its kind and its first line.

    Example:
        >>> tell_error(ValueError("x is empty; give more"))
        {'kind': 'ValueError', 'message': 'x is empty; give more'}
    """
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if is_out_of_memory(error):
        message = (
            f"out of memory; look at fewer or shorter inputs (--length, --layers, --batch-size). {message}".strip()
        )
    return {"kind": type(error).__name__, "message": message or type(error).__name__}
