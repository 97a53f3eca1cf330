"""The compiled scan against its reference: outputs, gradients and second derivatives, on every instruction set."""



import pytest
import torch
from torch.library import opcheck

from mamba_mender.ops import cpu, cpu_scan, kernels, selective_scan

OPS = torch.ops.mamba_mender


def scan(backend, **settings):
    def run(**inputs):
        settings.setdefault("delta_softplus", True)
        return selective_scan(**inputs, **settings, return_last_state=True, backend=backend)

    return run


def test_an_instruction_set_was_built_and_runs():
    assert cpu.instruction_sets()[-1] == "baseline"
    assert cpu.instruction_set() == cpu.instruction_sets()[0]


def test_agrees_on_every_pair_of_settings(ladder, scan_case):
    case = dict(scan_case)
    settings = {name: case.pop(name) for name in ("delta_softplus", "reverse")}
    state, order = case["state"], 2 if case["state"] <= 17 else 1
    inputs = ladder.scan_inputs(channels=case.pop("width") * max(case["groups"], 1), **case)
    inputs["A"] = inputs["A"] / state**0.5
    if not settings["delta_softplus"]:
        inputs["delta"] = inputs["delta"].abs() / 10  # a step is never negative
    expected = ladder.derivatives(scan("reference", **settings), inputs, order=order)
    for isa in cpu.instruction_sets():
        with cpu.force_instruction_set(isa):
            found = ladder.derivatives(scan("cpu", **settings), inputs, order=order)
            ladder.assert_agree(found, expected, ladder.exact)
            found = ladder.derivatives(scan("cpu", **settings), inputs, torch.float32, order=order)
            ladder.assert_agree(found, expected, ladder.single)
