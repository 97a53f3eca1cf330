from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamba_mender.data import Length

PIXELS = st.floats(0, 50)


@given(at_32=PIXELS, at_224=PIXELS, side=st.integers(1, 32))
def test_a_small_image_keeps_what_32_pixels_have(at_32, at_224, side):
    assert Length(at_32, at_224).pixels(side) == at_32


@given(at_32=PIXELS, at_224=PIXELS)
def test_it_is_met_at_both_sides_half_way_between_and_doubled_beyond(at_32, at_224):
    length = Length(at_32, at_224)
    assert length.pixels(224) == pytest.approx(at_224)
    assert length.pixels(128) == pytest.approx((at_32 + at_224) / 2)
    assert length.pixels(448) == pytest.approx(2 * at_224)


@given(at_32=PIXELS, grown=PIXELS, sides=st.lists(st.integers(1, 600), min_size=2))
def test_it_grows_with_the_side(at_32, grown, sides):
    lengths = [Length(at_32, at_32 + grown).pixels(side) for side in sorted(sides)]
    assert all(small <= large + 1e-9 for small, large in pairwise(lengths))
