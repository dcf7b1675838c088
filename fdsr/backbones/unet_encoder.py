"""A discriminator that is half of a U-Net, so that it can begin from the weights of a denoiser (Xu et al. 2024, UFOGen)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fdsr.backbones.discriminator import POOLS, keep_variance, verdict
from fdsr.backbones.embedding import joint_embedding
from fdsr.backbones.padding import Conv, pad_to_multiple
from fdsr.backbones.registry import register_discriminator
from fdsr.backbones.unet import UNet


@register_discriminator("unet_encoder")
class UNetEncoder(nn.Module):
    """Discriminator: x (B, in_channels, H, W), t (B,) → V (B,), unbounded; any H, W ≥ 1.

    Stem, encoder and middle of `UNet`, then the end of `HalfUNet`.

    pool: the head sees the `sum` over positions or their `mean`, see `HalfUNet`.
    group: largest number of samples over which the minibatch standard deviation is taken; 1 leaves it out.
    The others are those of `UNet`.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        attention_levels: Sequence[int] = (),
        attention_heads: int = 4,
        norm: Literal["group", "pixel"] = "group",
        groups: int = 8,
        patch_size: int = 1,
        time_scale: float = 1.0,
        pool: Literal["sum", "mean"] = "sum",
        group: int = 4,
    ) -> None:
        super().__init__()
        if pool not in POOLS or group < 1:
            raise ValueError(f"unet_encoder: pool must be one of {', '.join(POOLS)}, not {pool!r}; group at least 1")
        self.encoder = UNet(
            in_channels, 1, width=width, multipliers=multipliers, blocks=blocks, attention_levels=attention_levels,
            attention_heads=attention_heads, norm=norm, groups=groups, patch_size=patch_size, time_scale=time_scale,
        )  # fmt: skip
        del self.encoder.decoder, self.encoder.norm, self.encoder.head
        channels = width * multipliers[-1]
        self.pool, self.group = POOLS[pool], group
        self.norm = nn.GroupNorm(groups, channels)
        self.last = Conv(channels + (group > 1), channels)
        self.head = nn.Linear(channels, 1)
        for layer in (self.last, self.head):
            keep_variance(layer)
        self.to(memory_format=torch.channels_last)

    def begin_from(self, denoiser: Mapping[str, Tensor], channels: int) -> None:
        """Take over the half of a `UNet` of the same settings that saw (x_t, condition), x_t of `channels` channels.

        x is (x_s, x_t, condition, anything further): the stem looks at x_s as the denoiser looked at its x_t, and at first not at
        the rest. Whoever calls tells the time of x_s.
        """
        with torch.no_grad():
            for name, own in self.encoder.state_dict().items():
                weight = denoiser[name]
                if name == "stem.weight":
                    first, wide = channels * self.encoder.patch_size**2, own.zero_()
                    wide[:, :first] = weight[:, :first]
                    wide[:, 2 * first : first + weight.shape[1]] = weight[:, first:]
                else:
                    own.copy_(weight)

    def forward(self, x: Tensor, t: Tensor | float, *, wrap: bool = False) -> Tensor:
        embedding = joint_embedding(self.encoder.embed, None, t, None, x.shape[0])
        x, _ = pad_to_multiple(x, self.encoder.stride, wrap=wrap)
        h, _ = self.encoder.encode(x, embedding, wrap)
        return verdict(F.silu(self.norm(h)), self.last, self.head, self.pool, self.group, wrap)
