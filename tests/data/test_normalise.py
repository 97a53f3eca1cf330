import pytest
import torch
from torch.testing import assert_close

from mamba_mender.data import Normalise, load_data


def test_channels_have_mean_0_and_std_1():
    data = load_data("digits")
    out = Normalise(data.mean, data.std)(data.train.batch(torch.arange(len(data.train))).images)
    assert_close(out.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    assert_close(out.std(correction=0), torch.tensor(1.0), atol=1e-4, rtol=0)


def test_each_channel_has_its_own_numbers():
    out = Normalise([0.0, 1.0], [1.0, 2.0])(torch.full((1, 2, 1, 1), 5.0))
    assert out.flatten().tolist() == [5.0, 2.0]


def test_numbers_travel_with_the_module_but_are_not_trained():
    module = Normalise([0.5], [0.25])
    assert set(module.state_dict()) == {"mean", "std"}
    assert not list(module.parameters())


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [([0.0], [1.0, 1.0], "mean has 1 channels, but std has 2"), ([0.0], [0.0], r"above 0, got \[0.0\]")],
)
def test_bad_input(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalise(mean, std)
