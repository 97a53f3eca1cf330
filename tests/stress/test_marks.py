import torch
from torch import nn

from mamba_mender.stress.marks import mark, model_mark, weights_mark


def test_sees_one_weight_a_name_a_type_and_a_shape():
    models = [nn.Linear(2, 2), nn.Linear(2, 2).double(), nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2)]
    for model in models:
        for parameter in model.parameters():
            nn.init.ones_(parameter)
    with torch.no_grad():
        models[3].weight[1, 1] += 1e-7
    assert len({weights_mark(model) for model in models}) == 4
    assert weights_mark(models[0]) == weights_mark(models[0])


def test_sees_settings_that_are_no_weights():
    class Peer(nn.Module):
        def __init__(self, lr, about=""):
            super().__init__()
            self.lr, self._private, self.last_seconds, self.about = lr, about, about, object()

    assert model_mark(Peer(0.1, about="a")) == model_mark(Peer(0.1, about="b"))
    assert model_mark(Peer(0.1)) != model_mark(Peer(0.2))
    assert model_mark(nn.Sequential(Peer(0.1))) != model_mark(nn.Sequential(Peer(0.2)))
    assert model_mark(nn.Dropout(0.1).eval()) == model_mark(nn.Dropout(0.1).train())


def test_where_an_object_lies_does_not_count():
    class Holds(nn.Module):
        def get_extra_state(self):
            return [object()]

        def set_extra_state(self, state):
            pass

        def extra_repr(self):
            return repr(object())

    assert model_mark(Holds()) == model_mark(Holds())


def test_json_by_content():
    assert mark({"a": [1, 2]}, None) == mark({"a": [1, 2]}, None) != mark({"a": [2, 1]}, None)
