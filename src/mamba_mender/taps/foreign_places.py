"""Where taps listen in a model of transformers, or in one with mamba_ssm's layers."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mamba_mender.taps.eager import eager
from mamba_mender.taps.foreign_site import CHUNK_SCANS, SCANS, ForeignSite
from mamba_mender.taps.places import Places
from mamba_mender.taps.rebind import calls
from mamba_mender.taps.spot import Point
from mamba_mender.taps.state_key import EMBEDDING, StateKey, block_of


def foreign_places(model: nn.Module) -> Places:
    """Find the mixers that call a scan of transformers or mamba_ssm, and the states of their blocks."""
    places = Places()
    stacks: list[str] = []
    for name, mixer in model.named_modules():
        if not is_mixer(mixer):
            continue
        block = block_of(name)
        places.add_site(f"{name}.scan" if name else "scan", StateKey(block, "s", "forward"), ForeignSite(mixer))
        places.add_point(StateKey(block, "y"), OutputPoint(mixer, "output"))
        stack = _stack_of(name)
        if stack is not None and stack not in stacks:
            stacks.append(stack)
    for stack in stacks[:1]:
        blocks = list(model.get_submodule(stack).children())
        if any(is_mixer(module) for module in blocks):
            continue  # a bare list of mixers: whoever runs them keeps the residual stream
        for number, module in enumerate(blocks):
            places.add_point(StateKey(number, "h"), OutputPoint(module, "output"))
            if number == 0:
                places.add_point(StateKey(EMBEDDING, "h"), InputPoint(module, "input"))
    return places


def is_mixer(module: nn.Module) -> bool:
    """Tell whether a module is a Mamba mixer of another library: it has decays, and its forward calls a scan."""
    forward = getattr(type(module).forward, "__wrapped__", type(module).forward)
    return hasattr(module, "A_log") and hasattr(module, "in_proj") and calls(forward, {*SCANS, *CHUNK_SCANS})


class OutputPoint(Point):
    """What a module returns, or the first of it, (batch, tokens, channels)."""

    def install(self) -> Callable[[], None]:
        @eager
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            if isinstance(output, Tensor):
                return self(output)
            return (self(output[0]), *output[1:])

        return self.module.register_forward_hook(hook).remove


class InputPoint(Point):
    """What enters a module first, (batch, tokens, channels)."""

    def install(self) -> Callable[[], None]:
        @eager
        def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            if args:
                return (self(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": self(kwargs["hidden_states"])}

        return self.module.register_forward_pre_hook(hook, with_kwargs=True).remove


def _stack_of(name: str) -> str | None:
    """Find the list of blocks that a mixer's name runs through: what stands before its first whole number."""
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
    return None if not number else ".".join(parts[:number])
