import torch

from mamba_mender.data import Corruption, Length


def add(images, draws, *, amount, size):
    return images + amount + 0 * size


STEPS = Corruption(
    group="noise",
    function=add,
    severities=tuple({"amount": 0.3 * severity, "size": Length(severity, 7 * severity)} for severity in range(5)),
    source="ours",
)


def test_lengths_fit_the_shorter_side_and_amplitudes_do_not_change():
    assert STEPS.parameters(3, 28) == {"amount": 0.6, "size": 2}
    assert STEPS.parameters(3, 224) == {"amount": 0.6, "size": 14}
    seen = []
    probe = Corruption(
        group="noise",
        function=lambda images, draws, *, size: seen.append(size) or images,
        severities=({"size": Length(1, 7)},) * 5,
        source="ours",
    )
    probe(torch.zeros(1, 1, 128, 400), None, severity=1)
    assert seen == [4.0]


def test_what_is_made_is_clipped(make_draws):
    images = torch.full((1, 1, 4, 4), 0.5)
    values = [STEPS(images, make_draws(images), severity=s).unique().item() for s in (1, 2, 3)]
    torch.testing.assert_close(values, [0.5, 0.8, 1.0], rtol=0, atol=1e-6)
