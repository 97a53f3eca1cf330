from mamba_mender.stress import CLEAN, Cell, Perturbation


def test_keys_differ_with_everything_that_decides_a_cell():
    one = {"perturbation": Perturbation("noise", "gaussian", 0.3), "order": "shuffled", "batch_size": 200}
    one |= {"model": "vim", "count": 100, "warmup": 0, "seed": 0}
    other = {"perturbation": CLEAN, "order": "drifting", "batch_size": 4, "model": "tent", "count": 99}
    other |= {"warmup": 9, "seed": 1}
    keys = {Cell(**(one | {name: value})).key for name, value in other.items()} | {Cell(**one).key}
    assert len(keys) == len(one) + 1


def test_levels_near_each_other_have_their_own_names():
    names = {Perturbation("noise", "gaussian", level).key for level in (0.1, 0.10001, 0.11, 1e-7)}
    assert len(names) == 4


def test_a_key_can_be_a_file_name():
    key = Cell("a/b model: c", Perturbation("attack", "pgd:l2 x", 8 / 255)).key
    assert not set(key) & set('/\\:*?"<>| ')
    assert "0.0313725" in key


def test_comes_back_from_json():
    cell = Cell("vim", Perturbation("corruption", "fog", 3.0), "label-sorted", 4, 10, 5, 7)
    assert Cell.from_dict(cell.to_dict()) == cell
