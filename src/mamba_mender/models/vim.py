"""Vision Mamba: the bidirectional Mamba network for images, with the published names."""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mamba_mender._check import UserError
from mamba_mender.models.position import resize_position
from mamba_mender.nn import BidirectionalMixer, Block, PatchEmbed, RMSNorm, StatePoint


class Vim(nn.Module):
    """Classify images by a stack of bidirectional Mamba blocks over their patches.

    Patches become tokens, a class token goes into the middle of the sequence (pool="class"),
    a learned position is added, each block does ``h + mixer(norm(h))``, and the head reads the
    normalised class token, or the mean over tokens (pool="mean"). State-dict keys and shapes are
    those of the published Vim-Ti, Vim-S and Vim-B.

    Args:
        img_size: height and width of the images, or one number for both.
        patch_size: height and width of a patch.
        stride: pixels from one patch to the next; patch_size if omitted.
        in_chans: channels of the images.
        num_classes: outputs of the head; 0 leaves the head out.
        embed_dim: channels of the residual stream.
        depth: number of blocks.
        d_state: numbers kept per channel by each scan.
        drop_path_rate: stochastic depth of the last block; earlier blocks have less, the first none.
        pool: "class" reads a class token in the middle, "mean" averages all tokens.
        init: "mamba" or "upstream", see :class:`mamba_mender.nn.BidirectionalMixer`.
        name: what to call this network in files and reports.

    Shape:
        (batch, in_chans, height, width) in, (batch, num_classes) out.

    Raises:
        UserError: a size or a choice is out of range.
        ValueError: images of another size come in.

    Example:
        >>> model = Vim(img_size=8, patch_size=4, in_chans=1, num_classes=3, embed_dim=16, depth=1)
        >>> model(torch.ones(2, 1, 8, 8)).shape, model.grid, model.class_token_index
        (torch.Size([2, 3]), (2, 2), 2)

    Source: Zhu et al., "Vision Mamba" (arXiv:2401.09417), section 3.
    """

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] | list[int] = 224,
        patch_size: int = 16,
        stride: int | None = None,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 192,
        depth: int = 24,
        d_state: int = 16,
        drop_path_rate: float = 0.0,
        pool: Literal["class", "mean"] = "class",
        init: Literal["mamba", "upstream"] = "mamba",
        name: str = "vim",
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        stride = patch_size if stride is None else stride
        if min(embed_dim, depth, d_state) < 1 or num_classes < 0:
            raise UserError(
                f"Vim: embed_dim, depth and d_state must be at least 1 and num_classes at least 0, "
                f"got {embed_dim}, {depth}, {d_state} and {num_classes}."
            )
        if pool not in ("class", "mean"):
            raise UserError(f"Vim: pool must be 'class' or 'mean', got {pool!r}.")
        self.config: dict[str, Any] = {
            "img_size": [height, width],
            "patch_size": patch_size,
            "stride": stride,
            "in_chans": in_chans,
            "num_classes": num_classes,
            "embed_dim": embed_dim,
            "depth": depth,
            "d_state": d_state,
            "drop_path_rate": drop_path_rate,
            "pool": pool,
            "init": init,
            "name": name,
        }
        self.name, self.pool, self.in_chans = name, pool, in_chans
        self.num_classes, self.num_features = num_classes, embed_dim
        self.patch_embed = PatchEmbed((height, width), patch_size, stride, in_chans, embed_dim)
        tokens = math.prod(self.grid) + (pool == "class")
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim)) if pool == "class" else None
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, embed_dim))
        self.embedding = StatePoint("h")
        mixers = [BidirectionalMixer(embed_dim, d_state=d_state, init=init) for _ in range(depth)]
        rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.layers = nn.ModuleList(Block(embed_dim, *layer) for layer in zip(mixers, rates, strict=True))
        self.norm_f = RMSNorm(embed_dim)
        self.head = _make_head(embed_dim, num_classes)
        self._draw_weights(mixers)

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.patch_embed.img_size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.patch_embed.grid

    @property
    def class_token_index(self) -> int | None:
        """Where in the sequence the class token lies; None without one."""
        return math.prod(self.grid) // 2 if self.pool == "class" else None

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def forward_features(self, images: Tensor) -> Tensor:
        """Map images to normalised tokens, (batch, tokens, num_features), class token included."""
        h = self.patch_embed(images)
        if self.cls_token is not None:
            middle = h.shape[1] // 2
            token = self.cls_token.to(h.dtype).expand(h.shape[0], -1, -1)
            h = torch.cat([h[:, :middle], token, h[:, middle:]], dim=1)
        residual_dtype = torch.promote_types(self.pos_embed.dtype, torch.float32)  # the stream is never halved
        h = self.embedding(h.to(residual_dtype) + self.pos_embed)
        for layer in self.layers:
            h = layer(h)
        return self.norm_f(h)

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Map normalised tokens to logits, or to what the head reads if pre_logits."""
        middle = self.class_token_index
        pooled = tokens.mean(1) if middle is None else tokens[:, middle]
        return pooled if pre_logits else self.head(pooled)

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head by a freshly drawn one of num_classes outputs; 0 leaves it out."""
        old = self.pos_embed
        self.head = _make_head(self.num_features, num_classes).to(old.device, old.dtype)
        self.num_classes = self.config["num_classes"] = num_classes

    def resize(self, img_size: int | tuple[int, int]) -> None:
        """Take images of another size from now on: positions are resized, the class token keeps its own."""
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        old, grid = self.patch_embed, self.grid
        new = PatchEmbed((height, width), old.patch_size, old.stride, self.in_chans, self.num_features)
        new.proj = old.proj
        with torch.no_grad():
            table = resize_position(self.pos_embed, grid, new.grid, class_token=self.cls_token is not None)
        self.patch_embed = new
        self.pos_embed = nn.Parameter(table.detach().clone(), self.pos_embed.requires_grad)
        self.config["img_size"] = [height, width]

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that weight decay must leave alone: A_log, D, biases, norms, positions, class token."""
        whole = ("A_log", "A_b_log", "pos_embed", "cls_token")
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter.dim() == 1 or name.rpartition(".")[2] in whole
        }

    @torch.no_grad()
    def _draw_weights(self, mixers: list[BidirectionalMixer]) -> None:
        """Draw what is not drawn where it is made, as the published code does."""
        for table in (self.pos_embed, self.cls_token):
            if table is not None:
                nn.init.trunc_normal_(table, std=0.02)
        proj = self.patch_embed.proj
        nn.init.trunc_normal_(proj.weight, std=proj.weight[0].numel() ** -0.5)
        nn.init.zeros_(proj.get_parameter("bias"))
        for mixer in mixers:
            mixer.out_proj.weight.div_(math.sqrt(len(mixers)))  # the stream's variance shall not grow with depth


def _make_head(features: int, num_classes: int) -> nn.Module:
    if num_classes == 0:
        return nn.Identity()
    head = nn.Linear(features, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head
