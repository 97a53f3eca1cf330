import torch

from mamba_mender.data.seeding import generator_for


def draw(*key):
    return torch.rand(3, generator=generator_for(*key)).tolist()


def test_other_keys_give_other_streams():
    keys = [(0, "order", 0), (0, "order", 1), (1, "order", 0), (0, "augment", 0), (0, "order", 0, 0), ("0", "order", 0)]
    draws = [draw(*key) for key in keys]
    assert all(a != b for i, a in enumerate(draws) for b in draws[:i])


def test_does_not_touch_the_global_generator():
    before = torch.get_rng_state()
    draw(0, "order")
    assert torch.equal(torch.get_rng_state(), before)


def test_value_is_the_same_in_every_process():
    assert generator_for(0, "golden").initial_seed() == 13581136258134393073
