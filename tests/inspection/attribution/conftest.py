import pytest
import torch
from torch import nn

from mamba_mender.models import create_model
from mamba_mender.nn import MambaMixer, RMSNorm, StatePoint


class TokenReader(nn.Module):
    """Embed four channels of each token, mix, and read the score from some tokens only.

    mixer: None makes a linear model, score = weight @ mean of the read tokens.
    """

    def __init__(self, reads=None, *, mixer=None, classes=3, dtype=torch.float64):
        super().__init__()
        self.embedding = StatePoint("h")
        self.mixer = mixer
        self.head = nn.Linear(4, classes, bias=False, dtype=dtype)
        self.reads = reads

    def forward(self, tokens):
        h = self.embedding(tokens)
        h = h if self.mixer is None else h + self.mixer(h)
        return self.head(h.mean(1) if self.reads is None else h[:, self.reads])


class Reader(nn.Module):
    """Read one token of a sequence, 3 unless told, through a Mamba mixer whose past is cut off.

    The scan's decay is so fast and the convolution so short that a token's output depends on that token alone.
    """

    def __init__(self, reads=3):
        super().__init__()
        self.embedding, self.norm, self.mixer = StatePoint("h"), RMSNorm(4), MambaMixer(4, d_state=2)
        self.head, self.reads = nn.Linear(4, 3, bias=False), reads
        with torch.no_grad():
            self.mixer.A_log.fill_(20.0)
            self.mixer.conv1d.weight[..., :-1] = 0
            self.mixer.conv1d.bias.zero_()
            self.mixer.dt_proj.bias.fill_(1.0)
            self.head.weight.mul_(5)

    def forward(self, tokens):
        h = self.embedding(tokens)
        return self.head((h + self.mixer(self.norm(h)))[:, self.reads])


@pytest.fixture
def linear_model():
    return TokenReader().eval()


@pytest.fixture
def silent():
    """A linear model with a mixer that adds nothing."""
    mixer = MambaMixer(4, d_state=2).double()
    nn.init.zeros_(mixer.out_proj.weight)
    return TokenReader(mixer=mixer).eval()


@pytest.fixture
def planted():
    """A model in which token 3 alone decides."""
    return Reader().double().eval()


@pytest.fixture
def make_tokens():
    """Draw token embeddings, (batch, length, 4)."""

    def make(batch=3, length=7, seed=0):
        return torch.randn(batch, length, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def make_vim():
    """Build a Vim of narrow blocks on 8 x 8 images with 16 patches, with random biases or with none."""

    def make(*, biases=False, depth=3, pool="class", dtype=torch.float64, seed=0):
        torch.manual_seed(seed)
        model = create_model(
            "vim_micro",
            num_classes=4,
            img_size=8,
            patch_size=2,
            in_chans=1,
            embed_dim=12,
            depth=depth,
            d_state=3,
            pool=pool,
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias") and "dt_proj" not in name:
                    parameter.normal_(std=0.5) if biases else parameter.zero_()
                elif name.endswith("proj.weight") or name == "pos_embed":
                    parameter.normal_(std=0.4)
                elif name == "head.weight":
                    parameter.normal_()
        return model.to(dtype).eval()

    return make


@pytest.fixture
def make_images():
    """Draw images of one channel, (batch, 1, 8, 8)."""

    def make(batch=3, seed=0, dtype=torch.float64):
        return torch.rand(batch, 1, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(seed))

    return make
