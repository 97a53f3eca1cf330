import errno
import json

import pytest
import safetensors.torch
import torch
from torch import nn

from mamba_mender import __version__
from mamba_mender._check import UserError
from mamba_mender.models import create_model, load_model, read_card, save_model


def make_model(**settings):
    small = {"num_classes": 3, "img_size": 8, "in_chans": 1, "embed_dim": 16, "depth": 2}
    return create_model("vim_micro", **small | settings)


def assert_same(model, other):
    state, expected = model.state_dict(), other.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert tensor.dtype == expected[name].dtype
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_round_trip_is_exact(tmp_path, dtype, pool):
    model = make_model(pool=pool, img_size=(8, 12)).to(dtype)
    path = save_model(model, tmp_path / "run" / "models" / "base.safetensors")
    again = load_model(path)
    assert_same(again, model)
    images = torch.randn(2, 1, 8, 12, dtype=dtype)
    assert torch.equal(again(images), model(images))
    assert again.config == model.config
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_a_loaded_model_owns_its_weights(tmp_path):
    path = save_model(make_model(), tmp_path / "model.safetensors")
    with torch.no_grad():
        load_model(path).pos_embed.zero_()
    assert load_model(path).pos_embed.abs().sum() > 0


def test_loading_draws_no_random_numbers(tmp_path):
    path = save_model(make_model(), tmp_path / "model.safetensors")
    before = torch.get_rng_state()
    load_model(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_card_is_beside_the_weights_and_in_them(tmp_path):
    extra = {"data": {"mean": [0.3], "std": [0.2]}, "classes": ["a", "b", "c"]}
    model = make_model()
    path = save_model(model, tmp_path / "model.safetensors", extra=extra)
    card = read_card(path)
    assert card == json.loads((tmp_path / "model.json").read_text())
    assert (card["architecture"], card["config"]) == ("Vim", model.config)
    assert card["versions"] == {"mamba_mender": __version__, "torch": torch.__version__}
    assert card["data"] == extra["data"]
    (tmp_path / "model.json").unlink()
    assert_same(load_model(path), model)


def test_another_number_of_classes_drops_the_head_and_says_so(tmp_path):
    model = make_model()
    path = save_model(model, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="trained for 3 classes, 7 were asked for: its head is dropped"):
        again = load_model(path, num_classes=7)
    assert again(torch.randn(2, 1, 8, 8)).shape == (2, 7)
    again.head = model.head
    assert_same(again, model)


def test_the_same_number_of_classes_keeps_the_head(tmp_path):
    model = make_model()
    assert_same(load_model(save_model(model, tmp_path / "model.safetensors"), num_classes=3), model)


@pytest.mark.parametrize("fault", ["write_flushed", "replace"])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch, fault):
    old = make_model()
    path = save_model(old, tmp_path / "model.safetensors")
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(target, content):
        if fault == "write_flushed":
            with target.open("wb") as file:
                file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr({"write_flushed": "mamba_mender._files.write_flushed", "replace": "os.replace"}[fault], fail)
    with pytest.raises(OSError, match="No space left"):
        save_model(make_model(), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == files
    assert_same(load_model(path), old)


def test_refuses_to_save_what_it_could_not_load(tmp_path):
    with pytest.raises(TypeError, match=r"cannot save a Sequential, only \['Vim'\]; if it wraps one"):
        save_model(nn.Sequential(make_model()), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"must end in '.safetensors', got .*model.pt"):
        save_model(make_model(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"extra must not hold \['config'\]"):
        save_model(make_model(), tmp_path / "model.safetensors", extra={"config": {}})
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_model(make_model(), tmp_path / "model.safetensors", extra={"classes": {1, 2}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0, 0.0001, 0.02, 0.5, 0.9999])
@pytest.mark.parametrize("read", [load_model, read_card])
def test_a_truncated_file_is_refused(tmp_path, share, read):
    path = save_model(make_model(), tmp_path / "model.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"model.safetensors' is truncated or is no safetensors file .*copy it anew"):
        read(path)


@pytest.mark.parametrize("read", [load_model, read_card])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(UserError, match=r"there is no file .*nowhere.safetensors"):
        read(tmp_path / "nowhere.safetensors")


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    safetensors.torch.save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="has no model card, so it was not written by save_model"):
        load_model(tmp_path / "foreign.safetensors")


def rewrite(path, change):
    """Write a model file anew with another card and other weights."""
    card, state = read_card(path), safetensors.torch.load_file(path)
    change(card, state)
    safetensors.torch.save_file(state, path, {"card": json.dumps(card)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card, _: card.update(architecture="Vin"), r"holds a 'Vin', which this version .*nearest are \['Vim'\]"),
        (lambda card, _: card["config"].update(stryde=4), "sets 'stryde', which Vim does not know"),
        (lambda card, _: card.pop("config"), "the model card .* has no 'config'"),
        (lambda _, state: state.pop("norm_f.weight"), "do not fit Vim: 1 missing: norm_f.weight"),
        (lambda _, state: state.update(gamma=torch.ones(1)), "do not fit Vim: 1 unexpected: gamma"),
        (
            lambda _, state: state.update({"norm_f.weight": torch.ones(5)}),
            r"1 of another shape: norm_f.weight \(5,\), not \(16,\)",
        ),
        (
            lambda card, _: card["config"].update(depth=1),
            r"do not fit Vim: \d+ unexpected: layers.1.mixer.A_b_log, .*, \.\.\.\.$",
        ),
    ],
)
def test_weights_or_a_card_that_do_not_fit_are_refused(tmp_path, change, message):
    path = save_model(make_model(), tmp_path / "model.safetensors")
    rewrite(path, change)
    with pytest.raises(UserError, match=message):
        load_model(path)


def test_a_damaged_card_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file({}, path, {"card": '{"architecture": '})
    with pytest.raises(UserError, match=r"the model card in .* is damaged"):
        load_model(path)
