import pytest
import torch
from torch.func import functional_call
from torch.testing import assert_close

from mamba_mender.repair import internal_loss
from mamba_mender.taps import Run, StateKey, record

KEY = StateKey(0, "x", "forward")
TEMPLATES = torch.tensor([[True, False, False], [False, True, True]])


def hand_made(weights, *, scale=1.0, count=1):
    """A run whose first logit is the mean token times weights, (channels)."""
    run = Run()
    state = torch.tensor([[[1.0, 2.0, 1.0], [3.0, 2.0, 1.0]]]).double().repeat(count, 1, 1).requires_grad_()
    run.add_state(KEY, state)
    score = scale * (run.states[KEY] * torch.tensor(weights).double()).sum((1, 2))
    return run, torch.stack([score, torch.zeros_like(score)], dim=1)


def loss_of(run, logits, label=0, **options):
    return internal_loss(run, logits, torch.full((len(logits),), label), {KEY: TEMPLATES}, **options)


@pytest.mark.parametrize(("weights", "expected"), [([1, 0, 0], 0.0), ([0, 1, 1], 1.0), ([1, 1, 0], 0.5)])
def test_share_of_correlation_outside_the_template(weights, expected):
    assert loss_of(*hand_made(weights)).item() == pytest.approx(expected)


def test_the_template_is_that_of_the_true_class():
    run, logits = hand_made([-1, 0, 0])  # class 1 rests on channel 0, which is not in its template
    assert loss_of(run, logits, label=1).item() == pytest.approx(1.0)


def test_what_lowers_the_prediction_counts_only_if_signed():
    run, logits = hand_made([1, -1, 0])
    assert loss_of(run, logits).item() == pytest.approx(0.0)
    assert loss_of(run, logits, sign="signed").item() == pytest.approx(0.5)


def test_one_token_instead_of_the_mean():
    run, logits = hand_made([1, 1, 0])
    assert loss_of(run, logits, token=0).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("changes", [{"scale": 1e-8}, {"scale": 30.0}, {"count": 5}])
def test_neither_scale_nor_batch_size_matter(changes):
    assert_close(loss_of(*hand_made([1, 2, 1], **changes)), loss_of(*hand_made([1, 2, 1])))


def test_second_order_is_exact(tiny):
    images, named = torch.randn(2, 1, 4, 4, dtype=torch.float64), dict(tiny.named_parameters())
    template = torch.rand(3, 8) > 0.5
    chosen = ["layers.0.mixer.A_log", "layers.0.mixer.conv1d.weight"]

    def loss(*values):
        with record(tiny, "x", scans=False) as run:
            logits = functional_call(tiny, {**named, **dict(zip(chosen, values, strict=True))}, (images,))
        return internal_loss(run, logits, torch.tensor([0, 2]), {KEY: template}, sign="signed")

    torch.autograd.gradcheck(loss, tuple(named[name].detach().clone().requires_grad_() for name in chosen))


def test_refuses_no_template():
    with pytest.raises(ValueError, match="no template"):
        internal_loss(*hand_made([1, 0, 0]), torch.tensor([0]), {})
