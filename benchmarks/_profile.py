"""Say where the time of a step goes, by kinds of work."""

from collections.abc import Callable

import torch

PRODUCTS = "matrix products"


def where_time_goes(step: Callable[[], object], most: int = 8) -> dict[str, float]:
    """Give the share of a step's time that each kind of work takes by itself, the largest first."""
    with torch.profiler.profile() as profile:
        for _ in range(3):
            step()
    own: dict[str, float] = {}
    for event in profile.key_averages():
        own[kind_of(event.key)] = own.get(kind_of(event.key), 0.0) + event.self_cpu_time_total
    total = sum(own.values())
    return {kind: own[kind] / total for kind in sorted(own, key=own.__getitem__, reverse=True)[:most]}


def kind_of(op: str) -> str:
    """Name the kind of work that an op does."""
    for word, kind in (("scan", "scan"), ("conv", "convolution"), ("Optimizer", "optimiser")):
        if word in op:
            return kind
    if op in ("aten::mm", "aten::addmm", "aten::bmm") or op.startswith(("aten::mkldnn_linear", "mkldnn::_linear")):
        return PRODUCTS
    return {"aten::copy_": "copies", "aten::cat": "concatenation"}.get(op, "elementwise, norms and the rest")
