import json

import pytest
import torch

from mamba_mender.repair import ArmResult, MendConfig
from mamba_mender.report.contents import read_contents
from mamba_mender.report.story import tell_story


def rewrite(folder, arm, seed, correct):
    ArmResult.load(folder, arm, seed).save(folder, {"validation": correct, "test": correct, "clean_test": correct})


def remove(folder, *names):
    for name in names:
        for path in (folder / "results").glob(f"{name}-*"):
            path.unlink()


def test_a_gain_is_called_better(results):
    wrong, changed, helped = tell_story(read_contents(results)).cards
    assert (helped.number, helped.tone) == ("+35.0", "good")
    assert "Better: +35.0 points against the control" in helped.answer
    assert changed.number == "?"  # there are no weights, so nobody could look
    assert (wrong.number, wrong.tone) == ("\N{MINUS SIGN}40.0", "bad")
    assert "55.0" in wrong.answer
    assert "95.0" in wrong.answer


def test_an_interval_that_includes_0_is_no_proven_gain(results):
    for seed in (0, 1):  # the mended arms answer as the control does, but for one image
        correct = ArmResult.load(results, "control", seed).correct(results)["test"]
        correct[-1 - seed] = True
        for arm in ("ext", "int", "all"):
            rewrite(results, arm, seed, correct)
    story = tell_story(read_contents(results))
    card = story.cards[2]
    assert card.tone == "open"
    assert "No proven gain: +0.5 points against the control, but the interval from" in card.answer
    assert "includes 0." in card.answer
    assert any(sentence.startswith("On test images, no proven gain") for sentence in story.helped)


def test_the_arm_is_chosen_on_validation_images(results):
    for seed in (0, 1):  # best on test, worst on validation
        found = ArmResult.load(results, "int", seed)
        bad, good = torch.zeros(200, dtype=torch.bool), torch.ones(200, dtype=torch.bool)
        found.save(results, {"validation": bad, "swapped_validation": bad, "test": good, "clean_test": good})
    assert "+All, new test images" in tell_story(read_contents(results)).cards[2].answer


def test_without_a_control_nothing_can_be_said(results):
    remove(results, "control")
    card = tell_story(read_contents(results)).cards[2]
    assert card.number == "?"
    assert "there is no control to compare with" in card.answer


def test_a_base_as_good_as_clean_training_has_no_proven_flaw(results):
    remove(results, "clean")
    base = ArmResult.load(results, "base", 0)
    ArmResult.from_dict(base.to_dict() | {"arm": "clean"}).save(results, base.correct(results))
    story = tell_story(read_contents(results))
    assert story.cards[0].tone == "open"
    assert story.cards[0].answer.startswith("No flaw was shown.")
    assert any("No flaw was shown" in sentence for sentence in story.wrong)


@pytest.mark.parametrize(("seeds", "words"), [((0,), "One seed only"), ((0, 1), "2 seeds say little")])
def test_few_seeds_are_warned_of(results, seeds, words):
    if 1 not in seeds:
        for path in (results / "results").glob("*-1.*"):
            path.unlink()
    assert any(sentence.startswith(words) for sentence in tell_story(read_contents(results)).helped)


def test_arms_with_other_numbers_of_seeds_are_named(results):
    for path in (results / "results").glob("all-1.*"):
        path.unlink()
    contents = read_contents(results)
    assert contents.seeds == (1, 2)
    assert any(sentence.startswith("One seed only of +All and the control") for sentence in tell_story(contents).helped)


@pytest.mark.parametrize(("selection", "words"), [({}, "fixed beforehand"), ({"0.3": 0.8}, "chosen on validation")])
def test_weights_are_said_to_be_chosen_only_where_they_were(results, selection, words):
    for seed in (0, 1):
        found = ArmResult.load(results, "all", seed)
        told = found.to_dict() | {"weights": {"external": 1.0}, "selection": selection}
        ArmResult.from_dict(told).save(results, found.correct(results))
    told = tell_story(read_contents(results)).changed[1]
    assert f"weights of its losses: external 1, {words}" in told


@pytest.mark.parametrize("measure", ["path", "share"])
def test_the_measure_decides_the_words(results, measure):
    config = MendConfig(measure=measure, masked_batch_size=24).to_dict()
    (results / "config.json").write_text(json.dumps({"config": config}))
    story = tell_story(read_contents(results))
    assert ("the square of how fast the predicted log-probability moves" in story.changed[0]) == (measure == "path")
    assert ("what its states say must come from the object" in story.changed[0]) == (measure != "path")
    assert "+Ext, +All also see a batch of 24 masked images in each step" in story.training


def test_the_control_of_equal_time_is_said_to_take_other_steps(results):
    control = ArmResult.load(results, "control", 0)
    longer = ArmResult.from_dict(control.to_dict() | {"arm": "control-time", "steps": 55})
    longer.save(results, control.correct(results))
    assert "Control, equal time takes other steps: 55" in tell_story(read_contents(results)).training


def test_the_cheap_rival_is_named_when_it_wins(results):
    control = ArmResult.load(results, "control", 0)
    right = dict.fromkeys(control.accuracy, torch.ones(200, dtype=torch.bool))
    ArmResult.from_dict(control.to_dict() | {"arm": "swap"}).save(results, right)
    told = " ".join(tell_story(read_contents(results)).helped).replace("\N{NO-BREAK SPACE}", " ")
    assert "swapping backgrounds, reaches 100.0 %, more than +All (86.0 %)" in told
