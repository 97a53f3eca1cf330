"""The one table of corruptions: names, groups, parameters at five severities, sources.

Amplitudes (noise, contrast, density, quality ...) are ImageNet-C's at any size. What is counted in pixels is a
:class:`Length`: ImageNet-C's at a side of 224, so that such an image gets ImageNet-C's parameters, and a small image's
at 32 and below, linear in between.

A small image's lengths are CIFAR-10-C's, but where a higher severity would be nearer to the clean image, or hardly
differ from the last: glass moves fewer pixels at the lower severities, motion's fourth is a little wider, elastic's
corners come in rising order, blocks are larger, and flakes are two pixels or more. At 224 elastic's second severity is
the farthest from clean, as in ImageNet-C: its affine map is the largest there. Saturate takes colour away at the
severities 1 and 2 and adds it from 3 on, and spatter is water up to 3 and mud above.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mamba_mender.data.corruptions import blur, digital, noise, weather
from mamba_mender.data.corruptions.corruption import Corruption
from mamba_mender.data.corruptions.length import Length

PAPER = "Hendrycks and Dietterich 2019, ImageNet-C and CIFAR-10-C"


def _five(**columns: tuple | float | bool) -> tuple[dict, ...]:
    """Turn a column of five values (or one for all) for each parameter into a row for each severity."""
    spread = {name: column if isinstance(column, tuple) else (column,) * 5 for name, column in columns.items()}
    return tuple(dict(zip(spread, row, strict=True)) for row in zip(*spread.values(), strict=True))


def _lengths(at_32: tuple, at_224: tuple) -> tuple[Length, ...]:
    return tuple(Length(small, large) for small, large in zip(at_32, at_224, strict=True))


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "gaussian_noise": Corruption(
            group="noise",
            function=noise.gaussian_noise,
            severities=_five(sigma=(0.08, 0.12, 0.18, 0.26, 0.38)),
            source=PAPER,
        ),
        "shot_noise": Corruption(
            group="noise",
            function=noise.shot_noise,
            severities=_five(photons=(60, 25, 12, 5, 3)),
            source=PAPER,
        ),
        "impulse_noise": Corruption(
            group="noise",
            function=noise.impulse_noise,
            severities=_five(share=(0.03, 0.06, 0.09, 0.17, 0.27)),
            source=PAPER,
        ),
        "defocus_blur": Corruption(
            group="blur",
            function=blur.defocus_blur,
            severities=_five(
                radius=_lengths((0.3, 0.4, 0.5, 1, 1.5), (3, 4, 6, 8, 10)),
                softness=_lengths((0.4, 0.5, 0.6, 0.2, 0.1), (0.1, 0.5, 0.5, 0.5, 0.5)),
            ),
            source=PAPER,
        ),
        "glass_blur": Corruption(
            group="blur",
            function=blur.glass_blur,
            severities=_five(
                sigma=_lengths((0.4, 0.4, 0.4, 0.4, 0.4), (0.7, 0.9, 1, 1.1, 1.5)),
                reach=_lengths((0.1, 0.25, 0.5, 0.6, 1), (1, 2, 2, 3, 4)),
                rounds=(1, 1, 1, 2, 2),
            ),
            source=f"{PAPER}; the rounds are CIFAR-10-C's at any size, a small image's lengths ours",
        ),
        "motion_blur": Corruption(
            group="blur",
            function=blur.motion_blur,
            severities=_five(
                sigma=_lengths((1, 1.5, 2, 2.25, 2.5), (3, 5, 8, 12, 15)),
                reach=_lengths((6, 6, 6, 8, 9), (10, 15, 15, 15, 20)),
            ),
            source=PAPER,
        ),
        "zoom_blur": Corruption(
            group="blur",
            function=blur.zoom_blur,
            severities=_five(largest=(1.1, 1.15, 1.2, 1.25, 1.3), step=(0.01, 0.01, 0.02, 0.02, 0.03)),
            source=PAPER,
        ),
        "snow": Corruption(
            group="weather",
            function=weather.snow,
            severities=_five(
                mean=(0.1, 0.2, 0.55, 0.55, 0.55),
                sigma=0.3,
                flake=_lengths((2, 2, 2.25, 2.5, 2.5), (3, 2, 4, 4.5, 2.5)),
                threshold=(0.5, 0.5, 0.9, 0.85, 0.85),
                streak=_lengths((3, 4, 4, 6, 12), (4, 4, 8, 8, 12)),
                streak_reach=_lengths((8, 10, 10, 12, 14), (10, 12, 12, 12, 12)),
                keep=(0.8, 0.7, 0.7, 0.65, 0.55),
            ),
            source=PAPER,
        ),
        "frost": Corruption(
            group="weather",
            function=weather.frost,
            severities=_five(keep=(1, 0.8, 0.7, 0.65, 0.6), ice=(0.4, 0.6, 0.7, 0.7, 0.75)),
            source=f"{PAPER}; the ice is ours",
        ),
        "fog": Corruption(
            group="weather",
            function=weather.fog,
            severities=_five(density=(1.5, 2, 2.5, 2.5, 3), decay=(2, 2, 1.7, 1.5, 1.4)),
            source=PAPER,
        ),
        "brightness": Corruption(
            group="weather",
            function=weather.brightness,
            severities=_five(amount=(0.1, 0.2, 0.3, 0.4, 0.5)),
            source=PAPER,
        ),
        "contrast": Corruption(
            group="digital",
            function=digital.contrast,
            severities=_five(factor=(0.4, 0.3, 0.2, 0.1, 0.05)),
            source=PAPER,
        ),
        "elastic_transform": Corruption(
            group="digital",
            function=digital.elastic_transform,
            severities=_five(
                alpha=_lengths((0, 1.6, 2.56, 3.2, 3.2), (488, 488, 12.2, 17.08, 29.28)),
                sigma=_lengths((0, 6.4, 1.92, 1.28, 0.96), (170.8, 19.52, 2.44, 2.44, 2.44)),
                corner=_lengths((0.96, 1.6, 1.92, 2.24, 2.56), (24.4, 48.8, 4.88, 4.88, 4.88)),
            ),
            source=PAPER,
        ),
        "pixelate": Corruption(
            group="digital",
            function=digital.pixelate,
            severities=_five(
                block=_lengths(
                    tuple(1 / share for share in (0.85, 0.75, 0.65, 0.55, 0.45)),
                    tuple(1 / share for share in (0.6, 0.5, 0.4, 0.3, 0.25)),
                )
            ),
            source=f"{PAPER}; a small image's blocks are ours",
        ),
        "jpeg_compression": Corruption(
            group="digital",
            function=digital.jpeg_compression,
            severities=_five(quality=(25, 18, 15, 10, 7)),
            source=PAPER,
        ),
    }
)

VALIDATION_CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "speckle_noise": Corruption(
            group="noise",
            function=noise.speckle_noise,
            severities=_five(sigma=(0.15, 0.2, 0.35, 0.45, 0.6)),
            source=PAPER,
        ),
        "gaussian_blur": Corruption(
            group="blur",
            function=blur.gaussian_blur,
            severities=_five(sigma=_lengths((0.4, 0.6, 0.7, 0.8, 1), (1, 2, 3, 4, 6))),
            source=PAPER,
        ),
        "spatter": Corruption(
            group="weather",
            function=weather.spatter,
            severities=_five(
                drop=_lengths((0.7, 0.8, 1, 0.7, 0.7), (4, 3, 2, 1, 1)),
                share=(0.03, 0.14, 0.24, 0.5, 0.57),
                strength=(0.6, 0.6, 0.5, *_lengths((0.6, 0.6), (1.5, 1.5))),
                mud=(False, False, False, True, True),
            ),
            source=f"{PAPER}; the drops are ours, over the same share of the lens",
        ),
        "saturate": Corruption(
            group="digital",
            function=digital.saturate,
            severities=_five(factor=(0.3, 0.1, 2, 5, 20), offset=(0, 0, 0, 0.1, 0.2)),
            source=PAPER,
        ),
    }
)
