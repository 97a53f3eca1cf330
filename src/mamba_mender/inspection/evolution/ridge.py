"""Ridge regression with all its penalties from one decomposition."""

from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


@dataclass(frozen=True, eq=False)
class Ridge:
    """Predict by y = prior x + mean + (x - x_mean) W, with W shrunk to zero by a penalty.

    basis: eigenvectors of the centred Gram matrix of x, (channels, channels).
    spectrum: its eigenvalues, (channels).
    moment: basis^T x^T y, both centred, (channels, targets).
    x_mean, y_mean: means in training, (channels) and (targets).
    """

    basis: Tensor
    spectrum: Tensor
    moment: Tensor
    x_mean: Tensor
    y_mean: Tensor

    def predict(self, x: Tensor, penalty: float, *, toward_copy: bool = False) -> Tensor:
        """Predict y.

        Args:
            x: (rows, channels).
            penalty: as a share of the mean eigenvalue of the Gram matrix.
            toward_copy: whether a large penalty leads to the copy x (plus the mean change), not to the mean of y.

        Returns:
            (rows, targets).
        """
        scale = self.spectrum.mean()
        shrunk = 1 / (self.spectrum + penalty * scale) if scale > 0 else torch.zeros_like(self.spectrum)
        centred = x - self.x_mean
        moment = self.moment
        if toward_copy:  # the moment of x with the change y - x
            moment = moment - self.spectrum[:, None] * self.basis.mT
        linear = (centred @ self.basis) @ (shrunk[:, None] * moment)
        return self.y_mean + linear + (centred if toward_copy else 0)


def fit_ridge(x: Tensor, y: Tensor) -> Ridge:
    """Decompose the normal equations of a ridge regression, so that each penalty is then cheap.

    W = (X^T X + penalty I)^{-1} X^T Y with X, Y centred.

    Args:
        x: (rows, channels), float64.
        y: (rows, targets), float64.

    Returns:
        The fit.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
        >>> fit_ridge(x, 3 * x + 1).predict(torch.tensor([[5.0]], dtype=torch.float64), 0.0).item()
        16.0

    Source: Hoerl and Kennard, "Ridge regression" (Technometrics 12, 1970), equation 2.1.
    """
    x_mean, y_mean = x.mean(0), y.mean(0)
    centred = x - x_mean
    spectrum, basis = torch.linalg.eigh(centred.mT @ centred)
    moment = basis.mT @ (centred.mT @ (y - y_mean))
    return Ridge(basis, spectrum.clamp_min(0), moment, x_mean, y_mean)
