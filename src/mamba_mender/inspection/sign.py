"""How the signs of a state and of its gradient combine."""

from typing import Literal, get_args

from torch import Tensor

from mamba_mender._check import nearest

Sign = Literal["signed", "rectified-product", "authors"]


def signed_product(where: str, state: Tensor, gradient: Tensor, sign: Sign) -> Tensor:
    """Multiply a state by its gradient, under a sign rule.

    Computes, elementwise::

        signed             g s               the paper's definitions
        rectified-product  ReLU(g s)         what raises the prediction
        authors            ReLU(g) ReLU(s)   the authors' code: of that, only where both are positive

    Args:
        where: the public function that asks, named in the message.
        state: any shape.
        gradient: a shape that broadcasts with it; for "authors" already rectified where the code does so earlier.
        sign: the rule.

    Raises:
        ValueError: the rule is unknown.
    """
    if sign not in get_args(Sign):
        raise ValueError(f"{where}: no sign rule {sign!r}; {nearest(sign, get_args(Sign))}.")
    if sign == "authors":
        return gradient.relu() * state.relu()
    product = gradient * state
    return product if sign == "signed" else product.relu()
