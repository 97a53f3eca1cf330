import pytest
import torch

from mamba_mender.repair import peers
from mamba_mender.repair.peers import PEERS, make_peer


def test_each_peer_has_its_name(vim, source, pixels):
    names = ["median_filter", "norm_statistics", "tent", "eata", "sar", "t3a", "lame", "memo"]
    assert list(PEERS) == names
    for name in names:
        assert PEERS[name] is getattr(peers, name)
        settings = {"similarity": 0.9} if name == "eata" else {}
        peer = make_peer(name, vim, source=source, **settings)
        assert peer.name == name
        assert peer(pixels(3)).shape == (3, 4)


def test_settings_reach_the_peer(vim, pixels):
    by_name, by_hand = make_peer("tent", vim, lr=0.1), peers.tent(vim, lr=0.1)
    for seed in range(2):
        assert torch.equal(by_name(pixels(3, seed)), by_hand(pixels(3, seed)))


def test_an_unknown_name_or_setting_is_refused(vim):
    with pytest.raises(ValueError, match=r"make_peer: no peer 'tentt'; the nearest are \['tent'\]"):
        make_peer("tentt", vim)
    with pytest.raises(ValueError, match=r"make_peer: tent has no setting 'step'; the nearest are \['steps'\]"):
        make_peer("tent", vim, step=2)


@pytest.mark.parametrize("name", ["norm_statistics", "eata"])
def test_a_missing_source_is_named(vim, name):
    with pytest.raises(ValueError, match=f"{name}: .*give source="):
        make_peer(name, vim)
