import pytest
import torch
from torch.testing import assert_close

from mamba_mender.inspection.causality import class_logit, path_effects
from mamba_mender.inspection.predict import predict
from mamba_mender.taps import Edit, edit, record


def reads(channel):
    return lambda logits: logits[:, channel]


def test_a_block_that_the_head_does_not_read_has_no_direct_effect(chain, tokens):
    found = path_effects(chain, tokens, reads(0))  # the channel that layer 1 writes
    assert found.blocks == [0, 1, 2]
    y0 = torch.tanh(2 * tokens[..., 0])
    assert_close(found.total[0], -y0.mean(1))
    assert found.direct[0].abs().max() < 1e-12
    assert_close(found.indirect[0], found.total[0])
    assert_close(found.mediated[0], found.total[0])
    assert_close(found.direct[1], -(y0 + tokens[..., 1] + 0.7 * tokens[..., 4] ** 2).mean(1))
    assert found.indirect[1:].abs().max() < 1e-12
    assert found.total[2].abs().max() < 1e-12


def test_a_fork_has_both(fork, tokens):
    """Layer 0 adds a to channel 1, and layer 1 says 2 c + c^2 of it: every effect can be written down."""
    a, b = tokens[..., 0], tokens[..., 1]
    found = path_effects(fork, tokens, lambda logits: logits.sum(1))
    direct = -a
    indirect = (2 * b + b**2) - (2 * (a + b) + (a + b) ** 2)
    assert_close(found.direct[0], direct.mean(1))
    assert_close(found.indirect[0], indirect.mean(1))
    assert_close(found.mediated[0], indirect.mean(1))  # the head adds, so the paths do not interact
    assert_close(found.total, found.direct + found.indirect)


def test_paths_that_interact(fork, tokens):
    """With a product of what both say, the indirect effect is not what the later blocks do alone."""
    found = path_effects(fork, tokens, lambda logits: logits.prod(1))
    assert (found.indirect[0] - found.mediated[0]).abs().max() > 0.01
    assert_close(found.total, found.direct + found.indirect)


def test_total_is_the_edit(vim, images, donors):
    metric = class_logit(1)
    found = path_effects(vim, images, metric, donor=donors, blocks=[0], positions=[1, 2])
    from mamba_mender.inspection.causality import observe, places_of

    (place,) = places_of(vim, "y", blocks=[0])
    value = observe(vim, donors, "y", [place], positions=[1, 2]).values[place]
    with torch.no_grad(), edit(vim, Edit("y", value, blocks=[0], positions=[1, 2])):
        changed = metric(vim(images))
    assert_close(found.total[0], changed - metric(vim(images)).detach(), rtol=1e-8, atol=1e-12)
    assert found.direct[0].abs().max() > 1e-6
    assert found.indirect[0].abs().max() > 1e-6


def test_the_donor_itself_has_no_effect(vim, images):
    found = path_effects(vim, images, class_logit(1), donor=images)
    for effect in (found.total, found.direct, found.indirect, found.mediated):
        assert effect.abs().max() < 1e-12


def test_interval(fork, tokens):
    found = path_effects(fork, tokens, lambda logits: logits.sum(1))
    interval = found.interval("indirect")
    assert interval.mean.shape == (2,)
    assert interval.low[0] < found.indirect[0].mean() < interval.high[0]


@pytest.fixture
def ids():
    return torch.randint(3, 40, (2, 8), generator=torch.Generator().manual_seed(3))


def test_all_later_blocks_are_held_and_not_only_the_next(long_chain, tokens):
    """Five layers, each of which reads what 0 writes and what the one before it writes; sums written down by hand."""
    metric = lambda logits: (logits**2).sum(1)  # noqa: E731
    found = path_effects(long_chain, tokens, metric)
    functions = [layer.function for layer in long_chain.layers]

    def run(silent=None, add=None):
        h, added = tokens, []
        for number, function in enumerate(functions):
            own = add[number] if add is not None else function(h)
            added.append(own if number != silent else torch.zeros_like(h))
            h = h + added[-1]
        return metric(h.mean(1)[:, long_chain.reads]), added

    plain, added = run()
    for block in range(5):
        total, changed = run(silent=block)
        direct, _ = run(silent=block, add=added)
        h = tokens + sum(changed[number] if number > block else added[number] for number in range(5))
        assert_close(found.total[block], total - plain)
        assert_close(found.direct[block], direct - plain)
        assert_close(found.mediated[block], metric(h.mean(1)[:, long_chain.reads]) - plain)
    assert (found.indirect[:3].abs().mean(1) > 1e-2).all()


def frozen_mixers(model, inputs, metric, block):
    """The direct effect of silencing a mixer, with every later mixer's y as it was."""
    with torch.no_grad(), record(model, "y") as run:
        plain = metric(predict(model, inputs))
    later = [key for key in run.states if key.state == "y" and key.block > block]
    held = [Edit("y", run.states[key].detach().clone(), blocks=[key.block]) for key in later]
    with torch.no_grad(), edit(model, Edit("y", 0.0, blocks=[block]), *held):
        return metric(predict(model, inputs)) - plain


def test_in_a_vim_it_is_freezing_every_later_y(vim, images):
    found = path_effects(vim, images, class_logit(1))
    for block in (0, 1):
        assert_close(found.direct[block], frozen_mixers(vim, images, class_logit(1), block), rtol=1e-9, atol=1e-12)


def held_blocks(model, ids, metric, block):
    """The direct effect, where each later layer of the family's own code is made to add what it added."""
    stack = next(module for name, module in model.named_modules() if name.endswith(".layers"))
    mixer = next(m for name, m in stack.named_modules() if name.startswith(f"{block}.") and hasattr(m, "A_log"))
    added = {}

    def first(output):
        return output if isinstance(output, torch.Tensor) else output[0]

    def again(output, new):
        return new if isinstance(output, torch.Tensor) else (new, *output[1:])

    def entering(args, kwargs):
        return args[0] if args else kwargs["hidden_states"]

    def keep(number):
        def hook(_module, args, kwargs, output):
            added[number] = first(output) - entering(args, kwargs)

        return hook

    def hold(number):
        return lambda _module, args, kwargs, output: again(output, entering(args, kwargs) + added[number])

    def run(hooks):
        handles = [module.register_forward_hook(hook, with_kwargs=True) for module, hook in hooks]
        found = metric(predict(model, ids))
        for handle in handles:
            handle.remove()
        return found

    with torch.no_grad():
        plain = run([(layer, keep(number)) for number, layer in enumerate(stack)])
        silence = (mixer, lambda _m, _a, _k, output: again(output, torch.zeros_like(first(output))))
        later = [(layer, hold(number)) for number, layer in enumerate(stack) if number > block]
        return run([silence, *later]) - plain


def test_direct_is_direct_in_every_family(make_family, family, ids):
    """Later attention, MLPs and experts say what they said; freezing the mixers alone leaves them free."""
    pytest.importorskip("transformers")
    model, metric = make_family(family), class_logit(7)
    found = path_effects(model, ids, metric)
    block = found.blocks[0]
    expected = held_blocks(model, ids, metric, block)
    assert_close(found.direct[0], expected, rtol=1e-3, atol=1e-4)
    assert found.direct[0].abs().max() > 1e-4
    only_mixers = frozen_mixers(model, ids, metric, block)
    if family in ("Mamba", "FalconMamba", "Mamba2", "Zamba", "Zamba2"):  # Zamba's attention speaks to the mixer only
        assert_close(expected, only_mixers, rtol=1e-3, atol=1e-4)
    else:
        assert (expected - only_mixers).abs().max() > 1e-3
