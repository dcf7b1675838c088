"""The discriminator of a denoising diffusion GAN: half a U-Net with a linear head, after Xiao et al. 2022, appendix C."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fdsr.backbones.embedding import TimeEmbedding
from fdsr.backbones.padding import Conv, pad_to_multiple
from fdsr.backbones.registry import register_discriminator

_SLOPE = 0.2
_activate = partial(F.leaky_relu, negative_slope=_SLOPE)
Pool = Callable[..., Tensor]
POOLS: dict[str, Pool] = {"sum": torch.sum, "mean": torch.mean}


def minibatch_stddev(h: Tensor, group: int) -> Tensor:
    """`h` (B, C, H, W) with one more channel: the standard deviation within groups of samples, mean over features.

    It shows a discriminator a batch that lacks variety (Karras et al. 2018, §3). A group has as many samples as is
    possible up to `group` with B divided evenly, so that any batch will do; a sample alone has deviation 0.
    """
    batch, _, height, width = h.shape
    size = next(n for n in range(min(group, batch), 0, -1) if batch % n == 0)
    single = h if h.dtype == torch.float64 else h.float()
    # samples i, i + B/size, i + 2 B/size, … make a group
    deviation = (rearrange(single, "(n g) c h w -> n g c h w", n=size).var(0, unbiased=False) + 1e-8).sqrt()
    channel = deviation.mean((1, 2, 3)).to(h.dtype).repeat(size)
    return torch.cat([h, channel[:, None, None, None].expand(-1, 1, height, width)], dim=1)


def keep_variance(layer: nn.Module) -> None:
    """Weights by which a signal keeps its variance through leaky ReLUs, and biases 0 (He et al. 2015, eq. 15).

    Under torch's own initialisation the variance falls to a third in every layer, V starts as a constant and, against a
    generator that learns, stays one.
    """
    assert isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
    nn.init.kaiming_normal_(layer.weight, a=_SLOPE, nonlinearity="leaky_relu")
    nn.init.zeros_(layer.bias)


def verdict(h: Tensor, last: Conv, head: nn.Linear, pool: Pool, group: int, wrap: bool) -> Tensor:
    """V (B,) of features h (B, C, H, W): the minibatch's deviation joins them (`group` > 1), and after a convolution they are pooled."""
    if group > 1:
        h = minibatch_stddev(h, group)
    return head(pool(_activate(last(h, wrap)), (2, 3)))[:, 0]


class DownBlock(nn.Module):
    """(main(x) + shortcut(x))/√2 with main = conv(act(conv(act(x)) + b)), b linear in the embedding of time.

    (B, in_channels, H, W) → (B, out_channels, ⌈H/2⌉, ⌈W/2⌉), or the same size without `down`; both paths are averaged
    over 2 × 2 pixels, and the second convolution comes after.
    """

    def __init__(self, in_channels: int, out_channels: int, embedding_dim: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv_in = Conv(in_channels, out_channels)
        self.time = nn.Linear(embedding_dim, out_channels)
        self.conv_out = Conv(out_channels, out_channels)
        self.shortcut = Conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor, wrap: bool) -> Tensor:
        h = self.conv_in(_activate(x), wrap) + self.time(embedding)[:, :, None, None]
        h = _activate(h)
        if self.down:
            # an odd last row or column is averaged over what there is
            h, x = (F.avg_pool2d(a, 2, ceil_mode=True) for a in (h, x))
        return (self.conv_out(h, wrap) + self.shortcut(x)) / math.sqrt(2)


@register_discriminator("half_unet")
class HalfUNet(nn.Module):
    """Discriminator: x (B, in_channels, H, W), t (B,) → V (B,), unbounded; any H, W ≥ 1.

    x stacks x_{t−1}, x_t and the condition. Each level but the first begins with a halving of the resolution. No
    normalisation and no attention, so that the double backward of R1 needs only convolutions and poolings.

    width: channels of the first level; level i has width · multipliers[i].
    multipliers: one a level.
    patch_size: patch_size × patch_size pixels are one position with as many times the channels (space to depth), as in
        `UNet`; sizes that it does not divide are padded. What a generator does wrong at the seams of its own patches
        is hardly seen by a discriminator that cuts at the same places.
    stem, stem_stride: kernel and stride of the first convolution; stride 1 and an odd kernel, or stride 2, which halves
        the resolution, and an even one. 4 with stride 2 overlaps and costs what patch_size 2 costs.
    pool: the head sees the `sum` over positions, as in the original for images of one size, or their `mean`, by which V has one
        scale on fields of every size.
    group: largest number of samples over which the minibatch standard deviation is taken; 1 leaves it out.
    time_scale: multiplies t before its embedding, see `TimeEmbedding`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4, 4),
        patch_size: int = 1,
        stem: int = 1,
        stem_stride: int = 1,
        pool: Literal["sum", "mean"] = "sum",
        group: int = 4,
        time_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not multipliers or min(width, group, patch_size, stem, *multipliers) < 1:
            raise ValueError("half_unet: width, group, patch_size, stem and multipliers must be at least 1")
        if stem_stride not in (1, 2) or (stem - stem_stride) % 2:
            raise ValueError("half_unet: stem must be odd with stem_stride 1, or even with stem_stride 2")
        if pool not in POOLS:
            raise ValueError(f"half_unet: pool must be one of {', '.join(POOLS)}, not {pool!r}")
        self.group, self.pool = group, POOLS[pool]
        self.patch_size, self.multiple = patch_size, patch_size * stem_stride
        channels = [width * m for m in multipliers]
        embedding_dim = 4 * width
        self.embed = TimeEmbedding(width, embedding_dim, time_scale)
        self.stem = Conv(in_channels * patch_size**2, channels[0], stem, stride=stem_stride)
        self.blocks = nn.ModuleList(
            DownBlock(channels[max(i - 1, 0)], channels[i], embedding_dim, down=i > 0) for i in range(len(channels))
        )
        self.last = Conv(channels[-1] + (group > 1), channels[-1])
        self.head = nn.Linear(channels[-1], 1)
        # not the embedding of time and its projections: what they add is alike at all positions, and summed over these
        # would be the largest part of V
        for layer in (*(m for m in self.modules() if isinstance(m, Conv)), self.head):
            keep_variance(layer)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Tensor | float, *, wrap: bool = False) -> Tensor:
        embedding = _activate(self.embed(t, x.shape[0]))
        p = self.patch_size
        h, _ = pad_to_multiple(x, self.multiple, wrap=wrap)
        h = rearrange(h, "b c (h p) (w q) -> b (c p q) h w", p=p, q=p)
        h = self.stem(h.contiguous(memory_format=torch.channels_last), wrap)
        for block in self.blocks:
            h = block(h, embedding, wrap)
        return verdict(h, self.last, self.head, self.pool, self.group, wrap)
