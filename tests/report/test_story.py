import pytest
import torch

from mamba_mender.repair import ArmResult
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
    assert story.cards[0].answer.startswith("No proven flaw.")
    assert any("not proven to cost right answers" in sentence for sentence in story.wrong)


@pytest.mark.parametrize(("seeds", "words"), [((0,), "One seed only"), ((0, 1), "2 seeds say little")])
def test_few_seeds_are_warned_of(results, seeds, words):
    if 1 not in seeds:
        for path in (results / "results").glob("*-1.*"):
            path.unlink()
    assert any(sentence.startswith(words) for sentence in tell_story(read_contents(results)).helped)


def test_the_cheap_rival_is_named_when_it_wins(results):
    control = ArmResult.load(results, "control", 0)
    right = dict.fromkeys(control.accuracy, torch.ones(200, dtype=torch.bool))
    ArmResult.from_dict(control.to_dict() | {"arm": "swap"}).save(results, right)
    told = " ".join(tell_story(read_contents(results)).helped).replace("\N{NO-BREAK SPACE}", " ")
    assert "swapping backgrounds, reaches 100.0 %, more than +All (86.0 %)" in told
