"""A U-Net with time-conditioned residual blocks, after Dhariwal & Nichol 2021 (ADM), for fields of any size.

Everything runs in channels_last, the layout in which convolutions are fastest on CPU and in half precision on GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fdsr.backbones.embedding import LatentMapping, Time, TimeEmbedding, joint_embedding
from fdsr.backbones.padding import Conv, crop, pad_to_multiple, zero_init
from fdsr.backbones.registry import register_backbone

Norm = Callable[[int], nn.Module]


class PixelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel: (B, C, H, W) → (B, C, H, W). In channels_last no copy."""

    def forward(self, input: Tensor) -> Tensor:
        return rearrange(super().forward(rearrange(input, "b c h w -> b h w c")), "b h w c -> b c h w")


class ResidualBlock(nn.Module):
    """x + conv(SiLU(s ⊙ norm(conv(SiLU(norm(x)))) + b)), with (s − 1, b) linear in the time embedding.

    (B, in_channels, H, W) → (B, out_channels, H, W). Without an embedding the second norm is a plain one. The last
    convolution starts at zero, and so the block as its shortcut.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm: Norm, dropout: float, embedding_dim: int | None
    ) -> None:
        super().__init__()
        self.norm_in = norm(in_channels)
        self.conv_in = Conv(in_channels, out_channels)
        self.norm_out = norm(out_channels)
        self.modulation = nn.Linear(embedding_dim, 2 * out_channels) if embedding_dim else None
        self.dropout = nn.Dropout(dropout)
        self.conv_out = zero_init(Conv(out_channels, out_channels))
        self.shortcut = Conv(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None, wrap: bool) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)), wrap)
        h = self.norm_out(h)
        if self.modulation is not None and embedding is not None:
            scale, shift = rearrange(self.modulation(embedding), "b (two c) -> two b c 1 1", two=2)
            h = torch.addcmul(shift, h, 1 + scale)
        h = self.conv_out(self.dropout(F.silu(h)), wrap)
        return self.shortcut(x) + h


class SelfAttention(nn.Module):
    """x + attention over all H·W positions of x (B, C, H, W). No positions are told, so it commutes with any roll."""

    def __init__(self, channels: int, *, heads: int, norm: Norm) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.qkv = Conv(channels, 3 * channels, 1)
        self.out = zero_init(Conv(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        qkv = rearrange(self.qkv(self.norm(x)), "b (n heads d) h w -> n b heads (h w) d", n=3, heads=self.heads)
        h = F.scaled_dot_product_attention(*qkv)
        return x + self.out(rearrange(h, "b heads (h w) d -> b (heads d) h w", h=x.shape[-2]))


class Stage(nn.Module):
    """A residual block, and the self-attention or the identity that follows it.

    With `recompute` its inner activations are not kept for the backward pass but computed again in it.
    """

    def __init__(self, block: ResidualBlock, attention: nn.Module, *, recompute: bool) -> None:
        super().__init__()
        self.block, self.attention, self.recompute = block, attention, recompute

    def forward(self, x: Tensor, embedding: Tensor | None, wrap: bool) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._forward, x, embedding, wrap, use_reentrant=False)
        return self._forward(x, embedding, wrap)

    def _forward(self, x: Tensor, embedding: Tensor | None, wrap: bool) -> Tensor:
        return self.attention(self.block(x, embedding, wrap))


class EncoderLevel(nn.Module):
    """Half the resolution (`down`, but for the finest level), then the stages; returns what each stage made."""

    def __init__(self, down: Conv | None, stages: Iterable[Stage]) -> None:
        super().__init__()
        self.down = down
        self.stages = nn.ModuleList(stages)

    def forward(self, h: Tensor, embedding: Tensor | None, wrap: bool) -> list[Tensor]:
        if self.down is not None:
            h = self.down(h, wrap)
        outputs = []
        for stage in self.stages:
            h = stage(h, embedding, wrap)
            outputs.append(h)
        return outputs


class DecoderLevel(nn.Module):
    """Twice the resolution (`up`, but for the coarsest level), then the stages, each fed one of the encoder's outputs.

    `up` convolves before the enlargement, at a quarter of the cost; the first stage smooths the 2 × 2 pixels.
    """

    def __init__(self, up: Conv | None, stages: Iterable[Stage]) -> None:
        super().__init__()
        self.up = up
        self.stages = nn.ModuleList(stages)

    def forward(self, h: Tensor, skips: list[Tensor], embedding: Tensor | None, wrap: bool) -> Tensor:
        if self.up is not None:
            h = F.interpolate(self.up(h, wrap), scale_factor=2, mode="nearest")
        for stage, skip in zip(self.stages, reversed(skips), strict=True):
            h = stage(torch.cat([h, skip], dim=1), embedding, wrap)
        return h


@register_backbone("unet")
class UNet(nn.Module):
    """U-Net: x (B, in_channels, H, W), t (B,) → (B, out_channels, H, W), zero before training; any H, W ≥ 1.

    The stride is patch_size · 2^(levels − 1); other sizes are padded to a multiple of it and cropped. With `wrap` the
    last axis is a closed circle, and where W is a multiple of the stride, rolling x by multiples of the stride rolls
    the output. Condition fields are simply further channels of x.

    width: channels of the first level; level i has width · multipliers[i].
    multipliers: one a level; each level halves the resolution of the one before.
    blocks: residual blocks a level, in the encoder and in the decoder each.
    attention_levels: levels (0 is the finest) with self-attention after each block.
    attention_heads: number of heads there.
    dropout: inside the residual blocks.
    norm: "group" is ADM's group normalisation, over the whole field; "pixel" normalises the channels of each pixel, so
        that the output at a point does not depend on how far the field extends.
    groups: number of groups of the former; width must be a multiple of it.
    time_embedding: False builds a network without time, as for regression; t must then be None.
    time_scale: multiplies t before its embedding, see `TimeEmbedding`.
    recompute: trade time for memory in training (activation checkpointing of every stage, Chen et al. 2016); results
        are the same.
    latent_dim: length of a latent vector z (B, latent_dim), which then joins the embedding of t; 0 for none.
    latent_layers: dense layers of its mapping network.

    Raises ValueError for settings of which no U-Net can be built.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        attention_levels: Sequence[int] = (),
        attention_heads: int = 4,
        dropout: float = 0.0,
        norm: Literal["group", "pixel"] = "group",
        groups: int = 8,
        patch_size: int = 1,
        time_embedding: bool = True,
        time_scale: float = 1.0,
        recompute: bool = False,
        latent_dim: int = 0,
        latent_layers: int = 3,
    ) -> None:
        super().__init__()
        if min(width, blocks, groups, patch_size, attention_heads, *multipliers) < 1 or not multipliers:
            raise ValueError("unet: width, multipliers, blocks, groups, patch_size, attention_heads must be at least 1")
        if norm not in ("group", "pixel"):
            raise ValueError(f"unet: norm {norm!r} is neither 'group' nor 'pixel'")
        if norm == "group" and width % groups:
            raise ValueError(f"unet: width {width} must be a multiple of groups {groups}")
        for level in attention_levels:
            if level not in range(len(multipliers)):
                raise ValueError(f"unet: attention level {level} does not exist; levels are 0…{len(multipliers) - 1}")
            if (n := width * multipliers[level]) % attention_heads:
                raise ValueError(f"unet: {n} channels do not divide into {attention_heads} heads")
        make_norm: Norm = PixelNorm if norm == "pixel" else partial(nn.GroupNorm, groups)
        self.patch_size = patch_size
        self.stride = patch_size * 2 ** (len(multipliers) - 1)
        channels = [width * m for m in multipliers]
        embedding_dim = 4 * width if time_embedding or latent_dim else None
        self.embed = TimeEmbedding(width, 4 * width, time_scale) if time_embedding else None
        self.latent = LatentMapping(latent_dim, 4 * width, latent_layers) if latent_dim else None

        def stage(level: int, in_channels: int) -> Stage:
            out = channels[level]
            block = ResidualBlock(in_channels, out, norm=make_norm, dropout=dropout, embedding_dim=embedding_dim)
            attends = level in attention_levels
            attention = SelfAttention(out, heads=attention_heads, norm=make_norm) if attends else nn.Identity()
            return Stage(block, attention, recompute=recompute)

        levels = range(len(channels))
        self.stem = Conv(in_channels * patch_size**2, channels[0])
        self.encoder = nn.ModuleList()
        for i in levels:
            down = Conv(channels[i - 1], channels[i], stride=2) if i > 0 else None
            self.encoder.append(EncoderLevel(down, (stage(i, channels[i]) for _ in range(blocks))))
        self.middle = nn.ModuleList(stage(levels[-1], channels[-1]) for _ in range(2))
        self.decoder = nn.ModuleList()
        for i in reversed(levels):
            up = Conv(channels[i + 1], channels[i]) if i < levels[-1] else None
            self.decoder.append(DecoderLevel(up, (stage(i, 2 * channels[i]) for _ in range(blocks))))
        self.norm = make_norm(channels[0])
        self.head = zero_init(Conv(channels[0], out_channels * patch_size**2))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Time = None, *, z: Tensor | None = None, wrap: bool = False) -> Tensor:
        height, width = x.shape[-2:]
        embedding = joint_embedding(self.embed, self.latent, t, z, x.shape[0])

        padded, left = pad_to_multiple(x, self.stride, wrap=wrap)
        h, skips = self.encode(padded, embedding, wrap)
        for level in self.decoder:
            h = level(h, skips.pop(), embedding, wrap)

        h = self.head(F.silu(self.norm(h)), wrap)
        h = rearrange(h, "b (c p q) h w -> b c (h p) (w q)", p=self.patch_size, q=self.patch_size)
        return crop(h, height, width, left)

    def encode(self, x: Tensor, embedding: Tensor | None, wrap: bool) -> tuple[Tensor, list[list[Tensor]]]:
        """What the middle makes of x (B, in_channels, H, W), whose sides the stride divides, and of each level its stages' outputs."""
        h = rearrange(x, "b c (h p) (w q) -> b (c p q) h w", p=self.patch_size, q=self.patch_size)
        h = self.stem(h.contiguous(memory_format=torch.channels_last), wrap)
        skips: list[list[Tensor]] = []
        for level in self.encoder:
            skips.append(level(h, embedding, wrap))
            h = skips[-1][-1]
        for stage in self.middle:
            h = stage(h, embedding, wrap)
        return h, skips
