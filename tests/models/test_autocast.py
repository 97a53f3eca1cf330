"""Every model under bfloat16 autocast: products are halved; the stream, parameters and the scan's own are not."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mamba_mender.models import create_model, list_models
from mamba_mender.nn import Scan, StatePoint


@pytest.fixture(params=list_models())
def case(request):
    """Two layers of a model that is otherwise whole, and what it is asked."""
    model = create_model(request.param, img_size=32, num_classes=10, depth=2)
    return model, torch.randn(4, 3, 32, 32), torch.randint(10, (4,))


class Products(TorchDispatchMode):
    """Note the dtypes that go into matrix products."""

    def __init__(self):
        super().__init__()
        self.dtypes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("mm", "addmm", "bmm", "linear"):
            self.dtypes += [arg.dtype for arg in args if isinstance(arg, torch.Tensor)]
        return func(*args, **kwargs or {})


def logits_and_gradients(model, images, labels, *, autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
    return logits, torch.autograd.grad(loss, list(model.parameters()))


def relative_error(found, exact):
    return ((found.double() - exact.double()).norm() / exact.double().norm()).item()


def cosine(found, exact):
    return F.cosine_similarity(found.double().flatten(), exact.double().flatten(), dim=0).item()


@pytest.mark.parametrize("training", [True, False])
def test_is_close_to_float32(case, training):
    model, *given = case
    model.train(training)
    exact, exact_gradients = logits_and_gradients(model, *given, autocast=False)
    logits, gradients = logits_and_gradients(model, *given, autocast=True)
    assert 1e-4 < relative_error(logits, exact) < 0.02  # bfloat16 has steps of 0.4 to 0.8 %
    names = [name for name, _ in model.named_parameters()]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    far = {
        n: cosine(g, e) for n, g, e in zip(names, gradients, exact_gradients, strict=True) if not cosine(g, e) > 0.99
    }
    assert far == {}
    together = (torch.cat([g.flatten() for g in several]) for several in (gradients, exact_gradients))
    assert cosine(*together) > 0.999


def test_only_products_and_what_they_meet_are_halved(case):
    model, images, _ = case
    into_scans, states = [], {}
    for module in model.modules():
        if isinstance(module, Scan):
            module.register_forward_pre_hook(lambda _module, args: into_scans.append([t.dtype for t in args]))
        elif isinstance(module, StatePoint):
            module.register_forward_hook(lambda m, _, out: states.setdefault(m.state, set()).add(out.dtype))
    with Products() as products, torch.autocast("cpu", torch.bfloat16):
        model(images).float().square().sum().backward()
    assert set(products.dtypes) == {torch.bfloat16}
    half, exact = torch.bfloat16, torch.float32
    u, delta, A, B, C, D, z, bias = half, half, exact, half, half, exact, half, exact
    assert into_scans == [[u, delta, A, B, C, D, z, bias]] * 4
    assert states == {"h": {exact}, "y": {half}, "x": {half}, "z": {half}, "c": {half}}
    assert {parameter.dtype for parameter in model.parameters()} == {exact}


def test_weights_in_bfloat16_are_close_to_float32(case):
    model, images, _ = case
    model.eval()
    with torch.no_grad():
        exact = model(images)
        logits = model.to(torch.bfloat16)(images.to(torch.bfloat16))
    assert logits.dtype == torch.bfloat16
    assert 1e-4 < relative_error(logits, exact) < 0.02
