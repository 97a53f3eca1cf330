"""What an attack sees of a model: logits, and a gradient that goes to the images alone."""

from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn


class AttackView(nn.Module):
    """A model as an attack may use it.

    The gradient stops at the images: nothing is added to the parameters' own. A model through which no gradient
    comes, or a gradient that is not finite, gives zeros, as it would to any attack.

    Args:
        model: takes pixels, gives logits.
        samples: passes whose logits are averaged, for a model that is random.
        surrogate: whose gradient is used in place of the model's; the logits stay the model's.
        batch: the whole batch, for a model in which one image's logits depend on the others; an attack that
            goes on with some of its images gets their logits among all, the others as they were seen last.
        context: how many of the others go along; all if omitted.

    Example:
        >>> view = AttackView(nn.Flatten())
        >>> view(torch.ones(3, 1, 1, 2)).shape, view.queries
        (torch.Size([3, 2]), 3)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        samples: int = 1,
        surrogate: nn.Module | None = None,
        batch: Tensor | None = None,
        context: int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.surrogate, self.samples, self.context = model, surrogate, samples, context
        self.clean = None if batch is None else batch.detach()
        self.seen = None if batch is None else batch.detach().clone()
        self.queries = self.gradients = 0  # images sent forward and backward
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        self.queries += self.samples * len(images)
        if torch.is_grad_enabled() and images.requires_grad:
            return _Logits.apply(images, self)  # pyright: ignore[reportReturnType]
        return self.mean_logits(self.model, images)  # a new tensor, which the attack may write into

    def mean_logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """Average the logits of some images over the passes, (images, classes)."""
        rows = self._rows(images)
        if rows is not None and self.seen is not None:
            self.seen[rows] = images.detach()
            shown = self._shown(rows)
            images = self.seen.index_put((rows,), images)[shown]
            rows = torch.searchsorted(shown, rows)
        logits = model(images).float()
        for _ in range(self.samples - 1):
            logits = logits + model(images).float()
        return (logits if rows is None else logits[rows]) / self.samples

    def _rows(self, images: Tensor) -> Tensor | None:
        """Tell which images of the whole batch these are: each the nearest, no two the same."""
        if self.clean is None or len(images) > len(self.clean):
            return None
        if len(images) == len(self.clean):
            return torch.arange(len(images), device=images.device)
        distances = torch.cdist(images.detach().flatten(1), self.clean.flatten(1))
        rows = distances.argmin(1)
        if rows.unique().numel() < len(rows):
            rows = torch.as_tensor(linear_sum_assignment(distances.cpu())[1], device=images.device)
        return rows

    def _shown(self, rows: Tensor) -> Tensor:
        """Give the rows of the batch that the model sees, in their order: these, and their context, evenly spread."""
        others = torch.ones(len(self.seen), dtype=torch.bool, device=rows.device).index_fill(0, rows, False)  # pyright: ignore
        left = others.nonzero()[:, 0]
        if self.context is not None and self.context < len(left):
            left = left[torch.linspace(0, len(left) - 1, self.context, device=rows.device).long()]
        return torch.cat([rows, left]).sort().values


class _Logits(torch.autograd.Function):
    """Logits with a graph of their own, which ends at the images."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, view: AttackView) -> Tensor:  # pyright: ignore
        with torch.enable_grad():
            inner = images.detach().requires_grad_()
            smooth = view.mean_logits(view.model if view.surrogate is None else view.surrogate, inner)
        ctx.inner, ctx.smooth, ctx.view = inner, smooth, view
        if view.surrogate is None:
            return smooth.detach().clone()
        with torch.no_grad():
            return view.mean_logits(view.model, inner.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        ctx.view.gradients += ctx.view.samples * len(gradient)
        found = None
        if ctx.smooth.requires_grad:
            (found,) = torch.autograd.grad(ctx.smooth, ctx.inner, gradient, retain_graph=True, allow_unused=True)
        return (torch.zeros_like(ctx.inner) if found is None else found.nan_to_num(0, 0, 0)), None
