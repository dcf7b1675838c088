"""A diffusion transformer after Peebles & Xie 2023 (DiT), for fields of any size.

Positions enter by rotary embedding (Su et al. 2021) instead of DiT's table of absolute ones: attention then sees
differences of position only, so that patches and whole fields look alike and a closed circle of longitude stays one.
Where a field lies on the globe is for the caller's latitude and longitude channels to say.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fdsr.backbones.embedding import LatentMapping, Time, TimeEmbedding, joint_embedding
from fdsr.backbones.padding import crop, pad_to_multiple, zero_init
from fdsr.backbones.registry import register_backbone


def rotary_angles(rows: int, columns: int, dim: int, *, wrap: bool, device: torch.device | None = None) -> Tensor:
    """Angle of each pair of features at each token of a grid: (rows · columns, dim/2); the first half tells the row.

    The dim/4 frequencies an axis are geometric from 1 to 1/100 radian a token. With `wrap` those of the columns are
    rounded to whole turns around the circle, so that differences of angle do not depend on where the circle is cut.
    """
    frequencies = 100.0 ** -torch.linspace(0, 1, dim // 4, device=device)
    turn = 2 * math.pi / columns
    around = torch.round(frequencies / turn) * turn if wrap else frequencies
    row_angles = torch.arange(rows, device=device)[:, None] * frequencies
    column_angles = torch.arange(columns, device=device)[:, None] * around
    grid = torch.stack([row_angles[:, None].expand(-1, columns, -1), column_angles[None].expand(rows, -1, -1)], dim=2)
    return rearrange(grid, "h w two f -> (h w) (two f)")


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Feature pairs (i, i + d/2) of `x` (..., N, d) turned by `angles` (N, d/2)."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (B, N, D) scaled and shifted by (B, 1, D)."""
    return torch.addcmul(shift, x, 1 + scale)


class TransformerBlock(nn.Module):
    """Attention and perceptron, each on a normalised, modulated x (B, N, D) and through a gate (adaLN-Zero).

    Shifts, scales and gates are linear in the time embedding and start at zero, and so the block as the identity.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, embedding_dim: int) -> None:
        super().__init__()
        self.heads = heads
        hidden = int(mlp_ratio * width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zero_init(nn.Linear(embedding_dim, 6 * width))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))

    def forward(self, x: Tensor, embedding: Tensor, angles: Tensor) -> Tensor:
        modulation = rearrange(self.modulation(embedding), "b (n d) -> n b 1 d", n=6)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation
        x = x + gate_a * self._attend(modulate(self.norm(x), shift_a, scale_a), angles)
        return x + gate_m * self.mlp(modulate(self.norm(x), shift_m, scale_m))

    def _attend(self, x: Tensor, angles: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        h = F.scaled_dot_product_attention(rotate(q, angles), rotate(k, angles), v)
        return self.out(rearrange(h, "b heads n d -> b n (heads d)"))


@register_backbone("dit")
class DiT(nn.Module):
    """Diffusion transformer: x (B, in_channels, H, W), t (B,) → (B, out_channels, H, W), zero before training.

    Any H, W ≥ 1: sizes are padded to a multiple of patch_size, which is the stride, and cropped. With `wrap` the last
    axis is a closed circle, and where W is a multiple of the stride, rolling x by multiples of the stride rolls the
    output. Cost grows with the square of the number of patches, H · W / patch_size².

    width: features of a token; width / heads must be a multiple of 4.
    depth: number of blocks.
    heads: attention heads.
    patch_size: a token is patch_size × patch_size pixels.
    mlp_ratio: hidden features of the perceptron over width.
    time_scale: multiplies t before its embedding, see `TimeEmbedding`; t of None is 0.
    latent_dim: length of a latent vector z (B, latent_dim), which then joins the embedding of t; 0 for none.
    latent_layers: dense layers of its mapping network.
    recompute: trade time for memory in training (activation checkpointing of every block, Chen et al. 2016); results
        are the same.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        patch_size: int = 4,
        mlp_ratio: float = 4.0,
        time_scale: float = 1.0,
        latent_dim: int = 0,
        latent_layers: int = 3,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if min(width, depth, heads, patch_size) < 1 or width * mlp_ratio < 1:
            raise ValueError("dit: width, depth, heads, patch_size and width · mlp_ratio must be at least 1")
        if width % (4 * heads):
            raise ValueError(f"dit: width {width} must be a multiple of 4 · heads = {4 * heads}")
        self.stride = patch_size
        self.recompute = recompute
        self.head_dim = width // heads
        self.embed = TimeEmbedding(width, width, time_scale)
        self.latent = LatentMapping(latent_dim, width, latent_layers) if latent_dim else None
        self.patchify = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, mlp_ratio, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = zero_init(nn.Linear(width, 2 * width))
        self.head = zero_init(nn.Linear(width, out_channels * patch_size**2))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Time = None, *, z: Tensor | None = None, wrap: bool = False) -> Tensor:
        height, width = x.shape[-2:]
        embedding = joint_embedding(self.embed, self.latent, t, z, x.shape[0])
        assert embedding is not None  # it always knows time
        padded, left = pad_to_multiple(x, self.stride, wrap=wrap)
        tokens = self.patchify(padded.contiguous(memory_format=torch.channels_last))
        rows, columns = tokens.shape[-2:]
        angles = rotary_angles(rows, columns, self.head_dim, wrap=wrap, device=x.device)

        h = rearrange(tokens, "b d h w -> b (h w) d")
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                h = checkpoint(block, h, embedding, angles, use_reentrant=False)
            else:
                h = block(h, embedding, angles)
        shift, scale = rearrange(self.modulation(embedding), "b (two d) -> two b 1 d", two=2)
        h = self.head(modulate(self.norm(h), shift, scale))

        p = self.stride
        h = rearrange(h, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=p, q=p)
        return crop(h, height, width, left)
