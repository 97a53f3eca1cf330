"""Models whose causes are known, because they were written by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mamba_mender.models import create_model
from mamba_mender.nn import Scan, StatePoint
from mamba_mender.nn.causal_conv import CausalConv1d


class Layer(nn.Module):
    """Add what a function of the residual stream says to it."""

    def __init__(self, function):
        super().__init__()
        self.function, self.y, self.h = function, StatePoint("y"), StatePoint("h")

    def forward(self, h):
        return self.h(h + self.y(self.function(h)))


class Stack(nn.Module):
    """Layers over (batch, tokens, channels) inputs; the head reads some channels of the mean token."""

    def __init__(self, functions, reads):
        super().__init__()
        self.embedding = StatePoint("h")
        self.layers = nn.ModuleList(Layer(f) for f in functions)
        self.reads = reads

    def forward(self, tokens):
        h = self.embedding(tokens)
        for layer in self.layers:
            h = layer(h)
        return h.mean(1)[:, self.reads]


def writes(channel, function):
    """Make a layer's function that writes one channel, of six."""

    def write(h):
        return F.one_hot(torch.tensor(channel), h.shape[-1]).to(h) * function(h)[..., None]

    return write


class ScanLayer(nn.Module):
    """One scan with its convolution; the step of token t is softplus(steps[t]), so -40 keeps and does not write."""

    def __init__(self, channels, steps, taps):
        super().__init__()
        self.x, self.c, self.z = (StatePoint(letter, "forward") for letter in "xcz")
        self.y, self.h = StatePoint("y"), StatePoint("h")
        self.conv1d = CausalConv1d(channels, len(taps))
        with torch.no_grad():
            self.conv1d.weight.copy_(torch.tensor(taps).expand(channels, 1, -1))
            self.conv1d.bias.zero_()
        self.scan = Scan()
        self.register_buffer("steps", torch.tensor(steps))

    def forward(self, h):
        c = self.c(self.conv1d(self.x(h))).mT
        ones, delta = torch.ones_like(c[:, :1]), self.steps.to(c).expand_as(c)
        A = -torch.ones(c.shape[1], 1).to(c)
        s = self.scan(c, delta, A, ones, ones, None, self.z(torch.ones_like(h)).mT)
        return self.h(h + self.y(s.mT))


class Copier(nn.Module):
    """Say at the end which of five letters was token 3 of six: one scan that writes nothing else."""

    def __init__(self, taps=(0.0, 0.0, 0.0, 1.0)):
        super().__init__()
        self.embedding = StatePoint("h")
        self.layers = nn.ModuleList([ScanLayer(5, [-40.0, -40.0, -40.0, 9.0, -40.0, -40.0], taps)])

    def forward(self, ids):
        h = self.embedding(F.one_hot(ids, 5).double())
        for layer in self.layers:
            h = layer(h)
        return h[:, -1]


@pytest.fixture
def make_copier():
    return lambda *taps: Copier(taps).double() if taps else Copier().double()


@pytest.fixture
def copier(make_copier):
    return make_copier()


@pytest.fixture
def chain():
    """Layer 1 reads what 0 writes; 2 reads and writes what nobody else touches; the head reads what 1 and 2 write."""
    functions = [
        writes(1, lambda h: torch.tanh(2 * h[..., 0])),
        writes(2, lambda h: h[..., 1] + 0.7 * h[..., 4] ** 2),
        writes(5, lambda h: h[..., 3].sin()),
    ]
    return Stack(functions, [2, 5])


@pytest.fixture
def fork():
    """Layer 0 is read by layer 1 and by the head; layer 1 doubles and squares what it reads."""
    functions = [writes(1, lambda h: h[..., 0]), writes(2, lambda h: 2 * h[..., 1] + h[..., 1] ** 2)]
    return Stack(functions, [1, 2])


@pytest.fixture
def tokens():
    return torch.randn(40, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def vim():
    torch.manual_seed(0)
    sizes = {"img_size": 4, "patch_size": 2, "in_chans": 1, "embed_dim": 6, "depth": 2, "d_state": 3}
    model = create_model("vim_micro", num_classes=3, pool="class", **sizes).double().eval()
    for name, parameter in model.named_parameters():
        if "dt_proj" in name and name.endswith("bias"):
            parameter.data += 3  # steps near 0.5, so that the state matters
    return model


@pytest.fixture
def images():
    return torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def donors():
    return torch.randn(3, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.fixture
def relay():
    """Layer 2 reads what layer 1 writes, and layer 1 what layer 0 writes: no edge from 0 to 2."""
    functions = [
        writes(1, lambda h: torch.tanh(2 * h[..., 0])),
        writes(2, lambda h: torch.tanh(h[..., 1]) + 0.7 * h[..., 4] ** 2),
        writes(5, lambda h: 0.5 * h[..., 2] + 0.3 * h[..., 3]),
    ]
    return Stack(functions, [5])


@pytest.fixture
def long_chain():
    """Each of five layers reads channel 0, which nobody writes, what layer 0 writes, and what the one before writes."""
    functions = [writes(1, lambda h: torch.tanh(2 * h[..., 0]))]
    for channel in (2, 3, 4, 5):
        functions.append(writes(channel, lambda h, c=channel: torch.tanh(h[..., c - 1] + h[..., 1]) + h[..., 0] ** 2))
    return Stack(functions, [1, 3, 5])
