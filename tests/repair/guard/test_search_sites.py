import json
from dataclasses import replace

import pytest

from mamba_mender._check import UserError
from mamba_mender.data import VALIDATION_CORRUPTIONS
from mamba_mender.repair.guard.search_sites import SiteScore, _choose, candidate_sites, search_sites


def test_candidates_are_those_of_a_deep_model():
    blocks = tuple(f"{n}.h" for n in range(8))
    assert candidate_sites(["embedding", *blocks]) == {
        "embedding": ("embedding",),
        "all": ("embedding", *blocks),
        "first half": ("embedding", *blocks[:4]),
        "first three quarters": ("embedding", *blocks[:6]),
        "blocks": blocks,
    }


def test_equal_candidates_are_tried_once():
    assert candidate_sites(["embedding", "0.h"]) == {
        "embedding": ("embedding",),
        "all": ("embedding", "0.h"),
        "blocks": ("0.h",),
    }
    assert candidate_sites(["0.h"]) == {"all": ("0.h",)}


def test_a_search_on_digits(guard, trained, digits):
    found = search_sites(guard, trained, digits.validation, severities=(4,), count=100)
    assert list(found.scores) == ["none", "embedding", "all", "first half", "blocks"]
    assert found.scores["none"].corrupted.keys() == VALIDATION_CORRUPTIONS.keys()
    assert found.sites == found.scores[found.choice].sites != ()
    assert found.scores[found.choice].mean > found.scores["none"].mean
    assert list(guard.at(found.sites).laws) == list(found.sites)
    assert json.loads(json.dumps(found.to_dict()))["choice"] == found.choice


def test_the_choice_keeps_clean_images_and_then_has_the_highest_mean():
    base = SiteScore((), 0.9, {"a": 0.1})
    few, many = SiteScore(("0.h",), 0.9, {"a": 0.5}), SiteScore(("0.h", "1.h"), 0.9, {"a": 0.5})
    harmful = SiteScore(("2.h",), 0.8, {"a": 0.9})
    assert _choose({"none": base, "many": many, "few": few, "harmful": harmful}) == "few"
    assert _choose({"none": base, "harmful": harmful}) == "harmful"


def test_images_need_their_normalisation(guard, trained, digits):
    with pytest.raises(UserError, match="images need mean and std"):
        search_sites(replace(guard, card={}), trained, digits.validation)


def test_a_severity_is_needed(guard, trained, digits):
    with pytest.raises(UserError, match="at least one image and one severity"):
        search_sites(guard, trained, digits.validation, severities=())
