from contextlib import contextmanager

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn


@pytest.fixture(scope="session")
def digits():
    """Give a small trained net over pixels, and 60 images and labels that it was not trained on."""
    data = load_digits()
    images = torch.tensor(data.images / 16.0).float()[:, None]
    labels = torch.tensor(data.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(120):
            loss = nn.functional.cross_entropy(net(images[:1200]), labels[:1200])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    net.zero_grad()
    return net.eval(), images[1300:1360], labels[1300:1360]


@pytest.fixture
def linear():
    """Build a linear model of two classes, its weight difference w, and images whose margin is w·x + b > 0."""

    def build(count=12, side=5, seed=0, low=0.3, high=0.7):
        draw = torch.Generator().manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 2))
        with torch.no_grad():
            model[1].weight.copy_(torch.randn(2, side * side, generator=draw))
        images = low + (high - low) * torch.rand(count, 1, side, side, generator=draw)
        logits = model(images).detach()
        labels = logits.argmax(1)
        w = (model[1].weight[0] - model[1].weight[1]).detach()
        return model, images, labels, w, (logits[:, 0] - logits[:, 1]).abs()

    return build


class Counting(nn.Module):
    """A model that learns from every pass: it counts the images, unless it is held."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.frozen = inner, False
        self.register_buffer("count", torch.zeros(()))

    def forward(self, images):
        if not self.frozen:
            self.count += len(images)
        return self.inner(images)

    @contextmanager
    def held(self):
        before, self.frozen = self.frozen, True
        try:
            yield
        finally:
            self.frozen = before


class Quantised(nn.Module):
    """A model of images rounded to a few shades, through which no gradient comes; its stand-in does not round."""

    def __init__(self, inner, shades=16):
        super().__init__()
        self.inner, self.shades = inner, shades

    def forward(self, images):
        return self.inner((images * self.shades).round() / self.shades)

    def surrogate(self):
        return self.inner


class RandomGradient(nn.Module):
    """A model whose gradient is led astray at random, while its logits are as they were."""

    def __init__(self, inner, size=3.0):
        super().__init__()
        self.inner, self.size = inner, size

    def forward(self, images):
        logits = self.inner(images)
        stray = torch.randn(images[0].numel(), logits.shape[1]) * self.size
        moved = images.flatten(1) @ stray
        return logits + (moved - moved.detach())


class Centred(nn.Module):
    """A model that takes each batch's mean image away before it looks."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images - images.mean(0, keepdim=True))


@pytest.fixture
def models():
    """Give the models that attacks have trouble with, by name."""
    return {"counting": Counting, "quantised": Quantised, "random": RandomGradient, "centred": Centred}
