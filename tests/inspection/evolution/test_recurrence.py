import pytest
import torch

from mamba_mender.inspection.evolution import recurrence


def letters(text):
    return torch.tensor([float(ord(letter)) for letter in text])[None, :, None]


def definition(near, shortest):
    """Walk each diagonal and count."""
    steps, in_lines, total = len(near), 0, 0
    for offset in range(1, steps):
        run = 0
        for i in range(steps - offset + 1):
            if i < steps - offset and near[i, i + offset]:
                run += 1
                total += 1
            else:
                in_lines += run if run >= shortest else 0
                run = 0
    return in_lines / total


def test_a_period_is_all_determinism():
    result = recurrence(letters("abcabcabcabc"), of="state", radius=0.5)
    assert result.determinism.item() == 1
    assert result.rate.item() == pytest.approx(18 / 66)
    assert result.motifs[0][0] == (0, 3, 9)


def test_a_letter_that_comes_back_alone_is_none():
    result = recurrence(letters("abacadaea"), of="state", radius=0.5)
    assert result.determinism.item() == 0
    assert result.rate.item() == pytest.approx(10 / 36)
    assert result.motifs == [[]]
    assert result.p_value.item() == 1


def test_what_never_comes_back_has_no_determinism():
    result = recurrence(letters("abcdefg"), of="state", radius=0.5)
    assert result.rate.item() == 0
    assert result.determinism.isnan().item()
    assert result.p_value.isnan().item()


@pytest.mark.parametrize("shortest", [2, 3, 4])
def test_determinism_against_the_definition(shortest):
    result = recurrence(torch.randn(1, 40, 2), rate=0.4, shortest=shortest)
    assert result.determinism.item() == pytest.approx(definition(result.plot, shortest), abs=1e-12)
    assert result.rate.item() == pytest.approx(0.4, abs=0.01)


def test_motifs_are_the_planted_ones():
    text = "qwertasdfgzxcvbertasyuiop"
    (motifs,) = recurrence(letters(text), of="state", radius=0.5).motifs
    assert motifs[0] == (2, 15, 5)
    assert text[2:7] == text[15:20] == "ertas"


def test_motifs_of_change_do_not_see_the_level():
    wave = torch.tensor([1.0, 5.0, 2.0, 9.0] * 6)
    drift = (wave + 100 * torch.arange(24))[None, :, None]
    assert recurrence(drift, radius=0.1).determinism.item() == 1
    assert recurrence(drift, of="state", radius=0.1).rate.item() == 0


def test_a_planted_repeat_is_found_and_noise_is_not():
    motif = torch.randn(1, 20, 3)
    repeated = torch.cat([motif, torch.randn(1, 10, 3), motif + 0.01 * torch.randn(1, 20, 3)], dim=1)
    assert recurrence(repeated, rate=0.05).p_value.item() == 0.01
    found = recurrence(torch.randn(40, 30, 3), of="state", surrogates=19)
    assert (found.p_value <= 0.05).sum() <= 7
    assert torch.allclose(found.determinism.mean(), found.null_determinism.mean(), atol=0.05)


def test_padding_has_no_part():
    text = letters("abcabcabcabc###")
    mask = torch.arange(15)[None] < 12
    padded = recurrence(text, of="state", radius=0.5, mask=mask)
    assert padded.determinism.item() == 1
    assert padded.plot.shape == (12, 12)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"of": "states"}, "of must be 'change' or 'state'"),
        ({"rate": 1.0}, "rate must lie between 0 and 1"),
        ({"shortest": 1}, "shortest be at least 2"),
        ({"mask": torch.arange(9)[None] < 3}, "at least 4 real steps, but one has 3"),
    ],
)
def test_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        recurrence(torch.randn(1, 9, 2), **given)


def test_half_precision_gives_what_its_values_give():
    state = torch.randn(1, 12, 3).bfloat16()
    half, full = recurrence(state, surrogates=9), recurrence(state.double(), surrogates=9)
    assert torch.equal(half.plot, full.plot)
    assert torch.equal(half.determinism, full.determinism)
