import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import effect_graph


def test_the_chain_has_one_edge(chain, tokens):
    found = effect_graph(chain, tokens)
    assert found.edges(1e-9).tolist() == [[False, True, False], [False] * 3, [False] * 3]
    assert_close(found.direct, found.total)
    before = (torch.tanh(2 * tokens[..., 0]) + tokens[..., 1] + 0.7 * tokens[..., 4] ** 2).norm(dim=1)
    assert_close(found.total[0, 1], (torch.tanh(2 * tokens[..., 0]).norm(dim=1) / before).mean())


def test_what_goes_through_another_block_is_not_direct(relay, tokens):
    found = effect_graph(relay, tokens)
    assert (found.total > 1e-3).tolist() == [[False, True, True], [False, False, True], [False] * 3]
    assert found.edges(1e-9).tolist() == [[False, True, False], [False, False, True], [False] * 3]


def test_a_donor_that_is_the_input_has_no_effect(vim, images):
    assert effect_graph(vim, images, donor=images).total.abs().max() < 1e-12


def test_on_a_vim(vim, images, donors):
    found = effect_graph(vim, images, donor=donors)
    assert found.blocks == [0, 1]
    assert found.total[0, 1] > 1e-3
    assert found.total.tril().abs().max() == 0


def test_blocks_that_were_not_chosen_are_held_too(relay, tokens):
    """Layer 0 reaches layer 2 through layer 1 alone, whoever asks for which of them."""
    found = effect_graph(relay, tokens, blocks=[0, 2])
    assert found.blocks == [0, 2]
    assert found.total[0, 1] > 1e-3
    assert found.direct.abs().max() < 1e-12


def held_by_hand(model, ids, block, later):
    """y of a later block, where the mixer of a block is silenced and each block between adds what it added.

    Also where only the mixers between are held.
    """
    stack = next(module for name, module in model.named_modules() if name.endswith(".layers"))
    mixers = {int(name.split(".layers.")[1].split(".")[0]): module for name, module in model.named_modules()
              if hasattr(module, "A_log")}  # fmt: skip
    first = lambda output: output if isinstance(output, torch.Tensor) else output[0]  # noqa: E731
    again = lambda output, new: new if isinstance(output, torch.Tensor) else (new, *output[1:])  # noqa: E731

    def run(*hooks):
        handles = [module.register_forward_hook(hook, with_kwargs=True) for module, hook in hooks]
        with torch.no_grad():
            model(ids, use_cache=False)
        for handle in handles:
            handle.remove()

    added, said = {}, {}

    def keep(number):
        def hook(_module, args, kwargs, output):
            added[number] = first(output) - (args[0] if args else kwargs["hidden_states"])

        return hook

    def see(kept, number):
        return lambda _module, _args, _kwargs, output: kept.__setitem__(number, first(output))

    run(*((layer, keep(i)) for i, layer in enumerate(stack)), *((m, see(said, i)) for i, m in mixers.items()))
    silence = (mixers[block], lambda _m, _a, _k, output: again(output, torch.zeros_like(first(output))))

    def hold(number):
        def hook(_module, args, kwargs, output):
            return again(output, (args[0] if args else kwargs["hidden_states"]) + added[number])

        return hook

    def repeat(number):
        return lambda _module, _args, _kwargs, output: again(output, said[number])

    between = range(block + 1, later)
    whole, only_mixers = {}, {}
    run(silence, *((stack[i], hold(i)) for i in between), (mixers[later], see(whole, later)))
    run(silence, *((mixers[i], repeat(i)) for i in between if i in mixers), (mixers[later], see(only_mixers, later)))
    size = said[later].flatten(1).norm(dim=1)
    return [((y[later] - said[later]).flatten(1).norm(dim=1) / size).mean() for y in (whole, only_mixers)]


def test_whatever_is_between_is_held(make_family, family):
    """Attention, MLPs and experts too; blocks as they are in the family's own code, held one after the other."""
    pytest.importorskip("transformers")
    model = make_family(family)
    ids = torch.randint(3, 40, (2, 8), generator=torch.Generator().manual_seed(3))
    found = effect_graph(model, ids)
    cause, effect = found.blocks[0], found.blocks[-1]
    expected, only_mixers = held_by_hand(model, ids, cause, effect)
    assert_close(found.direct[0, -1], expected.double(), rtol=1e-3, atol=1e-5)
    if family in ("Mamba", "FalconMamba", "Mamba2", "Zamba", "Zamba2"):  # Zamba's attention speaks to the mixer only
        assert_close(expected, only_mixers)
    else:
        assert (expected - only_mixers).abs() > 1e-4
