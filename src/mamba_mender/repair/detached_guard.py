"""What a guarded model offers to attackers who know it: stand-ins whose gradients they may follow."""

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from mamba_mender.repair.guard import GuardedModel
from mamba_mender.repair.guard.passage import Passage
from mamba_mender.repair.guard.site_guard import SiteGuard
from mamba_mender.stress.attacks.stand_in import SURROGATE, stand_ins


class DetachedGuard(nn.Module):
    """Answer as a guarded model does, with gradients that take all it measured of the batch for constant.

    Health, memory and maps are computed anew in every pass; the gradient passes the affine map that moved a sample, and
    the identity where none was moved. It shares the model and the memories, and changes neither.

    Args:
        guarded: the guarded model.

    Example:
        >>> import torch
        >>> from mamba_mender.models import create_model
        >>> from mamba_mender.repair.guard import GuardConfig
        >>> model = create_model("vim_micro", num_classes=3, img_size=8).eval()
        >>> DetachedGuard(GuardedModel(model, {}, GuardConfig()))(torch.ones(2, 3, 8, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, guarded: GuardedModel) -> None:
        super().__init__()
        self.twin = guarded.surrogate(softness=0.0)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model on its own arguments; gives what the guarded model gives when it is held."""
        with ExitStack() as stack:
            for site in self.twin.guards().values():
                passing = _Passing()
                stack.enter_context(site.register_forward_pre_hook(passing.detach))
                stack.enter_context(site.register_forward_hook(passing.attach))
            return self.twin(*args, **kwargs)


class _Passing:
    """The states on their way through one site: cut from their graph before it, tied to it behind it."""

    def __init__(self) -> None:
        self.states: Tensor | None = None

    def detach(self, _site: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.states = args[0]
        return args[0].detach(), *args[1:]

    def attach(self, site: SiteGuard, args: tuple[Any, ...], out: Tensor) -> Tensor:
        """Give the values that came out, with the gradient of the map alone."""
        passage: Passage = args[1]
        states, report, flagged = self.states, passage.reports[args[2]], passage.flagged
        assert states is not None
        moved = states
        if report.realignment is not None and flagged is not None:
            whole = site.move(states.to(site.law.within.dtype), site.law, report).to(states.dtype)
            moved = whole.where(flagged[:, None, None], states)
        return out.detach() + (moved - moved.detach())


@stand_ins.register
def _(model: GuardedModel) -> dict[str, nn.Module]:
    return {
        SURROGATE: model.surrogate(),
        "constant statistics": DetachedGuard(model),
        "repair left out": model.model,
    }
