"""Results of one analysis, part by part: a part that fails leaves the others."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mamba_mender._check import is_out_of_memory
from mamba_mender.inspection.result import Result
from mamba_mender.inspection.study.failures import tell_error


@dataclass(frozen=True)
class NotMeasured(Result):
    """In the place of a result: why there is none.

    reason: in words.
    failed: whether something went wrong; otherwise the inputs do not allow it, such as too few of them.
    """

    reason: str
    failed: bool


class Parts(dict[str, Any]):
    """Name to result; what could not be measured says so.

    Example:
        >>> parts = Parts()
        >>> parts.add("a", lambda: 1 // 1)
        >>> parts.lack("b", "there is one input only")
        >>> parts
        {'a': 1, 'b': NotMeasured(reason='there is one input only', failed=False)}
    """

    def add(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure a part, or write down why that failed; running out of memory is passed on."""
        try:
            self[name] = measure()
        except (ValueError, RuntimeError, ArithmeticError, ImportError) as error:
            if is_out_of_memory(error):
                raise
            self[name] = NotMeasured(tell_error(error)["message"], failed=True)

    def lack(self, name: str, reason: str) -> None:
        """Write down that the inputs do not allow a part."""
        self[name] = NotMeasured(reason, failed=False)
