from mamba_mender.report.contents import read_contents
from mamba_mender.report.pictures import even_share, make_pictures, outside_by_arm, pick_rows


def test_what_was_not_measured_is_named(results):
    pictures, missing = make_pictures(read_contents(results))
    assert set(pictures) == {"accuracy", "gain", "training"}
    assert set(missing) == {"looks", "outside", "after", "channels", "external", "internal", "sweeps"}


def test_images_are_picked_by_confidence(finished_run):
    found = read_contents(finished_run)
    assert found.scene is not None
    assert found.before is not None
    rows = pick_rows(found.scene, found.before)
    assert [row < found.scene.easy for row in rows] == [True] * 3 + [False] * 3
    shown = found.before.easy.confidence[rows[:3]]
    assert shown[0] == found.before.easy.confidence.max()
    assert shown[0] >= shown[1] >= shown[2]
    assert len(set(found.scene.labels[rows[:3]].tolist())) == 3


def test_shares_outside_are_means_over_the_easy_and_the_hard_images(finished_run):
    found = read_contents(finished_run)
    assert found.scene is not None
    shares = outside_by_arm(found)
    sight = found.sights["ext"]
    assert sight.outside is not None
    assert abs(shares["hard"]["ext"].mean - sight.outside[found.scene.easy :].mean().item()) < 1e-6
    assert even_share(found.scene) == 4 / 64  # a patch of 2 x 2 in 8 x 8 pixels
