import pytest
import torch

from mamba_mender.inspection.similarity import cross_layer_cka, cross_layer_correlation, linear_cka, linear_hsic


@pytest.fixture
def draws():
    return torch.Generator().manual_seed(2)


@pytest.fixture
def normal(draws):
    return lambda *shape: torch.randn(*shape, generator=draws)


def test_cka_of_all_pairs_is_cka_of_each(normal):
    layers = {"0": normal(3, 7, 4), "1": normal(3, 7, 2), "2": normal(3, 7, 9)}
    layers["2"][..., :4] += layers["0"]
    mask = torch.ones(3, 7).bool()
    mask[1, 4:] = False
    found = cross_layer_cka(layers, mask=mask, permutations=1)
    for a, one in enumerate(layers.values()):
        for b, other in enumerate(layers.values()):
            assert found.value[a, b].item() == pytest.approx(linear_cka(one[mask], other[mask]).item(), abs=1e-9)
    assert found.layers == ("0", "1", "2")


@pytest.mark.parametrize("exchange", ["rotation", "rows", "tokens"])
def test_minibatches_give_the_same_similarity_in_the_mean(normal, exchange):
    x = normal(8, 32, 5)
    layers = {"a": x, "b": x + normal(8, 32, 5), "c": normal(8, 32, 3)}
    whole = cross_layer_cka(layers, permutations=19, exchange=exchange)
    parts = cross_layer_cka(layers, permutations=19, exchange=exchange, minibatch=50)
    torch.testing.assert_close(parts.value, whole.value, atol=0.1, rtol=0)
    assert parts.baseline.p_value[0, 1] == whole.baseline.p_value[0, 1] == pytest.approx(0.05)
    assert parts.baseline.p_value[0, 2] > 0.05


def test_minibatch_cka_is_its_sum(normal):
    """Rows are dealt out in turn: row i goes to minibatch i mod 3."""
    x, y = normal(1, 24, 3), normal(1, 24, 3)

    def total(a, b):
        return sum(linear_hsic(a[0, m::3], b[0, m::3]) for m in range(3))

    found = cross_layer_cka({"x": x, "y": y}, minibatch=8, permutations=1).value[0, 1]
    torch.testing.assert_close(found, total(x, y) / (total(x, x) * total(y, y)).sqrt())


def test_many_short_inputs_are_dealt_out_whole(normal):
    x = normal(40, 2, 3)
    found = cross_layer_cka({"x": x, "y": x}, minibatch=20, permutations=19)
    assert found.value[0, 1].item() == pytest.approx(1.0)
    assert found.baseline.p_value[0, 1] == pytest.approx(0.05)


def test_two_related_layers_are_found_and_a_third_is_not(normal):
    x = normal(4, 30, 6)
    turned, _ = torch.linalg.qr(normal(6, 6))
    layers = {"first": x, "turned": x @ turned + 0.5 * normal(4, 30, 6), "other": normal(4, 30, 6)}
    found = cross_layer_cka(layers, permutations=99)
    assert (found.baseline.adjusted_p <= 0.05).tolist()[0] == [True, True, False]
    assert found.value[0, 1] > found.baseline.threshold() > found.value[0, 2]
    same = cross_layer_correlation(layers, permutations=99)  # a rotation hides the relation from single channels
    assert same.value[0, 1].abs() < 0.5 < found.value[0, 1]


def test_what_tells_inputs_apart_makes_layers_alike_and_can_be_taken_away(normal):
    level = 5 * normal(6, 1, 4)
    layers = {"a": level + normal(6, 12, 4), "b": level + normal(6, 12, 4)}
    found = cross_layer_cka(layers, permutations=99)
    assert found.value[0, 1] > 0.8
    assert found.baseline.null_mean[0, 1] > 0.8  # the baseline shows that it is the inputs
    within = cross_layer_cka(layers, within_inputs=True, permutations=99)
    assert within.value[0, 1].abs() < 0.2
    assert within.baseline.p_value[0, 1] > 0.05


def test_whole_inputs_may_be_exchanged(normal):
    pooled = normal(25, 1, 4)
    layers = {"a": pooled, "b": pooled.sin(), "c": normal(25, 1, 4)}
    found = cross_layer_cka(layers, exchange="inputs", permutations=99)
    assert (found.baseline.adjusted_p[0] <= 0.05).tolist() == [True, True, False]
    with pytest.raises(ValueError, match="all 25 tokens must be in one minibatch of 8"):
        cross_layer_cka(layers, exchange="inputs", minibatch=8)


@pytest.mark.parametrize("function", [cross_layer_cka, cross_layer_correlation])
def test_independent_layers_give_even_p_values(draws, normal, function):
    p = []
    for _ in range(100):
        layers = {"a": normal(2, 8, 3), "b": normal(2, 8, 3)}
        p.append(function(layers, permutations=39, exchange="rows", seed=draws).baseline.p_value[0, 1])
    p = torch.stack(p)
    assert 0 < (p <= 0.05).sum() <= 11
    assert 0.4 < p.mean() < 0.6


def test_correlation_is_the_mean_over_channels_of_each(normal):
    x, y = normal(2, 9, 3), normal(2, 9, 3)
    found = cross_layer_correlation({"x": x, "y": y, "-x": -x}, permutations=1).value
    a, b = ((part - part.mean(1, keepdim=True)).flatten(0, 1).double() for part in (x, y))
    expected = torch.stack([torch.corrcoef(torch.stack([a[:, d], b[:, d]]))[0, 1] for d in range(3)]).mean()
    torch.testing.assert_close(found[0, 1], expected)
    assert found[0, 2].item() == pytest.approx(-1.0)
    assert torch.equal(found, found.T)


def test_dead_channels_are_left_out_and_dead_layers_have_no_similarity(normal):
    x = normal(2, 9, 3)
    partly = x.clone()
    partly[..., 0] = 0.1
    layers = {"x": x, "partly": partly, "dead": torch.full_like(x, 0.1)}
    correlation = cross_layer_correlation(layers, permutations=2).value
    assert correlation[0, 1].item() == pytest.approx(1.0)
    assert correlation[2].isnan().all()
    assert cross_layer_cka(layers, permutations=2).value[2].isnan().all()


def test_bad_arguments_are_named(normal):
    with pytest.raises(ValueError, match=r"at least two layers to compare, got \['a'\]"):
        cross_layer_cka({"a": normal(2, 5, 3)})
    with pytest.raises(ValueError, match="same batch and tokens"):
        cross_layer_cka({"a": normal(2, 5, 3), "b": normal(2, 6, 3)})
    with pytest.raises(ValueError, match="take cross_layer_cka"):
        cross_layer_correlation({"a": normal(2, 5, 3), "b": normal(2, 5, 4)})
    with pytest.raises(ValueError, match="minibatch must be at least 4, got 3"):
        cross_layer_cka({"a": normal(2, 5, 3), "b": normal(2, 5, 4)}, minibatch=3)
