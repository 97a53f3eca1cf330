from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from mamba_mender._check import UserError
from mamba_mender.models import Vim
from mamba_mender.repair.guard import GuardConfig, StateGuard
from mamba_mender.repair.guard.health import false_alarm_weights
from mamba_mender.repair.guard.state_guard import default_sites


def test_a_saved_guard_is_the_same_guard(guard, trained, test_set, tmp_path):
    again = StateGuard.load(guard.save(tmp_path / "guard.safetensors"))
    assert again.config == guard.config
    assert again.card == guard.card
    assert list(again.laws) == ["embedding", "0.h", "1.h"]
    first, second = guard(trained), again(trained)
    with torch.no_grad():
        for part in test_set[2].split(60):
            assert torch.equal(first(part), second(part))


def test_the_card_says_what_it_was_calibrated_on(guard, digits):
    assert guard.card["healthy"] == 900
    assert guard.card["held_out"] == 538
    assert guard.card["mean"] == digits.mean
    assert len(guard.card["model"]) == 64


def test_statistics_and_scores_are_of_disjoint_samples(guard):
    assert guard.laws["0.h"].samples <= 900
    assert guard.laws["0.h"].gauge.scores.shape == (3, 538)


def test_a_third_is_set_apart_where_nothing_is_held_out(trained, test_set):
    found = StateGuard.calibrate(
        trained, test_set[0], labels=test_set[1], sites=["0.h"], batch_size=60, config=GuardConfig(alpha=0.1)
    )
    assert found.card["healthy"] == 240
    assert found.card["held_out"] == 119


def test_it_says_what_too_few_held_out_samples_leave_unjudged(guard):
    first = next(iter(guard.laws.values()))
    count, keys = first.gauge.scores.shape[1], len(guard.laws)
    edge = 1 / ((count + 1) * 0.25)  # what the least p-value comes to at the first site's distance
    few, enough = (guard.with_config(alpha=first.rarity + factor * edge).gaps() for factor in (0.9, 1.1))
    assert few[0].startswith(f"With {count} held-out samples health is told by the distance at 'embedding' alone")
    assert not any("alone" in sentence for sentence in enough)
    needed = int(few[0].rpartition(" ")[2].rstrip("."))
    alpha = first.rarity + 0.9 * edge
    weights = [false_alarm_weights(keys, n, alpha - 1 / (n + 1))[0][-1] for n in (needed - 1, needed)]
    assert weights[0] == 0 < weights[1]
    unwatched = "mean of a stream is not watched"
    assert (unwatched in " ".join(enough)) == (not first.drift_limit.isfinite())
    laws = {key: replace(law, drift_limit=torch.tensor(float("inf"))) for key, law in guard.laws.items()}
    assert unwatched in " ".join(replace(guard, laws=laws).gaps())


def test_other_weights_are_refused(guard):
    other = Vim(img_size=8, patch_size=4, in_chans=1, num_classes=10, embed_dim=24, depth=2, d_state=4, pool="mean")
    with pytest.raises(UserError, match="calibrated on other weights"):
        guard(other)


def test_sites_can_be_chosen_from_what_was_measured(guard, trained):
    assert list(guard.at(["1.h", "embedding"]).laws) == ["embedding", "1.h"]
    with pytest.raises(ValueError, match=r"no site '3.h'; it has \['embedding', '0.h', '1.h'\]"):
        guard.at(["3.h"])


def test_bands_cannot_be_changed_afterwards(guard):
    assert guard.with_config(mode="episodic").config.mode == "episodic"
    with pytest.raises(ValueError, match="bands are measured"):
        guard.with_config(bands=2)


def test_too_few_held_out_samples_are_refused(trained, test_set):
    with pytest.raises(UserError, match=r"20 held-out samples are too few for alpha=0.03: at least 67"):
        StateGuard.calibrate(trained, test_set[0][:50], test_set[0][50:70])


def test_images_need_their_normalisation(trained, digits):
    with pytest.raises(UserError, match="images need mean and std"):
        StateGuard.calibrate(trained, digits.train, digits.validation)


def test_held_out_must_be_of_the_same_kind(trained, digits, test_set):
    with pytest.raises(UserError, match="held_out must be a tensor"):
        StateGuard.calibrate(trained, test_set[0], digits.validation)
    with pytest.raises(UserError, match="held_out must be images"):
        StateGuard.calibrate(trained, digits.train, test_set[0], mean=digits.mean, std=digits.std)


def test_a_third_of_the_samples_is_set_apart_however_they_are_batched(trained, test_set):
    for size in (60, 250, 7):
        guard = StateGuard.calibrate(trained, test_set[0][:240], batch_size=size, config=GuardConfig(alpha=0.03))
        assert (guard.card["healthy"], guard.card["held_out"]) == (160, 80)


def test_each_input_needs_a_label(trained, test_set):
    with pytest.raises(UserError, match="359 inputs came with 100 labels"):
        StateGuard.calibrate(trained, test_set[0], labels=test_set[1][:100])


def test_no_sites_are_refused(guard):
    with pytest.raises(ValueError, match="at least one site"):
        guard.at([])


def test_the_places_keep_their_order_in_a_file(guard, tmp_path):
    again = StateGuard.load(guard.save(tmp_path / "guard.safetensors"))
    assert list(again.faults) == list(guard.faults) == ["embedding", "0.h", "1.h"]


def test_a_model_that_is_never_right_is_refused(trained, test_set):
    with pytest.raises(UserError, match="no healthy sample right"):
        StateGuard.calibrate(
            trained, test_set[0][:80], test_set[0][80:160], labels=torch.full((80,), 11), sites=["0.h"]
        )


def test_a_model_without_a_residual_stream_is_refused():
    with pytest.raises(ValueError, match="Linear has no residual stream"):
        default_sites(torch.nn.Linear(2, 2))


def test_sites_are_spread_evenly_over_deep_models():
    model = Vim(img_size=8, patch_size=4, in_chans=1, num_classes=2, embed_dim=8, depth=12, d_state=2)
    assert default_sites(model) == ["embedding", "0.h", "2.h", "4.h", "6.h", "8.h"]


@pytest.mark.parametrize(("name", "message"), [("none.safetensors", "there is no file"), ("bad.safetensors", "damag")])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, message):
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match=message):
        StateGuard.load(tmp_path / name)


def test_a_file_without_a_guard_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="holds no guard"):
        StateGuard.load(tmp_path / "other.safetensors")


def test_another_suffix_is_refused(guard, tmp_path):
    with pytest.raises(ValueError, match=r"must end in '.safetensors'"):
        guard.save(tmp_path / "guard.pt")


def test_directions_that_no_fitted_sample_showed_make_no_other_strange():
    """Fewer samples than channels: other healthy ones score as the fitted do, and a louder input is strange."""
    torch.manual_seed(0)
    model = Vim(img_size=8, patch_size=4, in_chans=3, num_classes=10, embed_dim=96, depth=1, d_state=2).eval()
    images = torch.randn(260, 3, 8, 8)
    guard = StateGuard.calibrate(model, images[:60], images[60:160])
    assert guard.laws["embedding"].gauge.scores[0].max() < 20  # 67 with the usual ridge
    guarded = guard(model)
    with torch.no_grad():
        guarded(3 * images[160:] + 1)
    assert (guarded.last_health < 1).float().mean() > 0.9
