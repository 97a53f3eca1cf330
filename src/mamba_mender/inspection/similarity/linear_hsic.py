"""The unbiased estimate of the Hilbert-Schmidt independence criterion, for linear kernels."""

from torch import Tensor

from mamba_mender._check import check_axes

FEWEST = 4  # samples that the unbiased estimate needs
CHUNK = 4096  # rows taken to float64 at a time


class HsicSums:
    """Add up what the unbiased estimate needs, chunk by chunk, without a matrix of samples x samples.

    Holds a (p, q) matrix and a few vectors, however many samples come.

    Example:
        >>> import torch
        >>> x = torch.randn(10, 3, dtype=torch.float64)
        >>> sums = HsicSums()
        >>> sums.add(x[:4], x[:4])
        >>> sums.add(x[4:], x[4:])
        >>> bool(torch.isclose(sums.value(), linear_hsic(x, x)))
        True
    """

    def __init__(self) -> None:
        self.count = 0
        self._shift: tuple[Tensor, Tensor] | None = None
        self._sums: dict[str, Tensor] = {}

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add samples, (samples, p) and (samples, q).

        Raises:
            ValueError: shapes disagree.
        """
        check_axes("HsicSums.add", {}, x=(x, "samples p"), y=(y, "samples q"))
        x, y = x.detach().cpu().double(), y.detach().cpu().double()
        if self._shift is None:
            # The estimate does not change when all samples move together; near zero it keeps its digits.
            self._shift = x.mean(0), y.mean(0)
        x, y = x - self._shift[0], y - self._shift[1]
        k, l = x.square().sum(1), y.square().sum(1)  # noqa: E741 - the paper's kernels K and L, their diagonals
        new = {"x": x.sum(0), "y": y.sum(0), "xy": x.T @ y, "xl": x.T @ l, "ky": k @ y}
        new |= {"k": k.sum(), "l": l.sum(), "kl": k @ l}
        self._sums = {name: self._sums[name] + value if self._sums else value for name, value in new.items()}
        self.count += len(x)

    def value(self) -> Tensor:
        """Give the estimate from all samples that came.

        Raises:
            ValueError: fewer than four samples came.
        """
        if self.count < FEWEST:
            raise ValueError(f"HsicSums.value: the unbiased estimate needs {FEWEST} samples, got {self.count}.")
        s, n = self._sums, self.count
        trace = s["xy"].square().sum() - s["kl"]  # tr(K L) without the diagonals
        all_k, all_l = s["x"] @ s["x"] - s["k"], s["y"] @ s["y"] - s["l"]  # sums of K and of L
        both = s["x"] @ s["xy"] @ s["y"] - s["x"] @ s["xl"] - s["ky"] @ s["y"] + s["kl"]  # 1' K L 1
        return (trace + all_k * all_l / ((n - 1) * (n - 2)) - 2 / (n - 2) * both) / (n * (n - 3))


def linear_hsic(x: Tensor, y: Tensor) -> Tensor:
    r"""Estimate how much two sets of features depend on each other linearly, without bias.

    With K = X X' and L = Y Y', both with a zero diagonal, and n samples::

        HSIC_1 = ( tr(K L) + 1'K1 1'L1 / ((n-1)(n-2)) - 2/(n-2) 1'K L 1 ) / (n (n-3))

    Its mean over independent data is 0; it may be negative. Takes O(samples p q) time and O(p q) memory.

    Args:
        x: features, (samples, p).
        y: features of the same samples, (samples, q).

    Returns:
        The estimate in float64, ().

    Raises:
        ValueError: shapes disagree, or there are fewer than four samples.

    Example:
        >>> import torch
        >>> linear_hsic(torch.tensor([[1.0], [2.0], [3.0], [4.0]]), torch.zeros(4, 1))
        tensor(0., dtype=torch.float64)

    Source: Song et al., Feature Selection via Dependence Maximization (JMLR 2012), equation 5.
    """
    check_axes("linear_hsic", {}, x=(x, "samples p"), y=(y, "samples q"))
    sums = HsicSums()
    for one, other in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        sums.add(one, other)
    return sums.value()


def centred_gram(x: Tensor) -> Tensor:
    r"""Centre a linear kernel so that products of two such matrices are unbiased estimates.

    With K = X X' and a zero diagonal, for i != j::

        K_ij - sum_l K_il / (n-2) - sum_l K_lj / (n-2) + sum_kl K_kl / ((n-1)(n-2))

    and 0 for i = j. The sum of the products of two of them over n (n-3) is HSIC_1.

    Args:
        x: features, (samples, p).

    Returns:
        The matrix in float64, (samples, samples).

    Raises:
        ValueError: there are fewer than four samples.

    Source: Székely & Rizzo (2014), U-centring; the product is the estimate of Song et al. (2012).
    """
    check_axes("centred_gram", {}, x=(x, "samples p"))
    n = len(x)
    if n < FEWEST:
        raise ValueError(f"centred_gram: the unbiased estimate needs {FEWEST} samples, got {n}.")
    x = x.detach().cpu().double()
    x = x - x.mean(0)
    gram = (x @ x.T).fill_diagonal_(0)
    rows = gram.sum(1)
    gram -= (rows[:, None] + rows) / (n - 2) - rows.sum() / ((n - 1) * (n - 2))
    return gram.fill_diagonal_(0)
