import pytest
import torch

from mamba_mender._check import UserError
from mamba_mender.data import Normalise
from mamba_mender.models import load_model
from mamba_mender.report.contents import read_contents
from mamba_mender.report.sight import look_at, make_scene


def test_reads_arms_diagnoses_and_what_each_model_looks_at(finished_run):
    found = read_contents(finished_run)
    assert list(found.arms) == ["base", "control", "ext", "int", "all", "clean"]
    assert list(found.sights) == ["base", "control", "ext", "int", "all"]
    assert found.absent == []
    assert found.decoyed
    assert found.chosen is not None
    assert found.chosen.name == "all"
    assert found.before is not None
    assert found.after is not None


def test_a_sight_agrees_with_the_diagnosis_and_the_model(finished_run):
    found = read_contents(finished_run)
    assert found.scene is not None
    assert found.before is not None
    scene, sight, diagnosis = found.scene, found.sights["base"], found.before
    assert scene.easy == len(diagnosis.easy.labels)
    for key, relevance in sight.maps.items():
        theirs = torch.cat([diagnosis.easy.maps[key], diagnosis.hard.maps[key]])
        torch.testing.assert_close(relevance, theirs, rtol=1e-3, atol=1e-6)
    model = load_model(finished_run / "models" / "base-0.safetensors").eval()
    with torch.no_grad():
        answers = model(Normalise(diagnosis.mean, diagnosis.std)(scene.images)).argmax(1)
    assert torch.equal(sight.answers, answers)
    assert sight.outside is not None
    assert ((sight.outside >= 0) & (sight.outside <= 1)).all()


def test_a_scene_has_as_many_images_as_can_be_afforded(finished_run, monkeypatch):
    diagnosis = read_contents(finished_run).before
    assert diagnosis is not None
    monkeypatch.setattr("mamba_mender.report.sight.MOST_PASSES", 1)
    scene = make_scene(diagnosis)
    assert scene.labels.tolist() == [*range(10), *range(10)]
    assert scene.easy == 10
    sight = look_at(finished_run / "models" / "base-0.safetensors", scene, diagnosis)
    assert sight.effect.shape == (20, 4, 4)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match="has neither results of an arm nor a diagnosis"):
        read_contents(tmp_path)
