"""Random laws, and a small guarded network on digits, shared by the tests of the guard."""

import pytest
import torch

from mamba_mender.data import MemoryImages, Normalise
from mamba_mender.models import Vim
from mamba_mender.repair.guard import GuardConfig, StateGuard
from mamba_mender.repair.guard.law import Law, Modes, band_edges


@pytest.fixture(scope="session")
def draw_modes():
    """Draw an orthonormal basis over positions, cut into bands."""

    def draw(seed, *, tokens=5, bands=3):
        square = torch.randn(tokens, tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return Modes(torch.linalg.qr(square).Q, band_edges(tokens, bands))

    return draw


@pytest.fixture(scope="session")
def draw_law():
    """Draw a law in float64 whose covariances have eigenvalues from 0.1 to 10."""

    def draw(seed, *, tokens=5, channels=3, bands=3):
        generator = torch.Generator().manual_seed(seed)
        mean = torch.randn(tokens, channels, dtype=torch.float64, generator=generator)
        square = torch.randn(bands, channels, channels, dtype=torch.float64, generator=generator)
        values = 10 ** (2 * torch.rand(bands, 1, channels, dtype=torch.float64, generator=generator) - 1)
        vectors = torch.linalg.qr(square).Q
        return Law(mean, (vectors * values) @ vectors.mT)

    return draw


@pytest.fixture(scope="session")
def draw_states():
    """Draw states whose sample moments are those of a law, to rounding: a mode has as many samples as are asked for."""

    def draw(seed, law, modes, *, samples=40):
        generator = torch.Generator().manual_seed(seed)
        bands = []
        for scatter, width in zip(law.scatter, modes.widths(0).tolist(), strict=True):
            flat = torch.randn(samples, width, len(scatter), dtype=torch.float64, generator=generator)
            flat = flat - flat.mean(0)
            own = torch.einsum("nmc,nmd->cd", flat, flat) / (samples * width)
            white = torch.linalg.cholesky(torch.linalg.inv(own))
            bands.append(flat @ white @ torch.linalg.cholesky(scatter).mT)
        return law.mean + modes.join(bands)

    return draw


@pytest.fixture(scope="session")
def trained(digits, fit):
    """A Vim of two blocks and four tokens on normalised digits; tests must not change it."""
    torch.manual_seed(0)
    model = Vim(img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=24, depth=2, d_state=4, pool="mean")
    train = digits.train.batch(torch.arange(900))
    return fit(model, Normalise(digits.mean, digits.std)(train.images), train.labels, steps=80)


@pytest.fixture(scope="session")
def guard(digits, trained):
    """A guard of the trained network at the embedding and after both blocks; 900 images are healthy, 538 held out."""
    train, rest = (part.batch(torch.arange(len(part))) for part in (digits.train, digits.validation))
    pixels = (255 * torch.cat([train.images, rest.images])).round().byte()
    labels = torch.cat([train.labels, rest.labels])
    healthy, held_out = (MemoryImages(pixels[part], labels[part]) for part in (slice(900), slice(900, None)))
    return StateGuard.calibrate(
        trained,
        healthy,
        held_out,
        mean=digits.mean,
        std=digits.std,
        sites=["embedding", "0.h", "1.h"],
        config=GuardConfig(alpha=0.05),
        batch_size=450,
    )


@pytest.fixture(scope="session")
def test_set(digits):
    """Normalised test images, 359, their labels, and the same images shifted by noise, normalised."""
    batch = digits.test.batch(torch.arange(len(digits.test)))
    normalise = Normalise(digits.mean, digits.std)
    noise = torch.randn(batch.images.shape, generator=torch.Generator().manual_seed(5))
    return normalise(batch.images), batch.labels, normalise((batch.images + 0.4 * noise).clamp(0, 1))


@pytest.fixture
def shifted(guard, trained, test_set):
    """A guarded model that has seen 250 noisy images, in batches of 50."""
    guarded = guard(trained)
    with torch.no_grad():
        for part in test_set[2][:250].split(50):
            guarded(part)
    return guarded
