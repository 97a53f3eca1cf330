"""The table is ImageNet-C's where it says so."""

import pytest

from mamba_mender.data import CORRUPTIONS, VALIDATION_CORRUPTIONS

ALL = {**CORRUPTIONS, **VALIDATION_CORRUPTIONS}


def test_the_fifteen_and_the_four_by_group():
    groups = {}
    for name, corruption in CORRUPTIONS.items():
        groups.setdefault(corruption.group, []).append(name)
    assert groups == {
        "noise": ["gaussian_noise", "shot_noise", "impulse_noise"],
        "blur": ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"],
        "weather": ["snow", "frost", "fog", "brightness"],
        "digital": ["contrast", "elastic_transform", "pixelate", "jpeg_compression"],
    }
    assert list(VALIDATION_CORRUPTIONS) == ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
    assert not CORRUPTIONS.keys() & VALIDATION_CORRUPTIONS.keys()  # what chooses must not be what tests


@pytest.mark.parametrize("name", ALL)
def test_five_severities_of_the_same_parameters_and_a_source(name):
    corruption = ALL[name]
    assert len(corruption.severities) == 5
    assert len({tuple(row) for row in corruption.severities}) == 1
    assert "Hendrycks" in corruption.source


@pytest.mark.parametrize(
    ("name", "parameter", "published"),
    [
        ("gaussian_noise", "sigma", [0.08, 0.12, 0.18, 0.26, 0.38]),
        ("shot_noise", "photons", [60, 25, 12, 5, 3]),
        ("impulse_noise", "share", [0.03, 0.06, 0.09, 0.17, 0.27]),
        ("defocus_blur", "radius", [3, 4, 6, 8, 10]),
        ("glass_blur", "sigma", [0.7, 0.9, 1, 1.1, 1.5]),
        ("glass_blur", "reach", [1, 2, 2, 3, 4]),
        ("motion_blur", "sigma", [3, 5, 8, 12, 15]),
        ("zoom_blur", "step", [0.01, 0.01, 0.02, 0.02, 0.03]),
        ("snow", "flake", [3, 2, 4, 4.5, 2.5]),
        ("frost", "ice", [0.4, 0.6, 0.7, 0.7, 0.75]),
        ("fog", "density", [1.5, 2, 2.5, 2.5, 3]),
        ("brightness", "amount", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("contrast", "factor", [0.4, 0.3, 0.2, 0.1, 0.05]),
        ("elastic_transform", "alpha", [244 * share for share in (2, 2, 0.05, 0.07, 0.12)]),
        ("pixelate", "block", [1 / share for share in (0.6, 0.5, 0.4, 0.3, 0.25)]),
        ("jpeg_compression", "quality", [25, 18, 15, 10, 7]),
        ("speckle_noise", "sigma", [0.15, 0.2, 0.35, 0.45, 0.6]),
        ("gaussian_blur", "sigma", [1, 2, 3, 4, 6]),
        ("saturate", "factor", [0.3, 0.1, 2, 5, 20]),
    ],
)
def test_an_image_of_224_gets_the_published_parameters(name, parameter, published):
    given = [ALL[name].parameters(severity, 224)[parameter] for severity in range(1, 6)]
    assert given == pytest.approx(published)
