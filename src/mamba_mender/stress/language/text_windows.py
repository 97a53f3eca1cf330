"""Windows of a text: a context that is disturbed, and a continuation that is not."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mamba_mender._check import UserError
from mamba_mender.stress.language.character_noise import character_noise, check_rate
from mamba_mender.stress.language.token_dropout import token_dropout

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, eq=False)
class TextWindows:
    """A text, how it is cut into windows, and how the context of each is disturbed.

    text: a text, or token numbers, (tokens).
    encode: text to token numbers.
    length: of a context, in characters of a text, or in tokens.
    continuation: of what follows it.
    windows: how many.
    kinds: of character noise.
    fill: what is put in the place of a lost token; None takes it out.
    seed: of the noise.
    """

    text: str | Tensor
    encode: Encode | None
    length: int
    continuation: int
    windows: int
    kinds: tuple[str, ...]
    fill: int | None
    seed: int

    def check(self, levels: dict[str, Sequence[float]]) -> None:
        """Refuse what cannot be cut or disturbed.

        Args:
            levels: rates of noise, by kind.

        Raises:
            UserError: the text is too short or cannot be encoded, or a rate or kind is none.
        """
        where, need = "stress_language", self.windows * (self.length + self.continuation)
        if isinstance(self.text, str) and self.encode is None:
            raise UserError(f"{where}: a text needs encode, which gives its token numbers; or give token numbers.")
        if isinstance(self.text, Tensor):
            if self.text.dim() != 1 or self.text.is_floating_point():
                got = f"{self.text.dtype} of shape {tuple(self.text.shape)}"
                raise UserError(f"{where}: token numbers must be whole, (tokens), got {got}.")
            if levels["character"]:
                raise UserError(
                    f"{where}: character noise needs a text and its encode; token numbers have no characters."
                )
        if min(self.windows, self.length) < 2 or self.continuation < 1:
            got = (self.windows, self.length, self.continuation)
            raise UserError(f"{where}: need windows and length of at least 2, continuation of at least 1, got {got}.")
        if len(self.text) < need:
            raise UserError(
                f"{where}: the text has {len(self.text)} {self.unit}; {self.windows} windows of {self.length} + "
                f"{self.continuation} need {need}. Give more text, or fewer or shorter windows."
            )
        for rate in [rate for rates in levels.values() for rate in rates]:
            check_rate(where, rate)
        character_noise("", 0.0, self.kinds)  # refuses unknown kinds before the first level is run

    @property
    def unit(self) -> str:
        """What lengths count."""
        return "characters" if isinstance(self.text, str) else "tokens"

    @cached_property
    def alphabet(self) -> str:
        """The characters of a text, each once; none of token numbers."""
        return "".join(sorted(set(self.text))) if isinstance(self.text, str) else ""

    def parts(self) -> Iterator[tuple[str | Tensor, str | Tensor]]:
        """Give the context and the continuation of each window."""
        whole = self.length + self.continuation
        room = len(self.text) - whole
        for i in range(self.windows):
            start = i * room // max(self.windows - 1, 1)
            yield self.text[start : start + self.length], self.text[start + self.length : start + whole]

    def tokens(self, part: str | Tensor) -> Tensor:
        """Encode a part of a window, int64, (tokens)."""
        if isinstance(part, Tensor):
            return part.long().cpu()
        assert self.encode is not None
        return torch.tensor(self.encode(part), dtype=torch.int64)

    def disturb(self, context: str | Tensor, kind: str, level: float, window: int) -> Tensor:
        """Disturb a context; each window draws for itself."""
        seed = self.seed + 1_000_003 * window
        if kind == "character" and isinstance(context, str):
            context = character_noise(context, level, self.kinds, alphabet=self.alphabet, seed=seed)
        ids = self.tokens(context)
        return token_dropout(ids, level, fill=self.fill, seed=seed) if kind == "dropout" else ids

    def facts(self) -> list:
        """List everything that decides the levels, as JSON values."""
        parts = [(self.tokens(a).tolist(), self.tokens(b).tolist()) for a, b in self.parts()]
        return [parts, self.unit, self.alphabet, self.kinds, self.fill, self.seed]
