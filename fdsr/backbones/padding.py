"""Edges of the field: convolutions that can close the circle of longitude, and padding to a multiple of the stride."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Conv2d):
    """Convolution: (B, C, H, W) → (B, C', ⌈H/stride⌉, ⌈W/stride⌉) for an odd kernel, or an even one with stride 2 and even H, W.

    Rows are padded with zeros; columns with the opposite edge if `wrap`, else with zeros.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, *, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=(kernel_size - 1) // 2)
        self.halo = (kernel_size - 1) // 2

    def forward(self, input: Tensor, wrap: bool = False) -> Tensor:
        if not wrap or self.halo == 0:
            return super().forward(input)
        # concatenation keeps channels_last, F.pad(mode="circular") does not
        closed = torch.cat([input[..., -self.halo :], input, input[..., : self.halo]], dim=-1)
        return F.conv2d(closed, self.weight, self.bias, self.stride, padding=(self.halo, 0))


def zero_init(module: nn.Module) -> nn.Module:
    """The module with every parameter set to zero, so that its branch starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def pad_to_multiple(x: Tensor, multiple: int, *, wrap: bool = False) -> tuple[Tensor, int]:
    """`x` (B, C, H, W) with H and W enlarged to multiples of `multiple`, and the column where the original begins.

    Rows repeat the last row. Columns repeat the last column; with `wrap`, and only where W is no multiple, they go on
    around the circle, `multiple` or more on both sides, so that the seam lies outside the part that `crop` keeps.
    """
    height, width = x.shape[-2:]
    below, right, left = -height % multiple, -width % multiple, 0
    if wrap and right:
        left, right = multiple, right + multiple
    if below:
        rows = torch.arange(height + below, device=x.device).clamp(max=height - 1)
        x = x.index_select(-2, rows)
    if right:
        columns = torch.arange(-left, width + right, device=x.device)
        x = x.index_select(-1, columns % width if wrap else columns.clamp(max=width - 1))
    return x, left


def crop(x: Tensor, height: int, width: int, left: int) -> Tensor:
    """The (B, C, height, width) part of `x` that `pad_to_multiple` enlarged."""
    return x[..., :height, left : left + width]
