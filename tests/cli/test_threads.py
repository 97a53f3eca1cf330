import pytest
import torch

from mamba_mender.cli.threads import suited_threads


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield
    torch.set_num_threads(before)


def test_tiny_images_get_one_thread_and_the_number_is_put_back():
    with suited_threads((8, 8)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2

    def fail():
        with suited_threads((8, 8)):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == 2
    with suited_threads((28, 28)):
        assert torch.get_num_threads() == 2


def test_a_number_that_was_asked_for_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with suited_threads((8, 8)):
        assert torch.get_num_threads() == 2
