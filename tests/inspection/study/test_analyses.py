import json

import pytest
import torch
from matplotlib.figure import Figure

from mamba_mender._check import UserError
from mamba_mender.inspection.study import Inspection, inspect_model
from mamba_mender.inspection.study.analyses import ACROSS, OF_INPUT, choose_analyses
from mamba_mender.inspection.study.parts import NotMeasured
from mamba_mender.models import create_model
from mamba_mender.report.chapters import CHAPTERS
from mamba_mender.report.inspect_gallery import plot
from mamba_mender.taps import record

LETTERS = "\n abcdefgh"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Inspect a tiny classifier on three images, with everything."""
    torch.manual_seed(0)
    model = create_model(
        "vim_micro", num_classes=4, img_size=8, in_chans=1, patch_size=2, embed_dim=8, depth=2, d_state=2, pool="class"
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    images = torch.randn(3, 1, 8, 8)
    found = inspect_model(model, images, out=tmp_path_factory.mktemp("vim"), progress=False)
    return model, images, found


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Inspect a tiny language model of transformers on three windows of a text, with everything."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.MambaConfig(
        vocab_size=len(LETTERS), hidden_size=8, state_size=2, num_hidden_layers=3, intermediate_size=16
    )
    model = transformers.MambaForCausalLM(config)
    text = "".join(LETTERS[int(i)] for i in torch.randint(0, len(LETTERS), (120,)))
    out = tmp_path_factory.mktemp("mamba")
    return inspect_model(
        model, text, out=out, length=20, count=3, layers=[0, 2], tokenizer=list(LETTERS), progress=False
    )


def every(found):
    """List all results: where, name, result."""
    for analysis in (*OF_INPUT, *ACROSS):
        for which in [None] if analysis in ACROSS else range(len(found.inputs)):
            results = found.across(analysis.name) if which is None else found.results(analysis.name, which)
            yield from ((analysis.name, name, result) for name, result in results.items())


def test_everything_is_found_of_images_and_texts(seen, read):
    for found in (seen[2], read):
        assert found.errors == []
        lacking = {(where, name) for where, name, result in every(found) if isinstance(result, NotMeasured)}
        allowed = {
            ("evolution", "depth"),
            *(("prediction", name) for name in ("retrieval", "transfer")),
            *(("causality", name) for name in ("denoising", "noising", "screen", "consistency", "predictor")),
            *(("consistency", f"{layer}.h/selectivity") for layer in range(3)),
        }
        assert lacking <= allowed


def test_files_are_those_of_the_recursive_analysis(seen):
    folder = seen[2].folder
    names = {path.stem for path in (folder / "inputs/0000-input-0").glob("*.json")}
    expected = {"ssm_components", "attention", "neurons", "activations", "correlations", "recursive_patterns"}
    assert expected | {"evolution", "attribution", "input"} == names
    across = {path.stem for path in (folder / "across").glob("*.json")}
    assert across == {"consistency", "similarity", "prediction", "faithfulness", "causality"}
    assert json.loads((folder / "metadata.json").read_text())["finished"]


def test_numbers_are_those_of_a_record_made_by_hand(seen):
    from mamba_mender.inspection.attention import attention_rollout, hidden_attention
    from mamba_mender.inspection.dynamics import half_life

    model, images, found = seen
    with torch.no_grad(), record(model.eval()) as run:
        model(images[2:3])
    name = "layers.1.mixer.backward_scan"
    own = found.results("states", 2)[f"{name}/half_life"]
    torch.testing.assert_close(own.constant, half_life(run.scans[name]).constant, check_dtype=False)
    results = found.results("attention", 2)
    both = [scan for scan in run.scans.values() if scan.block == 1]
    torch.testing.assert_close(results["layer 1/map"].values, hidden_attention(both).values)
    rollout = attention_rollout(list(run.scans.values()), model.class_token_index)
    torch.testing.assert_close(results["rollout"].values, rollout.values, check_dtype=False)
    assert results["rollout"].position == 8  # the class token in the middle of 16 patches


def test_single_layers_are_looked_at(read):
    assert {name.split("/")[0] for name in read.results("attention")} == {
        "layer 0", "layer 2", "rollout", "block_rollout"
    }  # fmt: skip
    assert [str(key) for key in read.results("activations")["stream"].keys] == ["embedding", "0.h", "2.h"]
    assert read.metadata["scans"].startswith("of mamba_mender")


def test_one_input_says_what_it_cannot_say(seen, tmp_path):
    model, images, _ = seen
    found = inspect_model(model, images[:1], out=tmp_path, only=["consistency", "causality"], progress=False)
    assert found.across("consistency")["inputs"] == NotMeasured(
        "what inputs have in common needs two of one shape or more", failed=False
    )
    told = found.across("causality")
    assert not told["denoising"].failed
    assert torch.triu(told["graph"].total, 1).ne(0).any()  # of ablation


EXHIBITS = [exhibit for chapter in CHAPTERS for exhibit in chapter.exhibits]


@pytest.mark.parametrize("exhibit", EXHIBITS, ids=lambda exhibit: exhibit.name)
def test_the_page_can_show_it(exhibit, seen, read):
    shown = 0
    for found in (seen[2], read):
        which = None if exhibit.inputs == 0 else 0
        for drawn in exhibit.draw(found, which).values():
            if not isinstance(drawn, NotMeasured):
                shown += 1
                assert isinstance(drawn, Figure) or plot.dispatch(type(drawn)) is not plot.dispatch(object)
        assert all(sentence.endswith((".", ")")) for sentence in exhibit.say(found, which))
    assert shown or exhibit.name in ("depth-changes", "transfer")


def test_a_folder_is_read_again(read):
    found = Inspection.load(read.folder)
    assert found.inputs == read.inputs
    assert found.across("causality")["graph"].blocks == [0, 2]


def test_analyses_are_chosen_by_name():
    own, across = choose_analyses(["causality", "states"])
    assert [a.name for a in own] == ["states"]
    assert [a.name for a in across] == ["causality"]
    assert choose_analyses(None) == (list(OF_INPUT), list(ACROSS))
    with pytest.raises(UserError, match=r"no analysis 'atention'; the nearest are .*'attention'"):
        choose_analyses(["atention"])


def test_a_part_that_fails_leaves_the_others(seen, tmp_path, monkeypatch):
    from mamba_mender.inspection.study import of_patterns

    def fail(*_args, **_settings):
        raise ValueError("a planted failure")

    model, images, _ = seen
    monkeypatch.setattr(of_patterns, "change_points_in_time", fail)
    found = inspect_model(model, images[:1], out=tmp_path, only=["patterns"], progress=False)
    assert found.results("patterns")["0.h/changes"] == NotMeasured("a planted failure", failed=True)
    assert found.results("patterns")["0.h/stability"].values.shape == (1, 16)
    assert ("input 0", "patterns", "0.h/changes: a planted failure") in found.errors
    with pytest.raises(UserError, match=r"patterns, embedding/changes: a planted failure \(--strict\)"):
        inspect_model(model, images[:1], out=tmp_path / "s", only=["patterns"], strict=True, progress=False)
